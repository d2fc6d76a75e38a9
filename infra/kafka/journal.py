"""Messages of a few topics as lines of JSON, for a broker that forgets."""

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from streams.errors import OperatorError
from streams.events import Topic
from streams.messages import Message

__all__ = ["Entry", "Journal"]


class Entry(msgspec.Struct, frozen=True):
    """A message as it stood in Kafka; bytes are base64 in the file."""

    partition: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


_decoder = msgspec.json.Decoder(Entry)


class Journal:
    """One file per topic in `folder`. Not for two processes at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, IO[bytes]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def load(self, topic: Topic) -> list[Entry]:
        """What was kept, in order; of a compacted topic only the newest of each key. Rewrites the file so.

        Raises:
            OperatorError: a line other than the last cannot be read.
        """
        path = self._path(topic.name)
        if not path.is_file():
            return []
        entries = list(_read(path))
        if topic.compacted:
            newest = {entry.key: entry for entry in entries}
            entries = [entry for entry in newest.values() if entry.value]
        partial = path.with_suffix(".partial")
        partial.write_bytes(b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries))
        partial.rename(path)
        return entries

    def append(self, message: Message) -> None:
        """Writes a message through to its topic's file."""
        file = self._files.get(message.topic)
        if file is None:
            file = self._files[message.topic] = self._path(message.topic).open("ab")
        entry = Entry(
            message.partition, message.timestamp_ms, message.key, message.value, tuple(message.headers)
        )
        file.write(msgspec.json.encode(entry) + b"\n")
        file.flush()

    def close(self) -> None:
        """Closes the files."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _path(self, topic: str) -> Path:
        return self._folder / f"{topic}.jsonl"


def _read(path: Path) -> Iterator[Entry]:
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            yield _decoder.decode(line)
        except msgspec.MsgspecError as error:
            if number < len(lines):  # a line cut by a power cut is the last, and has no end
                raise OperatorError(f"{path}: line {number} cannot be read: {error}") from None
