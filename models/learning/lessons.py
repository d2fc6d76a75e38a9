"""What the learner does with an example: drop repeats, score, learn each head once. Pure.

A label that turns out to be another than the one a head has learned (a click after the window closed, an
undo, a longer watch) corrects that head once more: see `OnlineModel.correct_one`. Quality keeps the first
telling.

The state is the online model, what was learned of which example, the quality so far, and the offset
after the last example: one snapshot holds it all, and going on from it is bit-equal to never having
stopped.
"""

import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.learning.crosses import cross, id_hash
from models.learning.online import OnlineModel, are_first
from models.learning.prequential import Prequential, Scored, slices_of
from models.learning.shares import PrequentialShare
from models.learning.weights import packed, unpacked
from streams.errors import ModelRefused
from streams.events import HEADS, SHARES, Example

__all__ = ["REMEMBERED", "Lessons", "Position"]

# bits of what is known of an example: heads that learned, from 0; those that learned a positive; a negative;
# from SHARE on the share that was learned, in LEVELS
HEADS_MASK, POSITIVE, NEGATIVE, SHARE = 0xFF, 8, 16, 24
LEVELS = 255
REMEMBERED = 2**17  # examples whose revision and learned heads are known; then the oldest is forgotten
POPULARITY = "item_ctr_7d"
USER_SHOWN, ITEM_SHOWN = "user_impressions_total", "item_impressions_total"


class Position(msgspec.Struct, frozen=True, array_like=True):
    """The next offset of one partition of `examples` in one life of the topic."""

    epoch: str
    partition: int
    offset: int


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    model: bytes
    ids: bytes
    revisions: bytes
    learned: bytes
    positions: tuple[Position, ...]
    quality: dict[str, Any]


class Lessons:
    """The learner's whole state. `columns` and `columns_hash` are those that this process computes."""

    def __init__(self, model: OnlineModel, columns: Sequence[str], columns_hash: str) -> None:
        self.model = model
        self.positions: dict[tuple[str, int], int] = {}
        self.quality = {head: _QUALITY[head]() for head in HEADS}
        self._columns, self._columns_hash = tuple(columns), columns_hash
        self._seen: dict[int, tuple[int, int]] = {}  # example -> revision, heads learned as bits
        self._places = self._placed()
        at = {name: place for place, name in enumerate(self._columns)}
        self._told = [at.get(name) for name in (POPULARITY, USER_SHOWN, ITEM_SHOWN)]

    def apply(self, example: Example) -> tuple[str, ...]:
        """Takes one example in; returns the heads that learned, none for a repeat or a foreign one.

        An example that another ranker served is remembered and not learned.
        """
        key = _key(example.example_id)
        revision, known = self._seen.get(key, (0, 0))
        learned = known & HEADS_MASK
        if example.revision <= revision:
            return ()
        mine = example.model.ranker == self.model.ranker
        labels = [getattr(example.labels, head) for head in HEADS]
        due = [n for n, label in enumerate(labels) if mine and label is not None and not learned >> n & 1]
        turned = [
            n for n, label in enumerate(labels) if mine and label is not None and _turned(known, n, label)
        ]
        self._remember(key, example.revision, _said(known, labels, (*due, *turned)))
        if due:
            self._learn(example, labels, due, first=learned == 0)
        if turned:
            self._correct(example, labels, turned, known)
        return tuple(HEADS[n] for n in due)

    def replace_model(self, model: OnlineModel) -> None:
        """Goes on with another pair's online half; what was learned of which example stays known."""
        self.model = model
        self._places = self._placed()
        for quality in self.quality.values():
            quality.renew()

    def snapshot(self) -> bytes:
        """The whole state, with a checksum."""
        seen = self._seen
        return packed(
            "learner",
            _Stored(
                model=self.model.snapshot(),
                ids=np.fromiter(seen, "<u8", len(seen)).tobytes(),
                revisions=np.fromiter((r for r, _ in seen.values()), "<u4", len(seen)).tobytes(),
                learned=np.fromiter((m for _, m in seen.values()), "<u4", len(seen)).tobytes(),
                positions=tuple(Position(*at, offset) for at, offset in sorted(self.positions.items())),
                quality={head: each.stored() for head, each in self.quality.items()},
            ),
        )

    @classmethod
    def restore(cls, data: bytes, columns: Sequence[str], columns_hash: str) -> "Lessons":
        """The state that wrote the snapshot; the online model keeps the columns it learned, and heads that
        came after it begin.

        Raises:
            ModelRefused: wrong checksum, other heads, or not such bytes.
        """
        stored = unpacked("learner", data, _Stored)
        if not isinstance(stored, _Stored) or not are_first(stored.quality):
            raise ModelRefused(f"learner: expected heads {HEADS}")
        found = cls(OnlineModel.restore(stored.model), columns, columns_hash)
        parts = (np.frombuffer(stored.ids, "<u8"), stored.revisions, stored.learned)
        revisions, learned = (np.frombuffer(part, "<u4").tolist() for part in parts[1:])
        found._seen = dict(zip(parts[0].tolist(), zip(revisions, learned, strict=True), strict=True))
        found.positions = {(at.epoch, at.partition): at.offset for at in stored.positions}
        found.quality |= {head: _QUALITY[head].restored(each) for head, each in stored.quality.items()}
        return found

    # --- one example --------------------------------------------------------------------------------

    def _learn(self, example: Example, labels: list[float | None], due: list[int], first: bool) -> None:
        features, (popularity, *shown) = self._features(example)
        if first:
            self.model.observe(features)
        logits = np.array([example.logits.get(head, 0.0) for head in HEADS])
        x = self.model.inputs(logits, features, _buckets(example))
        closed = _is_closed(example)
        self.model.span = self.model.span.after(example.ts_ms, closed)
        weight = example.weight * (1.0 if closed else self.model.span.early_weight)
        slices = slices_of(*shown)
        for n in due:
            head, label = HEADS[n], float(labels[n] or 0.0)
            online, ranker = _believed(example, head), _chance(example.logits, head)
            self.quality[head].add(example.ts_ms, Scored(label, online, ranker, popularity, slices))
            self.model.learn_one(head, x, label, weight)

    def _correct(self, example: Example, labels: list[float | None], turned: list[int], known: int) -> None:
        features, _ = self._features(example)
        logits = np.array([example.logits.get(head, 0.0) for head in HEADS])
        x = self.model.inputs(logits, features, _buckets(example))
        for n in turned:
            before = _share(known) if HEADS[n] in SHARES else None
            self.model.correct_one(HEADS[n], x, labels[n] or 0.0, example.weight, before)

    def _features(self, example: Example) -> tuple[NDArray[np.float64], list[float]]:
        """The model's columns of an example, and its item's popularity and how often user and item had been
        shown; NaN where they are not known."""
        if example.columns != self._columns_hash or len(example.features) != len(self._columns):
            return np.full(len(self.model.columns), np.nan), [math.nan] * len(self._told)
        row = np.array([math.nan if x is None else x for x in example.features] + [math.nan])
        told = [math.nan if place is None else float(row[place]) for place in self._told]
        return row[self._places], told

    def _placed(self) -> NDArray[np.intp]:
        """Where the model's columns stand in a served row; a column no longer computed is the last, NaN."""
        at = {name: place for place, name in enumerate(self._columns)}
        return np.array([at.get(name, len(self._columns)) for name in self.model.columns], dtype=np.intp)

    def _remember(self, key: int, revision: int, learned: int) -> None:
        self._seen[key] = (revision, learned)
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]


_QUALITY = {head: PrequentialShare if head in SHARES else Prequential for head in HEADS}


def _turned(known: int, n: int, label: float | None) -> bool:
    """Whether head `n` learned another label than this one; what is not known is none."""
    if label is None or not known >> n & 1:
        return False
    if HEADS[n] in SHARES:
        return _level(label) != known >> SHARE
    return bool(known >> (n + (NEGATIVE if label else POSITIVE)) & 1)


def _level(share: float) -> int:
    return round(share * LEVELS)


def _share(known: int) -> float:
    """The share that was learned, to half of a level."""
    return (known >> SHARE) / LEVELS


def _said(known: int, labels: Sequence[float | None], heads: Sequence[int]) -> int:
    """What is known of an example once these heads have learned their labels."""
    for n in heads:
        if HEADS[n] in SHARES:
            known = (known & ((1 << SHARE) - 1)) | 1 << n | _level(labels[n] or 0.0) << SHARE
            continue
        now, before = (POSITIVE, NEGATIVE) if labels[n] else (NEGATIVE, POSITIVE)
        known = (known | 1 << n | 1 << (n + now)) & ~(1 << (n + before))
    return known


def _key(example_id: str) -> int:
    return int.from_bytes(blake2b(example_id.encode(), digest_size=8).digest(), "little")


def _buckets(example: Example) -> NDArray[np.uint32]:
    item, category, creator = (
        np.array([id_hash(name)], dtype=np.uint64)
        for name in (example.item_id, example.category, example.creator_id)
    )
    return cross(id_hash(example.user_id), item, category, creator, id_hash(example.surface))[0]


def _is_closed(example: Example) -> bool:
    """Whether the label window has closed: only then is the absence of these known."""
    return example.labels.hide is not None and example.labels.share is not None


def _believed(example: Example, head: str) -> float:
    """What the online model told; NaN where it had nothing to tell from: no ranker, nothing learned.

    Such rows all lie at one half, and would count against a model whose base rate is another.
    """
    if head not in example.logits and example.adjusted.get(head) == 0.0:
        return math.nan
    return _chance(example.adjusted, head)


def _chance(logits: Mapping[str, float], head: str) -> float:
    return _sigmoid(logits[head]) if head in logits else math.nan


def _sigmoid(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, logit))))
