"""The store of online state: what is read and written, in memory and in Redis.

`contract` says what a store does, `memory` and `redis_store` do it, `connect` opens the real one.
Importing this package does not import redis.
"""

from streams.store.contract import Document, Looked, Move, Outcomes, Position, ShardFence, ShardWrite, Store
from streams.store.memory import MemoryStore

__all__ = [
    "Document",
    "Looked",
    "MemoryStore",
    "Move",
    "Outcomes",
    "Position",
    "ShardFence",
    "ShardWrite",
    "Store",
]
