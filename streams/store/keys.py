"""Where everything stands: shards, their hash tags, and the names of keys.

Users and items are each spread over 32 shards by crc32 of the id. A shard's keys carry its tag in
braces, so that on a cluster they live on one node and one script may write them together.
"""

import zlib

from streams.features import Scope

__all__ = ["ITEM_TAGS", "SHARDS", "TAGS", "USER_TAGS", "Keys", "item_tag", "tag_of", "user_tag"]

SHARDS = 32
USER_TAGS = tuple(f"u{n:02d}" for n in range(SHARDS))
ITEM_TAGS = tuple(f"i{n:02d}" for n in range(SHARDS))
TAGS = USER_TAGS + ITEM_TAGS
_REMEMBERED = 200_000  # keys kept ready; after that the oldest half is forgotten


def user_tag(user_id: str) -> str:
    """The shard of a user's state, documents and user-by-category counters."""
    return USER_TAGS[zlib.crc32(user_id.encode()) % SHARDS]


def item_tag(name: str) -> str:
    """The shard of an item, a category or a creator."""
    return ITEM_TAGS[zlib.crc32(name.encode()) % SHARDS]


def tag_of(scope: Scope, name: str) -> str:
    """The shard of a state row. A user-by-category name is `USER/CATEGORY`."""
    if scope is Scope.USER:
        return user_tag(name)
    if scope is Scope.USER_CATEGORY:
        return user_tag(name.partition("/")[0])
    return item_tag(name)


class Keys:
    """Names of keys in one namespace."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._rows: dict[tuple[Scope, str], str] = {}

    def row(self, scope: Scope, name: str) -> str:
        """A state row."""
        known = self._rows.get((scope, name))
        if known is None:
            known = f"{{{tag_of(scope, name)}}}:{self._namespace}:{scope.value}:{name}"
            if len(self._rows) >= _REMEMBERED:
                for old in list(self._rows)[: _REMEMBERED // 2]:
                    self._rows.pop(old, None)
            self._rows[(scope, name)] = known
        return known

    def pattern(self, scope: Scope) -> str:
        """What SCAN matches every state row of a scope by."""
        return f"{{[ui][0-9][0-9]}}:{self._namespace}:{scope.value}:*"

    def document(self, kind: str, user_id: str) -> str:
        """One of a user's documents: `seen`, `history` or `shown`."""
        return f"{{{user_tag(user_id)}}}:{self._namespace}:{kind}:{user_id}"

    def fence(self, tag: str) -> str:
        """A shard's fences and ledger."""
        return f"{{{tag}}}:{self._namespace}:fence"

    def reply(self, request_id: str) -> str:
        """A reply kept for a repeated request."""
        return f"{self._namespace}:reply:{request_id}"

    def blob(self, name: str) -> str:
        """A published blob."""
        return f"{self._namespace}:blob:{name}"

    def progress(self, role: str) -> str:
        """How far a role has read."""
        return f"{self._namespace}:progress:{role}"
