"""What a batch's deeds add to the rows of every shard."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from streams.facts.deeds import Deed
from streams.features import LAYOUTS, Floats, Key, Scope
from streams.features.sums import ITEM_SCOPES, USER_SCOPES, Rows, named, summed, table
from streams.fold.deciding import Decided
from streams.messages import Source
from streams.store.contract import NO_ROWS
from streams.store.keys import TAGS, tags_of

__all__ = ["Part", "item_rows", "user_rows"]

Part = tuple[tuple[Key, ...], Floats]  # keys of a shard, those of one scope together, and their rows, flat
NOTHING: Part = ((), NO_ROWS)
_NUMBERS = {tag: n for n, tag in enumerate(TAGS)}


def user_rows(decided: Sequence[Decided]) -> dict[str, Part]:
    """What deeds add to their users' rows, by shard."""
    deeds, signs, user_ids, _ = _columns(decided)
    if not deeds:
        return {}
    of = table(deeds, signs)
    return _by_shard(
        [
            (scope, summed(LAYOUTS, scope, of, named(names(user_ids, deeds)), None))
            for scope, names in USER_SCOPES.items()
        ]
    )


def item_rows(
    decided: Sequence[Decided],
    at: Mapping[str, Mapping[Source, int]],
    only: Collection[str] | None = None,
) -> dict[str, Part]:
    """What deeds add to the rows of items, categories and the like, by shard.

    Args:
        at: by shard and source, the last offset that the shard has folded: what it has is left out.
        only: the shards that are wanted, if not all; one that has nothing to add has no part.
    """
    deeds, signs, user_ids, owners = _columns(decided)
    if not deeds:
        return {}
    of, fresh = table(deeds, signs), _Fresh([decided[owner] for owner in owners], at)
    found: list[tuple[Scope, Rows]] = []
    for scope, names in ITEM_SCOPES.items():
        rows = named(names(user_ids, deeds))
        if not rows.names:  # few events come from a search
            continue
        tags = [] if only is None and fresh.are_all else tags_of(scope, rows.names)
        keep = fresh.keep(tags, rows.at)
        if only is not None:
            wanted = np.array([tag in only for tag in (*tags, "")])[rows.at]
            keep = wanted if keep is None else keep & wanted
        found.append((scope, summed(LAYOUTS, scope, of, rows, keep)))
    return _by_shard(found)


def _columns(decided: Sequence[Decided]) -> tuple[list[Deed], list[int], list[str], list[int]]:
    """Deeds, signs, users, and the place of each deed's event."""
    if all(len(one.signed) == 1 for one in decided):
        deeds = [one.signed[0][0] for one in decided]
        signs = [one.signed[0][1] for one in decided]
        return deeds, signs, [one.fact.event.user_id for one in decided], list(range(len(decided)))
    flat = [(deed, sign, n) for n, one in enumerate(decided) for deed, sign in one.signed]
    user_ids = [decided[n].fact.event.user_id for _, _, n in flat]
    return [deed for deed, _, _ in flat], [sign for _, sign, _ in flat], user_ids, [n for _, _, n in flat]


class _Fresh:
    """Which shards have not folded which deed's event yet."""

    def __init__(self, decided: Sequence[Decided], at: Mapping[str, Mapping[Source, int]]) -> None:
        sources = {source: n for n, source in enumerate(dict.fromkeys(one.fact.source for one in decided))}
        self._tags = {tag: n for n, tag in enumerate(at)}
        self._fences = np.array([[held[source] for source in sources] for held in at.values()])
        self._source = np.array([sources[one.fact.source] for one in decided], dtype=np.intp)
        self._offset = np.array([one.fact.offset for one in decided])
        self.are_all = bool((self._offset > self._fences.max(axis=0)[self._source]).all())

    def keep(self, tags: Sequence[str], at: NDArray[np.intp]) -> NDArray[np.bool_] | None:
        """[m] true where the shard of the row, whose tag is `tags[at]`, has yet to fold it; None: all."""
        if self.are_all:
            return None
        places = np.array([*(self._tags[tag] for tag in tags), 0], dtype=np.intp)[at]
        fresh: NDArray[np.bool_] = self._offset > self._fences[places, self._source]
        return fresh


def _by_shard(scopes: Sequence[tuple[Scope, Rows]]) -> dict[str, Part]:
    keys: dict[str, list[Key]] = {}
    rows: dict[str, list[Floats]] = {}
    for scope, (names, values) in scopes:
        if not names:
            continue
        shards = np.fromiter(map(_NUMBERS.__getitem__, tags_of(scope, names)), np.intp, len(names))
        order = np.argsort(shards, kind="stable")
        ordered, named_keys = values[order], [(scope, names[place]) for place in order.tolist()]
        used, starts = np.unique(shards[order], return_index=True)
        ends = [*starts[1:].tolist(), len(names)]
        for shard, start, end in zip(used.tolist(), starts.tolist(), ends, strict=True):
            tag = TAGS[shard]
            keys.setdefault(tag, []).extend(named_keys[start:end])
            rows.setdefault(tag, []).append(ordered[start:end].ravel())
    return {tag: (tuple(keys[tag]), np.concatenate(rows[tag])) for tag in keys}
