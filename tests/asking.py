"""A scorer running in this process, and a client that can send it anything."""

import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from models.learning.online import OnlineModel
from models.serving import scorer
from models.versions.manifest import ONLINE, Version
from models.versions.registry import publish, seal
from streams.codec import decode, encode
from streams.edge.health import Health
from streams.events import (
    CORRELATION_ID,
    ITEMS,
    MODELS,
    REPLIES,
    REQUESTS,
    TOPICS,
    ModelRecord,
    RankReply,
    RankRequest,
)
from streams.features import COLUMN_NAMES
from streams.kafka import Follower, Publisher, create_topics
from streams.messages import Message, header
from streams.settings import Settings
from tests.build import make_item
from tests.planted import linear_graph, linear_version
from tests.waiting import eventually

PATIENCE_S = 30.0


@contextmanager
def running_scorer(settings: Settings) -> Iterator[Health]:
    """The role `scorer` on a thread; ready when the body begins, and joined after it."""
    health, stop, errors = Health("scorer"), threading.Event(), []

    def role() -> None:
        try:
            scorer.run(settings, health, stop)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=role)
    thread.start()
    try:
        eventually(lambda: health.ready or errors, PATIENCE_S, "a ready scorer")
        yield health
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    if errors:
        raise errors[0]


def stock(settings: Settings) -> None:
    """A catalogue of 30: item k has k tags, one of 5 categories and one of 10 creators."""
    create_topics(settings)
    with Publisher(settings) as publisher:
        for k in range(30):
            tags = tuple(f"t{n}" for n in range(k))
            item = make_item(item_id=f"i{k:02}", tags=tags, category=f"c{k % 5}", creator_id=f"m{k % 10}")
            publisher.send(ITEMS, item)
        publisher.flush()


def pair_version(
    version: str = "v1",
    columns: Sequence[str] = ("item_known", "item_tags"),
    definitions: tuple[str, ...] = (),
) -> Version:
    """A version whose logits are the sum of `columns`, with untrained online weights of its own."""
    made = linear_version(
        linear_graph(len(columns)), tuple(columns), version=version, definitions=definitions
    )
    online = OnlineModel(version, COLUMN_NAMES).snapshot()
    fields = {n: getattr(made.manifest, n) for n in made.manifest.__struct_fields__ if n != "files"}
    return seal({**made.files, ONLINE: online}, **fields)


def crown(publisher: Publisher, folder: Path, version: Version) -> None:
    """Publishes a version and makes it the champion."""
    uri, sha256 = publish(str(folder), version)
    record = ModelRecord(version=version.manifest.version, ts_ms=0, state="champion", uri=uri, sha256=sha256)
    publisher.send(MODELS, record)
    publisher.flush()


class Asker:
    """Sends requests with any bytes and headers, and collects what comes back on any topic."""

    def __init__(self, settings: Settings, topics: Sequence[str] = (REPLIES.name,)) -> None:
        self.settings = settings
        self.publisher = Publisher(settings, linger_ms=0)
        self.messages: list[Message] = []
        watched = [TOPICS[name] if name in TOPICS else _unlisted(name) for name in topics]
        self._follower = Follower(settings, watched, self.messages.append, wait_ms=5)

    def __enter__(self) -> "Asker":
        self._follower.start()
        if not self._follower.caught_up.wait(PATIENCE_S):
            raise TimeoutError("replies cannot be followed")
        return self

    def __exit__(self, *_: object) -> None:
        self._follower.stop()
        self.publisher.close()

    def send(
        self, value: RankRequest | bytes, *headers: tuple[str, bytes], key: bytes | None = None
    ) -> bytes:
        """Sends one request; returns its correlation id."""
        correlation = secrets.token_bytes(12)
        raw = value if isinstance(value, bytes) else encode(value)
        self.publisher.send_raw(REQUESTS.name, key, raw, [(CORRELATION_ID, correlation), *headers])
        return correlation

    def found(self, correlation: bytes) -> list[Message]:
        """What came back with that correlation id, on any followed topic but dead letters."""
        return [
            m
            for m in list(self.messages)
            if header(m, CORRELATION_ID) == correlation and not m.topic.endswith(".DLT")
        ]

    def answer(self, correlation: bytes) -> tuple[RankReply, Message]:
        """The reply with that correlation id."""
        eventually(lambda: self.found(correlation), PATIENCE_S, "an answer")
        message = self.found(correlation)[0]
        (reply,) = decode(REPLIES, None, message.value, 0).records
        return reply, message

    def ask(
        self, value: RankRequest | bytes, *headers: tuple[str, bytes], key: bytes | None = None
    ) -> RankReply:
        """Sends one request and waits for its reply."""
        return self.answer(self.send(value, *headers, key=key))[0]

    def on(self, topic: str) -> list[Message]:
        """What came on a topic so far."""
        return [m for m in list(self.messages) if m.topic == topic]


def _unlisted(name: str):
    return type(REPLIES)(name=name, record=RankReply, key="user_id", retention_ms=1)
