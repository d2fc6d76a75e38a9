"""Slates of many users, made in this process and kept for when nothing can score."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from models.serving.budget import Budget, Guard
from models.serving.candidates.learned import Learned
from models.serving.candidates.shelves import Shelves
from models.serving.funnel import Funnel, Ranked
from models.serving.requests.precomputed import Precomputed, keep
from models.serving.slot import ModelSlot
from streams.catalogue.catalogue import Catalogue
from streams.errors import KafkaUnavailable, ModelRefused
from streams.events import ITEMS, MODELS, RankRequest
from streams.kafka import Follower
from streams.messages import Message
from streams.settings import Settings
from streams.store import Store
from streams.store.connect import connect_vectors

__all__ = ["Job", "opened", "precompute"]

CATCH_UP_S = 60.0
AT_A_TIME = 100  # users between two notes of how far it got
ENOUGH_MS = 60_000.0


class Ranks(Protocol):
    """What makes a slate: `models.serving.funnel.Funnel`."""

    def rank(self, request: RankRequest, now_ms: int, budget: Budget) -> Ranked:
        """The slate as of `now_ms`."""


@contextmanager
def opened(settings: Settings, store: Store) -> Iterator[tuple[Funnel, str]]:
    """A funnel as scorers have it, without chance and without paid places, and its champion's version.

    Raises:
        KafkaUnavailable: catalogue or models could not be read.
        ModelRefused: no version can serve.
    """
    plain = settings.model_copy(update={"exploration": 0.0, "sponsored_positions": ""})
    catalogue, slot, vectors = Catalogue(), ModelSlot(store), connect_vectors(settings)

    def take(message: Message) -> None:
        catalogue.apply(message)

    followers = (Follower(plain, [ITEMS], take), Follower(plain, [MODELS], slot.apply))
    try:
        for follower in followers:
            follower.start()
        for follower in followers:
            if not follower.caught_up.wait(CATCH_UP_S):
                raise KafkaUnavailable(
                    f"{follower.name}: not read to its end: {follower.error or 'too slow'}"
                )
        slot.refresh()
        if slot.current.version is None or slot.current.weights is None:
            raise ModelRefused("precompute: there is no model yet that can serve")
        shelves = Shelves(catalogue, store, learned=Learned(vectors))
        shelves.refresh()
        yield Funnel(plain, catalogue, store, shelves, slot, guard=Guard()), slot.current.version
    finally:
        for follower in followers:
            follower.stop()
        vectors.close()


class Job:
    """Which slates are to be made by which version, how many of them are, and how long they are kept (s)."""

    def __init__(
        self, store: Store, users: Sequence[str], surface: str, limit: int, version: str, kept_s: float
    ) -> None:
        self.kept_s = kept_s
        self.users = sorted(set(users))
        self.surface, self.limit, self.version = surface, limit, version
        self._store = store
        whole = json.dumps([self.users, surface, limit, version]).encode()
        self._name = f"~precompute/{hashlib.blake2b(whole, digest_size=8).hexdigest()}"

    @property
    def done(self) -> int:
        """Users whose slates were made before."""
        found = self._store.get_reply(self._name)
        return 0 if found is None else int(json.loads(found)["done"])

    def note(self, done: int) -> None:
        """Notes how many are done, from the first."""
        self._store.put_reply(self._name, json.dumps({"done": done}).encode(), self.kept_s)


def precompute(
    funnel: Ranks,
    store: Store,
    job: Job,
    told: Callable[[int], None] = lambda _: None,
    wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> int:
    """Makes what is left of a job; returns how many slates it kept. `told` hears of each user.

    A user for whom nothing could be scored gets no slate. Cut off at any point, the same job goes on
    within the last hundred users.

    Raises:
        StoreUnavailable: Redis went away.
    """
    start, made = job.done, 0
    for at, user_id in enumerate(job.users[start:], start):
        if at % AT_A_TIME == 0:
            job.note(at)
        now_ms = wall_ms()
        request = RankRequest(
            request_id=f"precompute-{at}", user_id=user_id, surface=job.surface, limit=job.limit, ts_ms=now_ms
        )
        reply = funnel.rank(request, now_ms, Budget(ENOUGH_MS)).reply
        if reply.degraded is not None:
            store.ping()  # Redis may be why
        elif reply.items:
            items = tuple(item.item_id for item in reply.items)
            keep(store, job.surface, Precomputed(user_id, items, job.version, now_ms), job.kept_s)
            made += 1
        told(1)
    job.note(len(job.users))
    return made
