"""What is flagged, what is not, and that the state stays small."""

from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from streams.facts.deeds import Act
from streams.trust.conduct import Conduct, Seen, Window
from streams.trust.detector import Detector
from streams.trust.limits import HOUR_MS, LIMITS, MINUTE_MS, SESSION_USERS, SUSPECT_MS, Reason, Verdict
from tests.build import T0


def judge(
    events: Iterator[Seen] | list[Seen], detector: Detector | None = None, user: str = "u1"
) -> list[Verdict]:
    detector, conduct = detector or Detector(), Conduct()
    return [detector.judge(user, conduct, seen, seen.ts_ms + HOUR_MS) for seen in events]


def reasons(verdicts: list[Verdict]) -> set[Reason | None]:
    return {v.reason for v in verdicts}


def person(rng: np.random.Generator, hours: float) -> Iterator[Seen]:
    """Somebody who looks, opens some, watches to the end or not, and takes a break."""
    at, n = float(T0), 0
    while at < T0 + hours * HOUR_MS:
        n += 1
        yield Seen(Act.IMPRESSION, int(at), f"i{n}")
        at += rng.exponential(3_000)
        if rng.random() < 0.3:
            yield Seen(Act.CLICK, int(at), f"i{n}")
            watched = int(rng.exponential(25_000))
            at += watched
            yield Seen(Act.WATCH, int(at), f"i{n}", watch_ms=watched, duration_ms=30_000)


@pytest.mark.parametrize("seed", range(5))
def test_a_person_is_never_flagged(seed: int) -> None:
    assert reasons(judge(person(np.random.default_rng(seed), 6))) == {None}


def clicks(gap_ms: int, count: int, spread: float = 0.5, item: str = "i1") -> list[Seen]:
    gaps = np.random.default_rng(3).normal(gap_ms, spread * gap_ms, count).clip(1)
    return [
        each
        for at in (T0 + np.cumsum(gaps)).astype(int).tolist()
        for each in (Seen(Act.IMPRESSION, at - 1, item), Seen(Act.CLICK, at, item))
    ]


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        (clicks(300, 400), Reason.RATE),
        (clicks(1_500, 3_000), Reason.RATE),
        (clicks(20_000, 60, spread=0.01), Reason.REGULAR),
        ([s for s in clicks(20_000, 60) if s.act is Act.CLICK], Reason.UNSEEN),
        ([Seen(Act.WATCH, T0 + n * 30_000, "i1", watch_ms=60_000) for n in range(20)], Reason.WATCH_TIME),
        ([Seen(Act.WATCH, T0, "i1", watch_ms=3_600_000, duration_ms=15_000)], Reason.WATCH_LENGTH),
    ],
)
def test_what_no_person_does_is_flagged_with_its_reason(events: list[Seen], reason: Reason) -> None:
    assert reason in reasons(judge(events))


def test_clicks_just_within_the_limits_are_not_flagged() -> None:
    assert reasons(judge(clicks(3_000, 300))) == {None}


def test_a_click_whose_impression_is_read_later_is_no_click_on_an_unseen_item() -> None:
    detector, conduct = Detector(), Conduct()
    for n in range(60):
        at = T0 + n * 20_000 + (n * 7_919) % 9_000
        click, shown = Seen(Act.CLICK, at, f"i{n}"), Seen(Act.IMPRESSION, at - 500, f"i{n}")
        assert not detector.judge("u1", conduct, click, impressions_read_ms=at - 400).flagged
        assert not detector.judge("u1", conduct, shown, impressions_read_ms=at - 500).flagged


def test_a_session_shared_by_a_rack_of_phones_is_flagged_and_a_family_is_not() -> None:
    detector, verdicts = Detector(), []
    for n in range(12):
        seen = Seen(Act.CLICK, T0 + n * 10_000, "i1", session_id="s1")
        verdicts += [detector.judge(f"u{n}", Conduct(), seen, T0)]
    assert [v.reason for v in verdicts] == [None] * 5 + [Reason.CROWD] * 7
    later = Seen(Act.CLICK, T0 + 3 * HOUR_MS, "i1", session_id="s1")
    assert not detector.judge("u1", Conduct(), later, T0).flagged


def test_a_breach_casts_a_doubt_on_what_follows_for_a_while() -> None:
    long = Seen(Act.WATCH, T0, "i1", watch_ms=3_600_000, duration_ms=15_000)
    after = [Seen(Act.CLICK, T0 + ms, "i2") for ms in (1_000, SUSPECT_MS - 1, SUSPECT_MS)]
    assert [v.reason for v in judge([long, *after])] == [Reason.WATCH_LENGTH] * 3 + [None]


def test_a_released_user_is_not_flagged_and_only_that_one() -> None:
    detector = Detector(released={"u1"})
    assert reasons(judge(clicks(300, 400), detector, "u1")) == {None}
    assert Reason.RATE in reasons(judge(clicks(300, 400), detector, "u2"))


def test_a_state_stays_small_whatever_comes() -> None:
    rng, detector, conduct = np.random.default_rng(1), Detector(), Conduct()
    for n in range(5_000):
        act = list(Act)[int(rng.integers(9))]
        at = T0 + int(rng.integers(48 * HOUR_MS))
        seen = Seen(act, at, f"i{n}", f"s{n % 3}", watch_ms=int(rng.integers(HOUR_MS)))
        detector.judge("u1", conduct, seen, at)
    assert len(msgspec.msgpack.encode(conduct)) < 1_024


def test_a_state_survives_being_written_and_read() -> None:
    detector, kept, stored = Detector(), Conduct(), msgspec.msgpack.encode(Conduct())
    other = Detector()
    for seen in clicks(900, 200):
        read = msgspec.msgpack.decode(stored, type=Conduct)
        assert detector.judge("u1", kept, seen, T0) == other.judge("u1", read, seen, T0)
        stored = msgspec.msgpack.encode(read)


def test_sessions_remember_a_bounded_number_of_users() -> None:
    detector = Detector()
    for n in range(100):
        detector.judge(f"u{n}", Conduct(), Seen(Act.CLICK, T0, "i1", session_id="s1"), T0)
    assert max(len(users) for users in detector._sessions.values()) == SESSION_USERS


def test_a_window_holds_what_lies_in_it() -> None:
    window = Window()
    for second in range(180):
        window.add(0, 1, T0 + second * 1_000, MINUTE_MS)
    assert window.sum(0, T0 + 179_000, MINUTE_MS) == pytest.approx(60, abs=1.5)
    assert window.sum(0, T0 + 400_000, MINUTE_MS) == 0


@pytest.mark.parametrize("factor", [0.1, 0.5, 2.0, 10.0])
def test_lenient_limits_flag_less(factor: float) -> None:
    events = clicks(700, 300) + clicks(20_000, 60, spread=0.06)
    plain = sum(v.flagged for v in judge(events, Detector(LIMITS)))
    scaled = sum(v.flagged for v in judge(events, Detector(LIMITS.scaled(factor))))
    assert scaled <= plain if factor > 1 else scaled >= plain


def test_what_lies_outside_all_that_was_learned_is_an_anomaly() -> None:
    from streams.trust.anomaly import Anomalies

    rng, trees = np.random.default_rng(2), Anomalies(warm_up=1_000)
    names = ("acts_minute", "acts_hour", "acts_of_shown", "unseen", "watching", "spread")
    for _ in range(1_500):
        trees.learn(dict(zip(names, rng.normal(0.15, 0.03, 6).clip(0, 1).tolist(), strict=True)))
    assert trees.score(dict.fromkeys(names, 0.15)) < 0.9
    assert trees.score(dict.fromkeys(names, 0.97)) > LIMITS.anomaly_score
