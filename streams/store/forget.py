"""Deleting all that stands of a user.

The rows of a user and a category, a creator or a session are not listed anywhere: a list would cost
every user bytes and every batch a write, for a wish that comes rarely. One SCAN finds them, for all
users that are to be forgotten at once; a second of work for a million keys, beside the serving.

What is found goes by one script per user, whose keys share the user's tag. It holds only if the
user's memory is still the one by which it was decided: an event folded meanwhile is looked at again.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import get_args, get_type_hints

import msgspec

from streams.facts.documents import VERSION_BYTES, UserDocuments
from streams.features import Scope
from streams.store.contract import Document
from streams.store.flights import Call, Flights, Script
from streams.store.keys import USER_TAGS, Keys, tag_of, user_tag

__all__ = ["DOCUMENT_KINDS", "PAIRS", "forget_replies", "forget_users", "stands"]

DOCUMENT_KINDS: tuple[str, ...] = get_args(get_type_hints(Document)["kind"])
PAIRS = tuple(scope for scope in Scope if scope is not Scope.USER and tag_of(scope, "u/x") in USER_TAGS)
AT_ONCE = 1_000
Reads = Callable[[Sequence[str]], dict[str, UserDocuments]]  # a store's `documents`
_NONE = bytes(VERSION_BYTES)

# KEYS: the user's memory first, then everything else of the user. ARGV: the version it must have.
# One UNLINK; more only for a user of thousands of rows, the memory in the last: torn, it is found again.
_FORGET = Script("""
local held, version = redis.call('GET', KEYS[1]), string.rep('\\0', 8)
if held then version = string.sub(held, 1, 8) end
if version ~= ARGV[1] then return 0 end
local last = #KEYS
while last > 4000 do
  redis.call('UNLINK', unpack(KEYS, last - 3998, last))
  last = last - 3999
end
redis.call('UNLINK', unpack(KEYS, 1, last))
return 1
""")


class _Owner(msgspec.Struct):
    user_id: str = ""


_owner = msgspec.json.Decoder(_Owner)


def stands(documents: UserDocuments, at_ms: int) -> bool:
    """True if anything kept of a user is from `at_ms` or before.

    A user who came back after being forgotten has nothing so old: what was done before is refused.
    """
    oldest_ms = documents.oldest_ms()
    return oldest_ms is not None and oldest_ms <= at_ms


def forget_users(flights: Flights, keys: Keys, users: Mapping[str, int], documents: Reads) -> int:
    """Deletes every key of those users of whom something is as old as their time; returns how many.

    Raises:
        StoreUnavailable: some may be deleted; the same call goes on.
    """
    done = 0
    while True:
        versions = _standing(documents, users)
        if not versions:
            return done
        rows = _rows_of(flights, keys, versions)
        calls = [Call(_all_keys(keys, u, rows[u]), (version,)) for u, version in versions.items()]
        done += sum(map(int, flights.scripts(_FORGET, calls)))


def _standing(documents: Reads, users: Mapping[str, int]) -> dict[str, bytes]:
    """Users of whom something so old is kept, and the version of their memory."""
    found: dict[str, bytes] = {}
    names = list(users)
    for start in range(0, len(names), AT_ONCE):
        held = documents(names[start : start + AT_ONCE])
        found |= {u: d.version or _NONE for u, d in held.items() if stands(d, users[u])}
    return found


def _all_keys(keys: Keys, user_id: str, rows: Collection[str]) -> list[str]:
    first, *others = (keys.document(kind, user_id) for kind in DOCUMENT_KINDS)
    return [first, *others, keys.row(Scope.USER, user_id), *rows]


def _rows_of(flights: Flights, keys: Keys, users: Iterable[str]) -> dict[str, list[str]]:
    """The keys of pairs that begin with each user, by one SCAN of each kind of pair."""
    found: dict[str, list[str]] = {user: [] for user in users}
    tags = {user_tag(user) for user in found}
    for scope in PAIRS:
        marks = {keys.row(scope, f"{user}/"): user for user in found}
        for key in map(bytes.decode, flights.scan(keys.pattern(scope))):
            if key[1 : key.index("}")] in tags:
                user = marks.get(key[: key.index("/") + 1])
                if user is not None:
                    found[user].append(key)
    return found


def forget_replies(flights: Flights, keys: Keys, users: Collection[str]) -> int:
    """Deletes the replies kept for these users' requests; returns how many there were."""
    done, page = 0, []
    for key in flights.scan(keys.reply("*")):
        page.append(key.decode())
        if len(page) >= AT_ONCE:
            done += _forget_page(flights, page, users)
            page = []
    return done + _forget_page(flights, page, users)


def _forget_page(flights: Flights, page: Sequence[str], users: Collection[str]) -> int:
    values = flights.flight([("GET", key) for key in page])
    gone = [key for key, value in zip(page, values, strict=True) if value and _user_of(value) in users]
    flights.flight([("UNLINK", key) for key in gone])
    return len(gone)


def _user_of(value: bytes) -> str:
    try:
        return _owner.decode(value).user_id
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
