from monitors.regular import Regular
from streams.events import ModelRecord, RetrainTrigger
from streams.settings import Settings
from tests.build import make_example

NOON = 1_700_000_000_000
HOUR = 3_600_000


def champion(name: str, ts_ms: int = NOON) -> ModelRecord:
    return ModelRecord(version=name, ts_ms=ts_ms, state="champion", uri="u", sha256="0" * 64)


def regular(**given: int) -> Regular:
    made = Regular(Settings(retrain_cooldown_ms=60_000, **given))
    made.take(champion("m1"))
    return made


def ids(found: list) -> list[str]:
    return [record.trigger_id for _, record in found]


def test_an_old_champion_is_asked_to_be_replaced_once_a_span() -> None:
    made = regular(retrain_every_ms=HOUR)
    assert made.tick(NOON + HOUR - 1) == []
    assert ids(made.tick(NOON + HOUR)) == ["schedule-m1-1"]
    assert made.tick(NOON + HOUR + 120_000) == []
    assert ids(made.tick(NOON + 2 * HOUR)) == ["schedule-m1-2"]
    made.take(champion("m2", NOON + 2 * HOUR))
    assert made.tick(NOON + 3 * HOUR - 1) == []
    assert ids(made.tick(NOON + 3 * HOUR)) == ["schedule-m2-1"]


def test_so_many_new_examples_ask_and_a_later_revision_is_not_new() -> None:
    made = regular(retrain_rows=10)
    for number in range(9):
        made.take(make_example(example_id=f"e{number}"))
        made.take(make_example(example_id=f"e{number}", revision=2))
    assert made.tick(NOON) == []
    made.take(make_example(example_id="e9"))
    assert ids(made.tick(NOON)) == ["volume-m1-1"]


def test_a_restart_does_not_ask_again_and_the_pause_after_another_trigger_is_kept() -> None:
    made = regular(retrain_every_ms=HOUR)
    made.take(RetrainTrigger(trigger_id="schedule-m1-1", ts_ms=NOON + HOUR, reason="schedule"))
    assert made.tick(NOON + HOUR + 90_000) == []
    made.take(RetrainTrigger(trigger_id="d", ts_ms=NOON + 2 * HOUR - 1, reason="drift"))
    assert made.tick(NOON + 2 * HOUR) == []
    assert ids(made.tick(NOON + 2 * HOUR + 60_000)) == ["schedule-m1-2"]


def test_nothing_is_asked_unless_it_is_set() -> None:
    made = regular()
    made.take(make_example())
    assert made.tick(NOON + 1_000 * HOUR) == []
