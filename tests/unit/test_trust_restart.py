"""What a user has been doing outlives the process that watched it: a restart decides the same."""

from collections.abc import Sequence
from typing import Any

import pytest

from streams.catalogue.catalogue import Catalogue
from streams.codec import encode
from streams.events import CLICKS, IMPRESSIONS, WATCHES
from streams.facts.facts import Fact
from streams.fold.applier import Applier
from streams.fold.rejects import Forgets
from streams.messages import Message, Source
from streams.store import MemoryStore
from streams.trust.conduct import Conduct, opened, packed
from streams.trust.detector import Detector
from streams.trust.judge import Judge
from streams.trust.limits import GAPS, PENDING, SHOWN, Reason, Verdict
from tests.build import T0, make_click, make_impression, make_watch

MINUTE = 60_000
SOURCES = [Source(topic.name, 0) for topic in (IMPRESSIONS, CLICKS, WATCHES)]


class Told(Forgets):
    """Rejects that remember what was flagged and why."""

    def __init__(self) -> None:
        self.flags: list[tuple[str, Verdict]] = []

    def flagged(self, fact: Fact, verdict: Verdict) -> None:
        self.flags.append((fact.event.event_id, verdict))


def worker(store: MemoryStore, told: Told) -> Applier:
    applier = Applier(
        store, Catalogue(), lambda _: "e", lambda: 2 * T0, told, judge=Judge(Detector(warm_up=1 << 60))
    )
    applier.resume(SOURCES)
    return applier


def clicks(gap_ms: int, count: int, jitter: int) -> list[Any]:
    at = [T0 + n * gap_ms + (n * 7_919) % jitter for n in range(count)]
    return [make_click(event_id=f"c{n}", item_id=f"i{n}", ts_ms=ts) for n, ts in enumerate(at)]


def unseen() -> list[Any]:
    """Clicks on what was never shown, and impressions of something else that say how far they were read."""
    events = []
    for n, click in enumerate(clicks(20_000, 60, 9_000)):
        events += [click, make_impression(event_id=f"i{n}", item_id="other", ts_ms=click.ts_ms + 70_000)]
    return events


def watches() -> list[Any]:
    times = [T0 + n * 30_000 for n in range(20)]
    return [make_watch(event_id=f"w{n}", ts_ms=ts, watch_ms=60_000) for n, ts in enumerate(times)]


def suspected() -> list[Any]:
    """A burst, and quiet clicks in the half hour of doubt after it, and beyond."""
    later = [T0 + 120_000 + n * 7 * MINUTE + (n % 3) * 9_000 for n in range(8)]
    return clicks(300, 100, 50) + [make_click(event_id=f"l{n}", ts_ms=ts) for n, ts in enumerate(later)]


def messages(events: Sequence[Any]) -> list[Message]:
    names = {"Impression": IMPRESSIONS.name, "Click": CLICKS.name, "Watch": WATCHES.name}
    ends: dict[str, int] = {}
    found = []
    for event in events:
        topic = names[type(event).__name__]
        ends[topic] = ends.get(topic, -1) + 1
        found.append(Message(topic, 0, ends[topic], T0, b"u1", encode(event)))
    return found


ATTACKS = [
    (clicks(300, 120, 50), Reason.RATE),
    (clicks(20_000, 60, 2), Reason.REGULAR),
    (unseen(), Reason.UNSEEN),
    (watches(), Reason.WATCH_TIME),
    (suspected(), Reason.RATE),
]


@pytest.mark.parametrize(("events", "reason"), ATTACKS)
def test_a_process_that_takes_over_decides_as_the_one_before_would_have(
    events: list[Any], reason: Reason
) -> None:
    whole, restarted = Told(), Told()
    one, store = worker(MemoryStore(), whole), MemoryStore()
    sent = messages(events)
    for at in range(0, len(sent), 12):
        one.apply(sent[at : at + 12])
        after = worker(store, restarted)  # a new process for every batch; Kafka sends what is past the fences
        starts = after.resume(SOURCES)
        after.apply([message for message in sent[:at] if message.offset >= starts.get(message.source, 0)])
        after.apply(sent[at : at + 12])
    assert restarted.flags == whole.flags
    assert reason in {verdict.reason for _, verdict in whole.flags}


def test_a_doubt_lasts_its_half_hour_over_a_restart() -> None:
    told, store = Told(), MemoryStore()
    burst, later = messages(suspected())[:100], messages(suspected())[100:]
    worker(store, told).apply(burst)
    worker(store, told).apply(later)
    assert [event for event, _ in told.flags if event.startswith("l")] == ["l0", "l1", "l2", "l3", "l4"]


def test_a_session_that_a_crowd_shares_is_counted_anew_after_a_restart() -> None:
    told, store = Told(), MemoryStore()

    def opened_by(users: range) -> list[Message]:
        made = [make_click(event_id=f"c{n}", user_id=f"u{n}", session_id="s", ts_ms=T0 + n) for n in users]
        return [
            Message(CLICKS.name, 0, n, T0, f"u{n}".encode(), encode(click))
            for n, click in zip(users, made, strict=True)
        ]

    worker(store, told).apply(opened_by(range(7)))
    assert told.flags == [(f"c{n}", Verdict(Reason.CROWD, (n + 1) / 5)) for n in (5, 6)]
    after = worker(store, told)
    after.apply(opened_by(range(7, 12)))
    assert len(told.flags) == 2  # the five that came since the restart are no crowd yet
    after.apply(opened_by(range(12, 13)))
    assert told.flags[2:] == [("c12", Verdict(Reason.CROWD, 6 / 5))]


def test_a_refused_write_counts_no_act_twice() -> None:
    told, store = Told(), MemoryStore()
    workers = [worker(store, told) for _ in range(2)]  # each believes its own memory of the user
    shown = [make_impression(event_id=f"s{n}", ts_ms=T0 + n * 9_000) for n in range(10)]
    opens = clicks(9_000, 10, 3_000)
    for pair in zip(messages(shown), messages(opens), strict=True):
        for each, message in zip(workers, pair, strict=True):
            each.apply([message])
    conduct = opened(store.documents(["u1"])["u1"].memory.conduct)
    assert conduct.acts == 10
    assert len(conduct.shown) == 10


def test_conduct_survives_its_bytes_and_stays_small() -> None:
    full = Conduct(gaps=[3_600_000] * GAPS, shown=[2**32 - 1] * SHOWN, pending=[(T0, 2**32 - 1)] * PENDING)
    full.suspect_for, full.suspect_until_ms = Reason.RATE, T0
    assert opened(packed(full)) == full
    assert len(packed(full)) < 1_024
    assert opened(b"of another form") == opened(b"") == Conduct()


def test_a_forgotten_users_conduct_is_gone() -> None:
    store = MemoryStore()
    worker(store, Told()).apply(messages(clicks(300, 100, 50)))
    store.forget({"u1": 2 * T0})
    assert store.documents(["u1"])["u1"].memory.conduct == b""
