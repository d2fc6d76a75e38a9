"""Next-day return: told by surface, model and variant, the same over restarts, on a sample that is fair."""

from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from monitors.kept import load, save
from monitors.quality import returns
from monitors.quality.labels import Labels
from monitors.quality.meter import LOOK, Meter
from monitors.quality.returns import Days, Returns, hashed
from streams.events import DAY_MS, Forgotten, Served
from tests.build import make_served

A, B = Labels("home", "m1", "slate=a"), Labels("search", "m2", "slate=b")
ALL = Labels("all", "all", "all")
EVENING = 20 * 3_600_000


def slate(user: str, day: int, at_ms: int = 0) -> Served:
    return make_served(request_id=f"{user}{day}", user_id=user, ts_ms=day * DAY_MS + at_ms)


def test_it_is_told_by_each_label_once_the_day_after_is_over() -> None:
    came = Returns()
    for user in ("a", "b", "c", "d"):
        came.take(slate(user, 1), A)
    came.take(slate("e", 1), B)
    came.take(slate("a", 1), B)  # of both
    for user in ("a", "e"):
        came.take(slate(user, 2), A)
    assert came.ratios() == {}
    came.take(slate("z", 3), A)
    assert came.ratios() == {
        ALL: 0.4,
        **dict.fromkeys([Labels("home", "all", "all"), Labels("all", "m1", "all")], 0.25),
        Labels("all", "all", "slate=a"): 0.25,
        **dict.fromkeys([Labels("search", "all", "all"), Labels("all", "m2", "all")], 1.0),
        Labels("all", "all", "slate=b"): 1.0,
    }


def test_a_monitor_that_starts_again_goes_on_counting(tmp_path: Path) -> None:
    file = tmp_path / "monitor" / "returns.json"
    for day in (1, 2, 3):
        came = Returns(load(file, Days))
        for user in ("a", "b") if day == 1 else ("a",):
            came.take(slate(user, day, 0), A)
            came.take(slate(user, day, EVENING), A)
        ratios = came.ratios()
        save(file, came.days)
        assert "a" not in str(came.days.days[day].users.get("|".join(ALL)))  # hashes, no ids
        if day < 3:
            assert ratios == {}
            late = Returns(load(file, Days))  # a restart, and the rest of the evening
            late.take(slate("a", day, EVENING + 60_000), A)
            for hour in range(4):
                late.take(slate("a", day, EVENING + hour * 3_600_000), A)
            save(file, late.days)
    assert ratios[ALL] == 0.5
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_day_through_which_no_monitor_ran_is_not_told(tmp_path: Path) -> None:
    came = Returns()
    came.take(slate("a", 1), A)
    came.take(slate("a", 2), A)
    again = Returns(came.days)
    again.take(slate("a", 2, EVENING), A)
    again.take(slate("a", 3), A)
    assert again.ratios() == {}
    again.take(slate("a", 4), A)
    assert again.ratios()[ALL] == 1.0


def test_a_sample_of_many_users_is_bounded_and_fair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(returns, "MAX_USERS", 300)
    came = Returns()
    for n in range(4_000):
        came.take(slate(f"u{n}", 1), A)
        if n % 4 == 0:
            came.take(slate(f"u{n}", 2), A)
    came.take(slate("u0", 3), A)
    assert all(len(users) <= 300 for day in came.days.days.values() for users in day.users.values())
    assert came.ratios()[ALL] == pytest.approx(0.25, abs=0.08)


def test_who_is_forgotten_is_not_kept() -> None:
    kept = list[Days]()
    meter = Meter(keep=kept.append)
    for user, day in (("a", 1), ("b", 1), ("a", 3)):
        meter.take(slate(user, day))
    meter.take(Forgotten(user_id="a", ts_ms=2 * DAY_MS))
    meter.keep()
    days = {number: set[int]().union(*day.users.values()) for number, day in kept[-1].days.items()}
    assert days == {1: {hashed("b")}, 3: {hashed("a")}}  # what comes later is a new user's


def test_what_is_over_is_exported_no_more() -> None:
    meter = Meter()

    def told(surface: str) -> float | None:
        labels = {"surface": surface, "model": "all", "variant": "all"}
        return REGISTRY.get_sample_value("streamrec_next_day_return_ratio", labels)

    def day(number: int, surface: str) -> None:
        for n in range(LOOK):
            served = make_served(request_id=f"{n}", user_id=f"u{n}", ts_ms=number * DAY_MS, surface=surface)
            meter.take(served)

    for number, surface in ((10, "old"), (11, "young"), (12, "young")):
        day(number, surface)
    assert (told("old"), told("young")) == (1.0, None)
    day(13, "young")
    assert (told("old"), told("young")) == (None, 1.0)


def test_what_cannot_be_read_begins_anew(tmp_path: Path) -> None:
    file = tmp_path / "returns.json"
    file.write_bytes(b'{"days": ')
    assert load(file, Days) is None
    save(file, Returns().days)
    assert load(file, Days) == Days()
