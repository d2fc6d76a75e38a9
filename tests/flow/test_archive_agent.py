"""The role `archive`, driven as the edge drives it: every record one row, whatever fails when."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.archive.archive import Archive
from streams.archive.archive_agent import ArchiveHandler
from streams.codec import encode
from streams.errors import StoreUnavailable
from streams.events import CLICKS, EXAMPLES, MAX_MS, WATCHES
from streams.messages import Message, Source
from tests.build import T0, make_click, make_example, make_watch
from tests.conftest import MakeSettings

SOURCES = [Source(CLICKS.name, 0), Source(CLICKS.name, 1), Source(WATCHES.name, 0), Source(EXAMPLES.name, 0)]


UNREADABLE = "-"


def topics(rng: random.Random, messages: int) -> dict[Source, list[Message]]:
    """Single records, batches, garbage and empty values, spread over three hours."""
    log: dict[Source, list[Message]] = {source: [] for source in SOURCES}
    for n in range(messages):
        source = rng.choice(SOURCES)
        at = {"ts_ms": T0 + rng.randrange(3 * 3_600_000), "user_id": "u1"}
        if rng.random() < 0.1:
            value = rng.choice((b"{garbage", b""))
        elif source.topic == EXAMPLES.name:
            value = encode(make_example(example_id=f"r:{n}", **at))
        else:
            make = make_click if source.topic == CLICKS.name else make_watch
            records = [make(**at) for _ in range(rng.choice((1, 1, 3)))]
            value = encode(records if len(records) > 1 else records[0])
        log[source].append(Message(*source, len(log[source]), T0, b"u1", value))
    return log


def archived(url: str) -> Counter[str]:
    """How often each record stands in the archive, by id."""
    archive, found = Archive(url), Counter[str]()
    for topic, name in ((CLICKS.name, "event_id"), (WATCHES.name, "event_id"), (EXAMPLES.name, "example_id")):
        for files in archive.hours(topic, 0, MAX_MS):
            found.update(name or UNREADABLE for name in archive.table(files, topic)[name].to_pylist())
    return found


def ids(log: dict[Source, list[Message]]) -> Counter[str]:
    """The ids of all good records; of events also how many could not be read."""
    found = Counter[str]()
    for source, messages in log.items():
        for message in messages:
            if not message.value or message.value == b"{garbage":
                found[UNREADABLE] += source.topic != EXAMPLES.name
            else:
                records: Any = msgspec.json.decode(message.value)
                for record in records if isinstance(records, list) else [records]:
                    found[record.get("example_id") or record["event_id"]] += 1
    return found


@pytest.mark.parametrize("seed", range(5))
def test_crashes_at_any_point_leave_every_record_once(
    tmp_path: Path, make_settings: MakeSettings, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    log, url, wall = topics(rng, 300), str(tmp_path / "archive"), [2 * T0]
    put = Archive._put
    crashes = 0

    class Killed(BaseException):
        pass

    def fragile(self: Archive, path: str, data: bytes) -> None:
        if rng.random() < 0.04:
            raise Killed
        put(self, path, data)
        if rng.random() < 0.04:
            raise Killed

    monkeypatch.setattr(Archive, "_put", fragile)
    settings = make_settings(archive_flush_ms=1_000)
    while True:
        handler = ArchiveHandler(settings, Archive(url), lambda topic: "cluster/1", lambda: wall[0])
        try:
            start = handler.assigned(SOURCES)
            at = {source: start.get(source, 0) for source in SOURCES}
            while open_ := [s for s in SOURCES if at[s] < len(log[s])]:
                source = rng.choice(open_)
                messages = log[source][at[source] :][: rng.randint(1, 20)]
                wall[0] += 300
                handler.handle(messages)
                at[source] = messages[-1].offset + 1
            handler.close()
            break
        except Killed:
            crashes += 1
    assert crashes > 0
    assert archived(url) == ids(log)


def test_a_place_that_fails_for_a_while_is_tried_again_and_nothing_doubles(
    tmp_path: Path, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, url = topics(random.Random(9), 60), str(tmp_path / "archive")
    handler = ArchiveHandler(make_settings(), Archive(url), lambda topic: "e", lambda: 2 * T0)
    handler.assigned(SOURCES)
    for messages in log.values():
        handler.handle(messages)
    with monkeypatch.context() as patch:
        patch.setattr("streams.archive.archive_agent.ATTEMPTS", 1)

        def full(self: Archive, path: str, data: bytes) -> None:
            raise OSError("no space left on device")

        patch.setattr(Archive, "_put", full)
        with pytest.raises(StoreUnavailable, match="no space"):
            handler.flush()
    for messages in log.values():
        handler.handle(messages[-3:])  # handed over again
    handler.close()
    assert archived(url) == ids(log)


def test_a_topic_created_anew_is_archived_beside_its_former_life(
    tmp_path: Path, make_settings: MakeSettings
) -> None:
    url = str(tmp_path / "archive")
    source = Source(CLICKS.name, 0)
    for epoch in ("first", "second"):
        handler = ArchiveHandler(make_settings(), Archive(url), lambda topic, e=epoch: e, lambda: 2 * T0)
        assert handler.assigned([source]) == {}
        handler.handle([Message(*source, 0, T0, b"u1", encode(make_click(event_id=epoch)))])
        handler.close()
        assert handler.assigned([source]) == {source: 1}
    assert archived(url) == {"first": 1, "second": 1}
