"""Scripted events: what they do to the simulated world, and that it is known."""

import json
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest

from infra.injecting import Wish, Wishes, ask_for
from infra.scripted import Script
from infra.truth import Truth, read_truth, spans
from infra.viewers import KUAIRAND, Habits, Happening, Happenings, Population
from streams.errors import OperatorError

START = 1_700_000_000_000
SMALL = Habits(viewers=30, items=120)
USER = "u00003"


def world() -> tuple[Population, Happenings]:
    population = Population(5, START, SMALL)
    return population, Happenings(population)


def chances(population: Population, now_ms: int = START) -> np.ndarray:
    return population.true_click(USER, [item.item_id for item in population.catalogue()], now_ms)


def test_tastes_turn_for_good() -> None:
    population, happenings = world()
    before = chances(population)
    assert happenings.begin(Happening("taste-drift", START, 10)) == []
    assert happenings.due(START + 10) == []
    assert abs(np.corrcoef(before, chances(population))[0, 1]) < 0.9


def test_a_viral_item_is_wanted_while_it_lasts() -> None:
    population, happenings = world()
    before = chances(population)
    happenings.begin(Happening("viral-item", START, 10))
    during = chances(population)
    assert during[-1] > min(0.5, 5 * before[-1])
    assert during[:-1] == pytest.approx(before[:-1])
    happenings.due(START + 10)
    assert chances(population) == pytest.approx(before)


def test_a_flood_brings_items_that_few_want() -> None:
    population, happenings = world()
    new = happenings.begin(Happening("catalogue-flood", START, 10))
    assert len(new) == SMALL.items // 2
    odds = chances(population)
    assert np.median(odds[-len(new) :]) < np.median(odds[: -len(new)])


def test_a_broken_sensor_lies_until_it_is_mended() -> None:
    population, happenings = world()
    truth = population.catalogue()
    told = [happenings.published(item) for item in happenings.begin(Happening("broken-sensor", START, 10))]
    assert [item.duration_ms for item in told] == [60 * (item.duration_ms or 0) for item in truth]
    assert happenings.due(START + 9) == []
    assert [happenings.published(item) for item in happenings.due(START + 10)] == truth


def test_wishes_become_bots_and_an_outage_and_stand_in_the_log(tmp_path: Path) -> None:
    script = Script(Population(5, START, SMALL), Wishes(tmp_path))
    for event in ("bot-attack", "outage", "nonsense"):
        with pytest.raises(OperatorError, match="no simulator runs"):
            ask_for(tmp_path, Wish(event, 5.0), patience_s=0.0)
    now, events = START, []
    for event in ("bot-attack", "outage", "nonsense"):
        taken = threading.Thread(target=ask_for, args=(tmp_path, Wish(event, 5.0)))
        taken.start()
        while taken.is_alive():
            now += 250
            events += script.tick(now)[1]
            taken.join(0.02)
        taken.join(10)
    log = [
        json.loads(line)["name"] for line in (tmp_path / "sim" / "happenings.jsonl").read_text().splitlines()
    ]
    assert log == ["bot-attack", "outage"]
    assert script.nobody_asks
    _, late = script.tick(now + 1_000)
    assert len(late) > 20
    assert all(event.user_id.startswith("bot-") and event.ts_ms <= now + 1_000 for event in (*events, *late))
    assert script.tick(now + 60_000) == ([], [])
    assert not script.nobody_asks


def test_the_best_slate_is_at_least_as_good_as_any() -> None:
    population, _ = world()
    odds = np.sort(chances(population))
    assert population.best_clicks(USER, 10, START) == pytest.approx(odds[-10:].sum())


def test_the_shape_of_kuairand_is_that_of_its_figures() -> None:
    population = Population(1, START, KUAIRAND)
    seconds = np.array([(item.duration_ms or 0) / 1_000 for item in population.catalogue()])
    assert np.median(seconds) == pytest.approx(81.2, rel=0.1)
    assert np.log(seconds[seconds > 0]).std() == pytest.approx(1.03, abs=0.1)
    assert len(population._tastes) == 10_000
    hour = 3_600_000 / KUAIRAND.pace
    day = [population.busy(START + int((h + 0.5) * hour)) for h in range(24)]
    assert np.mean(day) == pytest.approx(1.0, abs=0.01)
    assert (min(day), max(day)) == (0.12, 1.7)
    left = np.array([session.left for session in population._online])  # a thousand sessions that begin
    assert np.median(left) == pytest.approx(780 / 52, rel=0.15)
    assert np.log(left[left > 1]).std() == pytest.approx(1.09, abs=0.2)


def test_the_truth_beside_an_event_is_told_before_during_and_after_it(tmp_path: Path) -> None:
    truth = Truth(tmp_path)
    for second in range(0, 120, 2):
        shown = 1.0 if 40_000 < second * 1_000 <= 60_000 else 3.0
        truth.note(START + second * 1_000, 10, shown, 4.0)
    log = tmp_path / "sim" / "happenings.jsonl"
    events = [Happening("taste-drift", START + 40_000, 20_000), Happening("outage", START + 70_000, 20_000)]
    log.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in events))
    found = spans(*read_truth(tmp_path))
    assert [(span.event, span.when, span.seconds, span.true_ctr, span.regret) for span in found] == [
        ("taste-drift", "before", 30.0, 0.3, pytest.approx(0.1)),
        ("taste-drift", "during", 20.0, 0.1, pytest.approx(0.3)),
        ("taste-drift", "after", 10.0, 0.3, pytest.approx(0.1)),
        ("outage", "before", 10.0, 0.3, pytest.approx(0.1)),
        ("outage", "during", 20.0, 0.3, pytest.approx(0.1)),
        ("outage", "after", 30.0, 0.3, pytest.approx(0.1)),
    ]
    Truth(tmp_path)
    assert read_truth(tmp_path)[1] == []  # a simulator that starts again begins anew
