"""Where everything stands: shards, their hash tags, and the names of keys.

Users and items are each spread over 32 shards by crc32 of the id. A shard's keys carry its tag in
braces, so that on a cluster they live on one node and one script may write them together. State and
its fences stand under the layout's hash: another layout is another state.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from zlib import crc32

from streams.features import LAYOUT, Scope

__all__ = [
    "ITEM_PREFIX",
    "ITEM_TAGS",
    "OF_USERS",
    "SHARDS",
    "TAGS",
    "USER_TAGS",
    "Keys",
    "item_tag",
    "layout_of",
    "tag_of",
    "tags_of",
    "user_tag",
]

SHARDS = 32
USER_TAGS = tuple(f"u{n:02d}" for n in range(SHARDS))
ITEM_TAGS = tuple(f"i{n:02d}" for n in range(SHARDS))
ITEM_PREFIX = "{i"  # of all keys that bear an item's tag
TAGS = USER_TAGS + ITEM_TAGS
OF_USERS = frozenset({Scope.USER, Scope.USER_CATEGORY, Scope.USER_CREATOR, Scope.SESSION})
OF_QUERIES = frozenset({Scope.QUERY_CATEGORY, Scope.QUERY_ITEM})
_LETTERS = {  # of kinds in keys, which are many
    Scope.USER: "u",
    Scope.ITEM: "i",
    Scope.CATEGORY: "c",
    Scope.CREATOR: "m",
    Scope.USER_CATEGORY: "uc",
    Scope.USER_CREATOR: "um",
    Scope.SESSION: "us",
    Scope.SURFACE: "p",
    Scope.QUERY: "q",
    Scope.QUERY_CATEGORY: "qc",
    Scope.QUERY_ITEM: "qi",
}
_DOCUMENTS = {"seen": "s", "seen_older": "o", "history": "h", "shown": "v", "follows": "f", "hides": "x"}
_KINDS: dict[str, Scope | str] = {
    **{letter: scope for scope, letter in _LETTERS.items()},
    **{letter: document for document, letter in _DOCUMENTS.items()},
}
_REMEMBERED = 100_000  # keys of a scope kept ready; after that the oldest half is forgotten


@lru_cache(_REMEMBERED)
def user_tag(user_id: str) -> str:
    """The shard of a user's state, documents, sessions and pairs."""
    return USER_TAGS[crc32(user_id.encode()) % SHARDS]


@lru_cache(_REMEMBERED)
def item_tag(name: str) -> str:
    """The shard of an item, a category, a creator, a surface or a query."""
    return ITEM_TAGS[crc32(name.encode()) % SHARDS]


def tag_of(scope: Scope, name: str) -> str:
    """The shard of a state row. Names of pairs and sessions begin with `USER/`, or with `QUERY/`."""
    if scope in OF_USERS:
        return user_tag(name.partition("/")[0])
    return item_tag(name.partition("/")[0] if scope in OF_QUERIES else name)


def tags_of(scope: Scope, names: Sequence[str]) -> list[str]:
    """The shard of each state row of one scope."""
    if scope in OF_USERS or scope in OF_QUERIES:
        return [tag_of(scope, name) for name in names]
    return list(map(item_tag, names))


def layout_of(key: str) -> str:
    """Under which layout a key of state stands, whichever namespace it is in.

    >>> layout_of("{u07}:streamrec:a1b2c3:u:ann")
    'a1b2c3'
    """
    return key.split(":", 3)[2]


class Keys:
    """Names of keys in one namespace; state is that of one layout."""

    def __init__(self, namespace: str, layout: str = LAYOUT) -> None:
        self._namespace = namespace
        self._state = f"{namespace}:{layout}"
        self._rows: dict[Scope, dict[str, str]] = {scope: {} for scope in Scope}
        tags = {scope: USER_TAGS if scope in OF_USERS else ITEM_TAGS for scope in Scope}
        self._starts = {
            scope: [f"{{{tag}}}:{self._state}:{letter}:" for tag in tags[scope]]
            for scope, letter in _LETTERS.items()
        }

    def row(self, scope: Scope, name: str) -> str:
        """A state row."""
        return self._rows[scope].get(name) or self._named(scope, name)

    def rows(self, scope: Scope, names: Sequence[str]) -> list[str]:
        """State rows of one scope: a ranking names a thousand of them."""
        if scope is Scope.ITEM:  # too many to remember
            starts = self._starts[Scope.ITEM]
            return [starts[crc32(name.encode()) % SHARDS] + name for name in names]
        known = self._rows[scope].get
        return [known(name) or self._named(scope, name) for name in names]

    def rows_of_user(self, user_id: str, scope: Scope, names: Iterable[str]) -> list[str]:
        """State rows of a scope of users, all of one user."""
        start = self._starts[scope][USER_TAGS.index(user_tag(user_id))]
        return [start + name for name in names]

    def rows_of(self, tag: str, keys: Sequence[tuple[Scope, str]]) -> list[str]:
        """State rows that are all of one shard: a write names many that are not met again soon."""
        starts = {scope: f"{{{tag}}}:{self._state}:{letter}:" for scope, letter in _LETTERS.items()}
        return [starts[scope] + name for scope, name in keys]

    def _named(self, scope: Scope, name: str) -> str:
        known = self._rows[scope]
        if len(known) >= _REMEMBERED:
            for old in list(known)[: _REMEMBERED // 2]:
                known.pop(old, None)
        key = known[name] = f"{{{tag_of(scope, name)}}}:{self._state}:{_LETTERS[scope]}:{name}"
        return key

    def pattern(self, scope: Scope) -> str:
        """What SCAN matches every state row of a scope by."""
        return f"{{[ui][0-9][0-9]}}:{self._state}:{_LETTERS[scope]}:*"

    def everything(self) -> str:
        """What SCAN matches all state by, of users and items."""
        return f"{{[ui][0-9][0-9]}}:{self._state}:*"

    def kind(self, key: str) -> Scope | str | None:
        """Of which scope a state row is, or which of a user's documents; None for another key."""
        letter = key.split(":", 4)[3]
        return _KINDS.get(letter)

    def row_of(self, key: str) -> tuple[Scope, str] | None:
        """The scope and name that a key of a state row of ours stands for; None for any other key.

        >>> Keys("streamrec", "a1b2c3").row_of("{i07}:streamrec:a1b2c3:i:v1")
        (<Scope.ITEM: 'item'>, 'v1')
        """
        _, _, rest = key.partition(":")
        if not rest.startswith(self._state):
            return None
        letter, _, name = rest[len(self._state) + 1 :].partition(":")
        scope = _KINDS.get(letter)
        return (scope, name) if isinstance(scope, Scope) else None

    def document(self, kind: str, user_id: str) -> str:
        """One of a user's documents (see streams.facts.documents)."""
        return f"{{{user_tag(user_id)}}}:{self._state}:{_DOCUMENTS[kind]}:{user_id}"

    def documents(self, user_id: str, kinds: Sequence[str]) -> list[str]:
        """Documents of one user."""
        start = f"{{{user_tag(user_id)}}}:{self._state}:"
        return [f"{start}{_DOCUMENTS[kind]}:{user_id}" for kind in kinds]

    def documents_of(self, tag: str, documents: Iterable[tuple[str, str]]) -> list[str]:
        """Documents, by kind and user, that are all of one shard."""
        start = f"{{{tag}}}:{self._state}:"
        return [f"{start}{_DOCUMENTS[kind]}:{user_id}" for kind, user_id in documents]

    def companions(self, item_id: str) -> str:
        """An item's set of what was watched with it."""
        return f"{{{item_tag(item_id)}}}:{self._state}:w:{item_id}"

    def fence(self, tag: str) -> str:
        """A shard's fences and ledger."""
        return f"{{{tag}}}:{self._state}:fence"

    def reply(self, request_id: str) -> str:
        """A reply kept for a repeated request."""
        return f"{self._namespace}:reply:{request_id}"

    def blob(self, name: str) -> str:
        """A published blob."""
        return f"{self._namespace}:blob:{name}"

    def lease(self, name: str) -> str:
        """How much of something was handed out."""
        return f"{self._namespace}:lease:{name}"

    def progress(self, role: str) -> str:
        """How far a role has read."""
        return f"{self._namespace}:progress:{role}"
