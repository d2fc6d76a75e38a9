"""What is counted, over which windows, and for whom: the vocabulary of features that are sums.

A row sums up one name of one scope. Every applied event adds the same counts to all rows that it
touches; which of them a row keeps is its scope's layout.
"""

import hashlib
import math
from collections.abc import Iterator
from enum import StrEnum

from streams.facts.deeds import Act, Deed
from streams.words import words_of

__all__ = [
    "COUNTERS",
    "HALF_LIVES_MS",
    "NO_SESSION",
    "TOTAL",
    "Key",
    "Scope",
    "counts_of",
    "effects",
    "engages",
    "examination",
    "item_keys",
    "query_key",
    "session_key",
    "user_keys",
]

COUNTERS = (
    "impressions",
    "exposures",  # impressions weighted by the chance that their position was looked at
    "clicks",
    "watches",
    "watch_ms",
    "watch_s2",  # squared seconds: the second moment of watch time
    "completions",
    "long_views",
    "likes",
    "hides",  # hides and dislikes
    "shares",
    "follows",
)
TOTAL = "total"
HALF_LIVES_MS = {
    "10m": 600_000.0,
    "30m": 1_800_000.0,
    "1h": 3_600_000.0,
    "7d": 604_800_000.0,
    TOTAL: math.inf,  # never halves: a lifetime total
}
NO_SESSION = "-"
_N = len(COUNTERS)
_AT = {name: place for place, name in enumerate(COUNTERS)}


class Scope(StrEnum):
    """What a row counts for. Ids of pairs are `USER/OTHER` or `QUERY/OTHER`, of sessions `USER/SESSION` (`-`
    without one); a query's id is a hash of its words."""

    USER = "user"
    ITEM = "item"
    CATEGORY = "category"
    CREATOR = "creator"
    USER_CATEGORY = "user_category"
    USER_CREATOR = "user_creator"
    SESSION = "session"
    SURFACE = "surface"
    QUERY = "query"
    QUERY_CATEGORY = "query_category"
    QUERY_ITEM = "query_item"


Key = tuple[Scope, str]


def examination(position: int | None) -> float:
    """The declared chance that a place was looked at, 1 at the top or where it is not known.

    1 / log2(2 + position), the discount of DCG (Järvelin and Kekäläinen, 2002).

    >>> examination(0), examination(2), examination(None)
    (1.0, 0.5, 1.0)
    """
    return 1.0 if position is None else 1.0 / math.log2(2.0 + position)


def session_key(user_id: str, session_id: str | None) -> str:
    """A session's name; all that came without a session share one, and decay parts it."""
    return f"{user_id}/{session_id or NO_SESSION}"


def query_key(text: str | None) -> str | None:
    """Sixteen hex digits of a query's lower-case words; None without a word.

    >>> query_key("Street  FOOD!") == query_key("street food"), query_key("?!")
    (True, None)
    """
    words = words_of(text) if text else []
    return hashlib.blake2b(" ".join(words).encode(), digest_size=8).hexdigest() if words else None


def user_keys(user_id: str, deed: Deed) -> list[Key]:
    """The rows in the user's shard that a deed adds to."""
    keys = [(Scope.USER, user_id), (Scope.SESSION, session_key(user_id, deed.session_id))]
    if deed.category is not None:
        keys.append((Scope.USER_CATEGORY, f"{user_id}/{deed.category}"))
    if deed.creator is not None:
        keys.append((Scope.USER_CREATOR, f"{user_id}/{deed.creator}"))
    return keys


def item_keys(deed: Deed) -> list[Key]:
    """The rows in the shards of items that a deed adds to."""
    keys = [(Scope.SURFACE, deed.surface)]
    if deed.item_id is not None:
        keys.append((Scope.ITEM, deed.item_id))
    if deed.category is not None:
        keys.append((Scope.CATEGORY, deed.category))
    if deed.creator is not None:
        keys.append((Scope.CREATOR, deed.creator))
    if deed.query is not None:
        query = query_key(deed.query)
        if query is not None:
            keys.append((Scope.QUERY, query))
            if deed.category is not None:
                keys.append((Scope.QUERY_CATEGORY, f"{query}/{deed.category}"))
            if deed.item_id is not None:
                keys.append((Scope.QUERY_ITEM, f"{query}/{deed.item_id}"))
    return keys


def engages(deed: Deed) -> bool:
    """True for a click or a watch."""
    return deed.act is Act.CLICK or deed.act is Act.WATCH


_ONE = {
    Act.CLICK: "clicks",
    Act.LIKE: "likes",
    Act.DISLIKE: "hides",
    Act.HIDE: "hides",
    Act.SHARE: "shares",
    Act.FOLLOW: "follows",
}


def _alone(name: str) -> tuple[float, ...]:
    return tuple(float(name == counter) for counter in COUNTERS)


_FIXED = {act: _alone(name) for act, name in _ONE.items()} | {Act.CONVERT: (0.0,) * _N}


def counts_of(deed: Deed) -> tuple[float, ...]:
    """What a deed adds to each of its rows, in the order of COUNTERS.

    >>> dict(zip(COUNTERS, counts_of(Deed(Act.CLICK, 0)), strict=True))["clicks"]
    1.0
    """
    fixed = _FIXED.get(deed.act)
    if fixed is not None:
        return fixed
    counts = [0.0] * _N
    if deed.act is Act.IMPRESSION:
        counts[_AT["impressions"]] = 1.0
        counts[_AT["exposures"]] = examination(deed.position)
        return tuple(counts)
    seconds = deed.watch_ms / 1_000.0
    counts[_AT["watches"]] = 1.0
    counts[_AT["watch_ms"]] = float(deed.watch_ms)
    counts[_AT["watch_s2"]] = seconds * seconds
    counts[_AT["completions"]] = float(deed.completed)
    counts[_AT["long_views"]] = float(deed.long_view)
    return tuple(counts)


def effects(user_id: str, deed: Deed) -> Iterator[tuple[Scope, str, tuple[float, ...]]]:
    """Every row that a deed adds to, and what; undoing it adds the same with the sign turned."""
    counts = counts_of(deed)
    for scope, name in (*user_keys(user_id, deed), *item_keys(deed)):
        yield scope, name, counts
