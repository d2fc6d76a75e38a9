"""The ledger and the couriers, minutes in milliseconds: what arrives, when, and what is never lost."""

import json
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from monitors.alerts.ledger import KEPT_MS, MAX_WAITING
from monitors.alerts.post import Answer
from tests.build import make_alert
from tests.couriers import AT_MS, DOWN, GONE, OK, UNFIT, Office


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def test_a_firing_and_its_end_arrive_once_each(office: Office) -> None:
    assert office.change("a") == "queued"
    assert office.change("a") == "repeated"
    office.run()
    assert office.change("a", "resolved") == "queued"
    assert office.change("a", "resolved") == "unpaired"
    office.run(60)
    assert office.told() == [("a", "firing"), ("a", "resolved")]


def test_an_end_without_a_beginning_is_not_told(office: Office) -> None:
    assert office.change("a", "resolved") == "unpaired"
    office.run(60)
    assert office.posts == []


def test_a_topic_read_again_changes_nothing(office: Office) -> None:
    changes = [
        make_alert(ts_ms=AT_MS + at, status=status)
        for at, status in ((0, "firing"), (0, "resolved"), (5, "firing"), (9, "resolved"))
    ]
    assert office.take(*changes) == ["queued"] * 4
    office.run(10)
    office.restart()
    assert office.take(*changes) == ["stale"] * 4
    office.run(10)
    assert office.told() == [("f1", "firing"), ("f1", "resolved")] * 2


def test_another_severity_is_an_update(office: Office) -> None:
    office.change("a", severity="warning")
    assert office.change("a", severity="critical") == "queued"
    assert office.change("a", severity="critical") == "repeated"
    office.run(5)
    assert office.told() == [("a", "firing")] * 2


def test_nothing_is_lost_while_a_receiver_is_down_for_ten_minutes_with_restarts(tmp_path: Path) -> None:
    office = Office(tmp_path, "hook", "well")
    office.answers = lambda name, _: DOWN if name == "hook" else OK
    expected = []
    for minute in range(10):
        for k in range(3):
            for status in ("firing", "resolved"):
                assert office.change(f"m{minute}-{k}", status) == "queued"
                expected.append((f"m{minute}-{k}", status))
        office.run(60)
        if minute % 3 == 0:
            office.restart()
    assert sorted(office.told("well")) == sorted(expected)
    assert office.told("hook") == []
    attempts = [at for name, at, *_ in office.posts if name == "hook"]
    assert 10 <= len(attempts) <= 30
    assert len({post.headers["webhook-id"] for name, _, post, _ in office.posts if name == "hook"}) == 1
    office.answers = lambda *_: OK
    back_ms = office.now_ms
    office.run(120)
    assert sorted(office.told("hook")) == sorted(expected)
    assert next(at for name, at, *_ in reversed(office.posts) if name == "hook") - back_ms < 61_000
    for fingerprint, _ in expected:
        told = [status for name, status in office.told("hook") if name == fingerprint]
        assert told == ["firing", "resolved"]


def test_pauses_double_with_jitter_to_a_minute(office: Office) -> None:
    office.answers = lambda *_: DOWN
    office.change("a")
    office.run(600)
    at = [ms for _, ms, *_ in office.posts]
    gaps = [(later - earlier) / 1_000 for earlier, later in pairwise(at)]
    for failures, gap in enumerate(gaps):
        full = min(2.0**failures, 60.0)
        assert full / 2 <= gap <= full + 0.5
    assert len(set(gaps[6:])) > 2


@pytest.mark.parametrize(("asked_s", "waited_s"), [(120, 120), (86_400, 600)])
def test_retry_after_is_honoured_up_to_ten_minutes(office: Office, asked_s: int, waited_s: int) -> None:
    office.answers = lambda *_: Answer(outcome="failed", status=429, retry_after_s=float(asked_s))
    office.change("a")
    office.run(waited_s + 30)
    first, second = (at for _, at, *_ in office.posts)
    assert waited_s <= (second - first) / 1_000 <= waited_s + 1


def test_beyond_the_rate_what_waits_goes_out_together(tmp_path: Path) -> None:
    office = Office(tmp_path, per_minute=3)
    for k in range(45):
        office.change(f"a{k}")
    office.run(30)
    assert len(office.posts) == 3
    assert len(office.told()) == 30
    office.run(60)
    assert len(office.posts) == 5
    assert [name for name, _ in office.told()] == [f"a{k}" for k in range(45)]


def test_one_message_never_holds_two_changes_of_one_fingerprint(office: Office) -> None:
    for status in ("firing", "resolved") * 3:
        office.change("a", status)
    office.run(5)
    assert [len(json.loads(post.body)["data"]["alerts"]) for _, _, post, _ in office.posts] == [1] * 6


def test_410_switches_off_for_good_and_by_hand_on(office: Office) -> None:
    office.answers = lambda *_: GONE
    office.change("a")
    office.change("b")
    office.run(5)
    office.restart()
    office.answers = lambda *_: OK
    office.change("c")
    office.run(600)
    assert len(office.posts) == 1
    assert office.ledger.standing("hook").off_ms is not None
    assert not office.ledger.switch_on("another")
    assert office.ledger.switch_on("hook")
    office.change("b", "resolved")
    office.restart()
    office.run(5)
    assert sorted(office.told()) == [("a", "firing"), ("c", "firing")]


def test_a_change_that_is_not_taken_holds_up_no_other(office: Office) -> None:
    office.answers = lambda _, post: UNFIT if b'"bad"' in post.body else OK
    for fingerprint in ("a", "bad", "c"):
        office.change(fingerprint)
    office.run(5)
    office.change("d")
    office.run(5)
    assert sorted(office.told()) == [("a", "firing"), ("c", "firing"), ("d", "firing")]
    office.answers = lambda *_: OK
    office.change("bad", "resolved")
    office.run(60)
    assert office.told()[-2:] == [("bad", "firing"), ("bad", "resolved")]


def test_a_new_receiver_is_told_what_is_firing_and_one_removed_is_forgotten(tmp_path: Path) -> None:
    office = Office(tmp_path, "old")
    office.answers = lambda *_: DOWN
    for fingerprint, status in (("a", "firing"), ("b", "firing"), ("b", "resolved")):
        office.change(fingerprint, status)
    office.run(1)
    office.targets = [msgspec.structs.replace(office.targets[0], name="new")]
    office.answers = lambda *_: OK
    office.restart()
    office.run(5)
    assert office.told("new") == [("a", "firing")]
    assert office.ledger.standing("old").waiting == 0


def test_a_receiver_of_some_severities_hears_of_no_other(tmp_path: Path) -> None:
    office = Office(tmp_path, severities=("critical",))
    for fingerprint, severity in (("a", "warning"), ("b", "critical")):
        office.change(fingerprint, severity=severity)
        office.change(fingerprint, "resolved", severity=severity)
    office.run(5)
    assert office.told() == [("b", "firing"), ("b", "resolved")]


def test_what_cannot_be_told_in_three_days_is_dropped_and_its_end_too(office: Office) -> None:
    office.answers = lambda *_: DOWN
    office.change("a")
    office.run(1)
    office.now_ms += KEPT_MS
    office.change("a", "resolved")
    office.change("b")
    office.answers = lambda *_: OK
    office.run(120)
    assert office.told() == [("b", "firing")]


def test_the_queue_is_bounded(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitors.alerts.ledger.MAX_WAITING", 50)
    assert MAX_WAITING > 50
    for k in range(60):
        office.change(f"a{k}")
    assert office.ledger.expire("hook", office.now_ms) == 10
    office.run(5)
    assert [name for name, _ in office.told()] == [f"a{k}" for k in range(10, 60)]


def test_a_clock_set_back_does_not_silence_a_receiver(tmp_path: Path) -> None:
    office = Office(tmp_path, per_minute=1)
    office.answers = lambda *_: DOWN
    office.now_ms += 30 * 86_400_000
    office.change("a")
    office.run(1)
    office.now_ms -= 30 * 86_400_000
    office.answers = lambda *_: OK
    office.run(1)
    assert office.told() == [("a", "firing")]


def test_a_receiver_of_another_format_than_before_gets_what_waits(office: Office) -> None:
    office.answers = lambda *_: DOWN
    for fingerprint in "abc":
        office.change(fingerprint)
    office.run(1)
    office.targets = [msgspec.structs.replace(office.targets[0], format="pagerduty")]
    office.answers = lambda *_: OK
    office.restart()
    office.run(60)
    keys = [json.loads(post.body)["dedup_key"] for *_, post, answer in office.posts if answer is OK]
    assert keys == ["a", "b", "c"]


def test_what_is_firing_is_known(office: Office) -> None:
    for fingerprint in ("a", "b", "c"):
        office.change(fingerprint)
    office.change("b", "resolved")
    assert [alert.fingerprint for alert in office.ledger.firing()] == ["a", "c"]
