"""The role `embedder`: new and changed items, and every new champion, to vectors in Redis.

It follows `items` and `models` from their start, without a group: what it has done stands in Redis, so a
second one does no harm and a killed one goes on where it was.
"""

import logging
import os
import threading
import time
from contextlib import ExitStack, suppress

from models.vectors.embedding import Embedding
from models.versions.registry import Champions
from streams.catalogue.catalogue import Catalogue
from streams.codec import decode
from streams.edge.health import Health
from streams.errors import KafkaUnavailable, StoreUnavailable
from streams.events import ITEMS, MODELS, ModelRecord
from streams.kafka import Follower
from streams.messages import Message
from streams.metrics import MESSAGES, MODEL, RETRIES
from streams.settings import Settings
from streams.store.connect import connect_vectors

__all__ = ["run"]

log = logging.getLogger(__name__)

IDLE_S = 0.25  # between two looks, when there is nothing to do
RETRY_S = 0.5
NICENESS = 3  # a whole catalogue at once must not be felt by requests


def run(settings: Settings, health: Health, stop: threading.Event) -> None:
    """Embeds until `stop` is set.

    Raises:
        KafkaUnavailable: a topic cannot be followed any more.
    """
    with suppress(OSError, AttributeError):  # not allowed, or no such call on this system
        os.nice(NICENESS)
    for need in ("kafka", "redis", "vectors"):
        health.set(need, False, "not yet")
    with ExitStack() as closing:
        _Role(settings, health, closing).serve(stop)


class _Role:
    """Two followers and the embedding between them; `closing` closes them."""

    def __init__(self, settings: Settings, health: Health, closing: ExitStack) -> None:
        self._health, self._lock = health, threading.Lock()
        self._catalogue, self._champions = Catalogue(), Champions()
        store = connect_vectors(settings)
        closing.callback(store.close)
        self._embedding = Embedding(self._catalogue, store)
        self._followers = (
            Follower(settings, [ITEMS], self._apply_item),
            Follower(settings, [MODELS], self._apply_model),
        )
        for follower in self._followers:
            follower.start()
            closing.callback(follower.stop)

    def serve(self, stop: threading.Event) -> None:
        """Waits for both topics to be read to their ends, and embeds then."""
        for follower in self._followers:
            follower.wait(stop)
        self._health.set("kafka", True)
        while not stop.is_set():
            self._check_followers()
            stop.wait(0.0 if self._turn() else IDLE_S)

    def _turn(self) -> bool:
        try:
            more = self._embedding.turn(self._champion)
        except StoreUnavailable as error:
            RETRIES.labels("redis").inc()
            self._health.set("redis", False, str(error))
            log.warning("%s; again in %g s", error, RETRY_S)
            time.sleep(RETRY_S)
            return False
        self._health.set("redis", True)
        version = self._embedding.version
        MODEL.info({"version": version or "none"})
        said = f"version {version}" if version else "no towers: vectors of content are used"
        self._health.set(
            "vectors",
            self._embedding.whole,
            said if not more else f"{self._embedding.waiting} items to embed",
        )
        return more

    @property
    def _champion(self) -> ModelRecord | None:
        with self._lock:
            return self._champions.champion

    def _apply_item(self, message: Message) -> None:
        MESSAGES.labels(ITEMS.name).inc()
        self._catalogue.apply(message)  # bad items are dead-lettered by the role `features`

    def _apply_model(self, message: Message) -> None:
        MESSAGES.labels(MODELS.name).inc()
        records = decode(MODELS, message.key, message.value, message.timestamp_ms).records
        with self._lock:
            for record in records:
                self._champions.apply(record)

    def _check_followers(self) -> None:
        for follower in self._followers:
            if follower.error is not None:
                self._health.fail(f"{follower.name}: {follower.error}")
                raise KafkaUnavailable(f"{follower.name} ended: {follower.error}")
