"""The attacks among honest viewers, and the figures that come of them."""

import xml.etree.ElementTree as ET

import msgspec
import pytest

from infra.attacks import Traffic, Trial, make_traffic, try_traffic
from infra.attacks.bots import KINDS
from infra.attacks.people import try_people
from infra.attacks.picture import as_svg
from infra.attacks.traffic import HONEST
from infra.attacks.trial import flags
from infra.formats import Entry, Log
from streams.codec import decode, encode
from streams.events import CLICKS, MAX_MS, Click
from streams.trust.limits import LIMITS
from tests.build import T0, make_watch

pytestmark = pytest.mark.deep


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    few = [msgspec.structs.replace(k, accounts=max(k.a_session, k.accounts // 4)) for k in KINDS]
    return make_traffic(5, hours=7, viewers=40, kinds=few)


@pytest.fixture(scope="module")
def trial(traffic: Traffic) -> Trial:
    return try_traffic([(5, traffic)], (0.25, 1.0, 4.0))


def test_the_same_seed_gives_the_same_day_and_every_kind_is_in_it(traffic: Traffic) -> None:
    assert set(traffic.kinds) == {HONEST, *(kind.name for kind in KINDS)}
    assert [e.ts_ms for e in traffic.events] == sorted(e.ts_ms for e in traffic.events)
    ids = {(type(e), e.event_id) for e in traffic.events}
    assert len(ids) == len(traffic.events)
    for event in [e for e in traffic.events if isinstance(e, Click)][:200]:
        assert decode(CLICKS, None, encode(event), MAX_MS).records == (event,)


def test_a_verdict_depends_on_nothing_but_the_events(traffic: Traffic) -> None:
    some = traffic.events[:4_000]
    assert flags(some) == flags(some)


def test_at_the_limits_as_they_stand_hardly_an_honest_event_is_flagged(trial: Trial) -> None:
    stands = trial.points[1]
    assert stands.false_positive_ratio < 0.005
    assert stands.precision is not None
    assert stands.precision > 0.98
    assert stands.recall_by_kind["fast bot"] > 0.9
    assert stands.recall_by_kind["view bot, endless loop"] > 0.9
    assert stands.recall_by_kind["slow bot, a timer"] > 0.8


def test_stricter_limits_find_more_and_flag_more_of_the_honest(trial: Trial) -> None:
    strict, stands, mild = trial.points
    assert strict.mean_recall > stands.mean_recall > mild.mean_recall
    assert strict.false_positive_ratio > stands.false_positive_ratio >= mild.false_positive_ratio
    assert LIMITS.scaled(1.0) == LIMITS


def test_a_process_made_anew_every_hour_finds_nearly_as_much(trial: Trial) -> None:
    stands, again = trial.points[1], trial.restarted
    assert again is not None
    assert 0.9 * stands.recall < again.recall <= stands.recall
    assert again.false_positive_ratio <= 0.005
    assert again.recall_by_kind["fast bot"] > 0.9


def test_figures_add_up_and_the_curve_is_a_picture(trial: Trial) -> None:
    assert trial.events == trial.honest_events + trial.attack_events
    flagged = sum(trial.points[1].flagged_by_reason.values())
    assert flagged == pytest.approx(
        trial.points[1].recall * trial.attack_events / (trial.points[1].precision or 1), abs=1
    )
    assert msgspec.json.decode(msgspec.json.encode(trial), type=Trial) == trial
    drawn = ET.fromstring(as_svg(trial))
    assert len(drawn.findall("{http://www.w3.org/2000/svg}circle")) == 2 * len(trial.points)


def test_a_log_of_people_is_judged_whole() -> None:
    long = make_watch(user_id="u2", watch_ms=3_000_000, duration_ms=10_000)
    entries = tuple(
        Entry(ts_ms=T0, topic="events.watches", key=None, value=encode(event))
        for event in (make_watch(), long)
    )
    found = try_people(Log(name="a log", rows=2, items=(), requests=(), events=entries))
    assert (found.events, found.users, found.flagged, found.users_flagged) == (2, 2, 1, 1)
    assert found.by_reason == {"watch_length": 1}
