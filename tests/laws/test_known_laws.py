"""A rebuild follows the same facts as the live fold did: who was forgotten, and what was flagged."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streams.archive.archive_forget import announce, rewrite, settle
from streams.archive.rebuild import rebuild
from streams.catalogue.catalogue import Catalogue
from streams.codec import encode
from streams.events import EVENT_TOPICS, FLAGGED, ITEMS, MAX_MS, Record
from streams.facts.facts import Fact
from streams.features import HEAD, Scope
from streams.fold.applier import Applier
from streams.messages import Message
from streams.store import MemoryStore
from streams.trust.conduct import Conduct, Seen
from streams.trust.judge import Judge, flagged_record
from streams.trust.limits import Reason, Verdict
from streams.verify import Report, capture, verify
from tests.build import T0
from tests.past import EPOCHS, Past

pytestmark = pytest.mark.deep

FAR = 2 * T0


class Moody:
    """A detector whose verdicts nobody could guess again: every third event it is asked about."""

    def __init__(self) -> None:
        self._asked = 0

    def judge(self, user_id: str, conduct: Conduct, seen: Seen, impressions_read_ms: int) -> Verdict:
        self._asked += 1
        return Verdict(Reason.ANOMALY, 1.5) if self._asked % 3 == 0 else Verdict()


class Told:
    """Rejects that put what is flagged on its topic."""

    def __init__(self, past: Past) -> None:
        self._past, self.records = past, list[Record]()

    def dead(self, dead: Any) -> None:
        pass

    def late(self, fact: Fact) -> None:
        pass

    def flagged(self, fact: Fact, verdict: Verdict) -> None:
        record = flagged_record(fact, verdict)
        self.records.append(record)
        self._past.add(FLAGGED.name, record.user_id, encode(record))

    def flush(self) -> None:
        pass


def live(past: Past, store: MemoryStore) -> Told:
    """Folds the past one message after the other, flagging as it goes."""
    told, catalogue = Told(past), Catalogue()
    applier = Applier(store, catalogue, EPOCHS.__getitem__, lambda: FAR, told, judge=Judge(Moody()))
    applier.resume(past.sources)
    for message in list(past.messages):
        if message.topic == ITEMS.name:
            catalogue.apply(message)
        else:
            applier.apply([message])
    applier.advance()
    return told


@pytest.mark.parametrize("archived", [0, 200, 2_000])
def test_flagged_events_are_flagged_again_from_archive_and_topic(tmp_path: Path, archived: int) -> None:
    past, lived, found = Past(3), MemoryStore(), MemoryStore()
    told = live(past, lived)
    timeline = past.timeline(past.archive(tmp_path, archived))
    timeline.learn()
    rebuild(found, timeline, lambda: FAR)
    assert len(told.records) > 50
    assert same(found, lived)
    assert found.ledger() == lived.ledger()
    without = MemoryStore()
    rebuild(without, past.timeline(past.archive(tmp_path, archived)), lambda: FAR)
    assert not same(without, lived)  # had nobody read what was flagged


def test_a_forgotten_user_is_in_no_rebuild_whether_taken_out_of_the_archive_or_not(tmp_path: Path) -> None:
    past, wish = Past(4), {"u1": MAX_MS}
    others = Past(4)
    others.messages = [m for m in others.messages if not _of(m, "u1")]
    found = []
    for taken_out in (False, True):
        archive = past.archive(tmp_path / str(taken_out), 250)
        if taken_out:
            announce(archive, wish)
            assert sum(rewrite(archive, wish)) > 20
            settle(archive, wish)
        timeline, store = past.timeline(archive), MemoryStore()
        timeline.learn(lambda user_id, ts_ms: ts_ms <= wish.get(user_id, -1))
        rebuild(store, timeline, lambda: FAR)
        assert store.history("u1") == store.shown("u1") == ()
        assert not any(name.partition("/")[0] == "u1" for _, name in store.rows)
        found.append(store)
    expected = MemoryStore()
    others.fold(expected, batch=1)
    assert same(found[0], expected)
    assert same(found[1], expected)


def same(found: MemoryStore, expected: MemoryStore) -> bool:
    """True if both hold the same rows, to 1e-9."""
    return found.rows.keys() == expected.rows.keys() and all(
        np.allclose(row, expected.rows[key], rtol=1e-9, atol=1e-9) for key, row in found.rows.items()
    )


def _of(message: Message, user_id: str) -> bool:
    return message.topic in {topic.name for topic in EVENT_TOPICS} and message.key == user_id.encode()


@pytest.mark.parametrize("taken_out", [False, True])
def test_verify_tells_what_a_forgotten_user_left_from_what_is_wrong(tmp_path: Path, taken_out: bool) -> None:
    past, store, wish = Past(4), MemoryStore(), {"u1": MAX_MS}
    past.fold(store)
    assert store.forget(wish) == 1
    archive = past.archive(tmp_path, 250)
    if taken_out:
        announce(archive, wish)
        assert sum(rewrite(archive, wish)) > 20
        settle(archive, wish)

    def verified(forgotten: Any = lambda user_id, ts_ms: ts_ms <= wish.get(user_id, -1)) -> Report:
        timeline = past.timeline(archive)
        timeline.learn(forgotten)
        return verify(store, capture(store), timeline, "n", lambda: FAR)

    report = verified()
    assert report.ok, report.differences
    assert report.scopes["item"].forgotten > 3
    assert report.scopes["category"].forgotten + report.scopes["creator"].forgotten > 1
    assert {d.kind for d in report.differences} == {"forgotten"}
    key = next(d.key for d in report.differences if d.key.startswith("item:"))
    row = store.rows[Scope.ITEM, key.removeprefix("item:")].copy()
    store.rows[Scope.ITEM, key.removeprefix("item:")] = np.concatenate([row[:HEAD], row[HEAD:] * 0.1])
    report = verified()  # a live count below what the others did is no forgotten user's share
    assert not report.ok
    assert [d.key for d in report.differences if d.kind == "mismatching"] == [key]
    store.rows[Scope.ITEM, key.removeprefix("item:")] = row
    store.rows[Scope.CREATOR, "intruder"] = store.rows[Scope.CREATOR, "m1"]
    report = verified()  # and what no forgotten user was in is not excused
    assert [(d.kind, d.key) for d in report.differences if d.kind != "forgotten"] == [
        ("extra", "creator:intruder")
    ]
