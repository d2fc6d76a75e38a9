import math

import msgspec
import numpy as np
import pytest

from models.evaluate import log_loss, roc_auc
from models.learning.prequential import DAYS, RECENT, Prequential, Scored, slices_of
from models.learning.shares import PrequentialShare
from streams.events import DAY_MS


def filled(n: int, seed: int = 1, ts_ms: int = 0, step_ms: int = 0) -> tuple[Prequential, list[Scored]]:
    rng, quality, rows = np.random.default_rng(seed), Prequential(), []
    for k in range(n):
        label = bool(rng.random() < 0.3)
        scored = Scored(
            label, *(float(np.clip(0.3 + 0.1 * label + 0.1 * rng.normal(), 0.01, 0.99)) for _ in range(3))
        )
        quality.add(ts_ms + k * step_ms, scored)
        rows.append(scored)
    return quality, rows


def test_recent_quality_is_that_of_the_newest_labels() -> None:
    quality, rows = filled(RECENT + 300)
    labels, online, popularity = (
        np.array([getattr(r, n) for r in rows[-RECENT:]]) for n in ("label", "online", "popularity")
    )
    found = quality.recent()
    assert found["rows"] == RECENT
    assert found["online_auc"] == pytest.approx(roc_auc(labels, online), abs=1e-6)
    assert found["popularity_auc"] == pytest.approx(roc_auc(labels, popularity), abs=1e-6)
    assert found["log_loss"] == pytest.approx(log_loss(labels, online), abs=1e-6)


def test_clicks_of_now_do_not_stand_against_slates_of_long_ago() -> None:
    """Scores drift down by 0.1 a second; a click is known at once, its absence 15 s later."""
    rng, quality = np.random.default_rng(3), Prequential()
    known: list[tuple[int, int, Scored]] = []
    for ts_ms in range(0, 200_000, 20):
        label = bool(rng.random() < 0.3)
        chance = 1.0 / (1.0 + math.exp(0.0001 * ts_ms - 0.5 * label - rng.normal()))
        known.append((ts_ms + 15_000 * (not label), ts_ms, Scored(label, chance, math.nan, math.nan)))
    for _, ts_ms, scored in sorted(known, key=lambda row: row[0]):
        quality.add(ts_ms, scored)
        if ts_ms > 100_000:
            break
    labels, scores = (
        np.array([getattr(s, name) for _, ts, s in known if ts < 100_000]) for name in ("label", "online")
    )
    found = quality.recent()["online_auc"]
    assert isinstance(found, float)
    assert abs(found - roc_auc(labels[-3_000:], scores[-3_000:])) < 0.04


def test_a_day_is_told_from_counts_and_close_to_exact() -> None:
    quality, rows = filled(3_000)
    labels, online = (np.array([getattr(r, n) for r in rows]) for n in ("label", "online"))
    found = quality.days()
    assert list(found) == ["1970-01-01", "all"]
    assert found["all"]["online_auc"] == pytest.approx(roc_auc(labels, online), abs=2e-3)
    assert found["1970-01-01"]["log_loss"] == pytest.approx(log_loss(labels, online), abs=1e-6)


def test_what_nobody_can_say_is_none() -> None:
    quality = Prequential()
    assert quality.recent()["online_auc"] is None
    assert quality.days() == {}
    quality.add(0, Scored(True, 0.5, math.nan, math.nan))
    assert quality.recent()["log_loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert quality.days()["all"]["ranker_auc"] is None


def test_old_days_are_forgotten() -> None:
    quality, _ = filled(DAYS + 5, step_ms=DAY_MS)
    assert len(quality.days()) == DAYS + 1
    assert "1970-01-05" not in quality.days()


def test_it_survives_its_encoding() -> None:
    quality, _ = filled(50, step_ms=DAY_MS // 10)
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(quality.stored()))
    again = Prequential.restored(stored)
    assert (again.recent(), again.days()) == (quality.recent(), quality.days())
    assert msgspec.msgpack.encode(again.stored()) == msgspec.msgpack.encode(quality.stored())


def test_newcomers_and_seldom_seen_items_are_told_apart() -> None:
    quality = Prequential()
    for n in range(40):
        slices = slices_of(2.0 if n % 2 else 90.0, 0.0 if n % 4 < 2 else 40.0)
        label = n % 3 == 0
        quality.add(n, Scored(label, 0.9 if label == bool(n % 2) else 0.1, 0.5, 0.5, slices))
    found = quality.by_slice()
    assert {name: each["rows"] for name, each in found.items()} == {
        "cold_user": 20,
        "cold_item": 20,
        "tail": 0,
        "head": 20,
    }
    assert found["cold_user"]["online_auc"] == 1.0  # right about newcomers, wrong about the others
    assert found["tail"]["online_auc"] is None


def test_slices_outlive_a_snapshot_and_older_ones_have_none() -> None:
    quality = Prequential()
    quality.add(1, Scored(True, 0.9, 0.5, 0.5, 0b1001))
    again = Prequential.restored(msgspec.msgpack.decode(msgspec.msgpack.encode(quality.stored())))
    assert again.by_slice()["head"]["rows"] == 1
    assert msgspec.convert([True, 0.9, 0.5, 0.5], type=Scored).slices == 0


def test_quality_of_shares_can_be_asked_after_any_few_labels() -> None:
    random = np.random.default_rng(0)
    for _ in range(60):
        quality = PrequentialShare()
        for n in range(5):
            told = random.choice([np.nan, 0.2, 0.7], 3)
            label = float(random.choice([0.0, 0.0, 0.3, 1.0]))
            quality.add(n, Scored(label, *told.tolist(), int(random.integers(0, 16))))
            figures = [quality.recent(), *quality.by_slice().values(), *quality.days().values()]
            assert all(value is None or np.isfinite(value) for each in figures for value in each.values())
