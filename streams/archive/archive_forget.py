"""Forgetting in the archive: a user's rows are taken out of Parquet files by writing these anew.

    _forgotten/pending/{hash}.json      a user whose rows are being taken out: readers pass over them
    _forgotten/done/{hash}.json         one whose rows are out
    _forgotten/traces.json              which aggregates such rows were in (see archive_traces)

A file is replaced whole under its own name, and committed files alone, so a crash leaves every file
either as it was or without the rows, and the wish pending; the next start goes on. Two processes that
do the same write the same. The files hold the user's id and the time, as the wish itself does.
"""

from collections.abc import Iterator, Mapping

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from streams.archive.archive import Archive
from streams.archive.archive_schema import SCHEMAS
from streams.archive.archive_traces import traces_of_rows, write_traces
from streams.archive.archive_wishes import DONE, PENDING, Wish, kept_rows, wish_path
from streams.events import EVENT_TOPICS

__all__ = ["TOPICS_OF_USERS", "announce", "left_to_do", "rewrite", "settle"]

_EVENTS = frozenset(topic.name for topic in EVENT_TOPICS)
TOPICS_OF_USERS = tuple(topic for topic, schema in SCHEMAS.items() if "user_id" in schema.names)


def left_to_do(archive: Archive, users: Mapping[str, int]) -> dict[str, int]:
    """Those of the users whose rows are not out yet."""
    left = {}
    for user_id, at_ms in users.items():
        done = archive.read(wish_path(DONE, user_id), Wish)
        if done is None or done.at_ms < at_ms:
            left[user_id] = at_ms
    return left


def announce(archive: Archive, users: Mapping[str, int]) -> None:
    """Tells readers to pass over these users' rows, from now until they are out."""
    for user_id, at_ms in users.items():
        archive.replace(wish_path(PENDING, user_id), msgspec.json.encode(Wish(user_id, at_ms)))


def rewrite(archive: Archive, users: Mapping[str, int]) -> Iterator[int]:
    """Takes the rows out, file by file; yields for each file how many rows it lost."""
    for topic in TOPICS_OF_USERS:
        for parts in archive.parts(topic).values():
            for part in parts:
                yield _without(archive, topic, part.path, users)


def settle(archive: Archive, users: Mapping[str, int]) -> None:
    """Notes that the rows are out."""
    for user_id, at_ms in users.items():
        archive.replace(wish_path(DONE, user_id), msgspec.json.encode(Wish(user_id, at_ms)))
        archive.remove(wish_path(PENDING, user_id))


def _without(archive: Archive, topic: str, path: str, users: Mapping[str, int]) -> int:
    keep = kept_rows(archive.columns(path, ("user_id", "ts_ms")), users)
    lost = int((~keep).sum())
    if lost:
        table = archive.columns(path, SCHEMAS[topic].names)
        if topic in _EVENTS:
            write_traces(archive, traces_of_rows(table.filter(pa.array(~keep))))
        sink = pa.BufferOutputStream()
        pq.write_table(table.filter(pa.array(keep)), sink, compression="zstd")
        archive.replace(path, sink.getvalue().to_pybytes())
    return lost
