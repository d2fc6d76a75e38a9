"""Carries the long-lived topics of the embedded broker, which forgets everything, over to the next start."""

import logging
import threading
from collections.abc import Iterable
from pathlib import Path

import msgspec

from streams.events import FORGOTTEN, ITEMS, MODELS, TOPICS, TRIGGERS, Topic
from streams.kafka import Follower, Publisher
from streams.messages import Message, header
from streams.settings import Settings

__all__ = ["KEPT", "Keeper", "Kept", "compacted", "load"]

log = logging.getLogger(__name__)

KEPT: tuple[Topic, ...] = (ITEMS, MODELS, TRIGGERS, FORGOTTEN)
RESTORED = "x-streamrec-restored"  # a header on messages that come from the file


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message in the file; a `value` of None removes the key of a compacted topic."""

    topic: str
    key: str | None = None
    value: str | None = None


def load(path: Path) -> list[Kept]:
    """The messages in the file, oldest first; a last line cut short by a crash is left out."""
    if not path.exists():
        return []
    decoder, found = msgspec.json.Decoder(Kept), []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            found.append(decoder.decode(line))
        except msgspec.MsgspecError:
            log.warning("%s:%d is no message and is left out", path, number)
    return found


def compacted(messages: Iterable[Kept]) -> list[Kept]:
    """What a broker would have kept: of compacted topics the last value of a key, of others all."""
    kept: dict[object, Kept] = {}
    for number, message in enumerate(messages):
        topic = TOPICS.get(message.topic)
        if topic is None:
            continue
        place = (message.topic, message.key) if topic.compacted else number
        kept.pop(place, None)
        if message.value or not topic.compacted:
            kept[place] = message
    return list(kept.values())


class Keeper:
    """Writes what appears on the kept topics to a file, and puts it back on a new broker."""

    def __init__(self, settings: Settings, path: Path) -> None:
        self._settings = settings
        self._path = path
        self._lock = threading.Lock()
        self._follower: Follower | None = None

    def start(self) -> int:
        """Puts back what the file holds, then follows; returns how many messages it put back."""
        messages = compacted(load(self._path))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_name(self._path.name + ".part")
        part.write_bytes(b"".join(msgspec.json.encode(m) + b"\n" for m in messages))
        part.replace(self._path)
        if messages:
            self._restore(messages)
        self._file = self._path.open("ab")
        self._follower = Follower(self._settings, KEPT, self._keep)
        self._follower.start()
        return len(messages)

    def _restore(self, messages: list[Kept]) -> None:
        publisher = Publisher(self._settings)
        try:
            for m in messages:
                key, value = (None if part is None else part.encode() for part in (m.key, m.value))
                partition = 0 if TOPICS[m.topic].single else None
                publisher.send_raw(m.topic, key, value, [(RESTORED, b"1")], partition)
            publisher.flush()
        finally:
            publisher.close()

    def _keep(self, message: Message) -> None:
        if header(message, RESTORED) is not None:
            return
        key, value = (
            None if part is None else part.decode(errors="replace") for part in (message.key, message.value)
        )
        with self._lock:
            self._file.write(msgspec.json.encode(Kept(message.topic, key, value)) + b"\n")
            self._file.flush()

    def stop(self) -> None:
        """Stops following; the file stays."""
        if self._follower is not None:
            self._follower.stop()
            self._follower.join(5.0)
            self._file.close()
