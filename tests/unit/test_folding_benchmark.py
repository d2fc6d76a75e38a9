"""The benchmark of folding folds what it says."""

import pytest

from infra.benchmarks.anatomy import STAGES, anatomy, as_markdown
from infra.benchmarks.folding import catalogue_of, events_in_messages, fold_all
from infra.benchmarks.load import Load
from streams.fold import applier, fold
from streams.store import MemoryStore


@pytest.mark.parametrize("batch", [1, 50])
def test_every_event_is_folded_and_counted(batch: int) -> None:
    messages = events_in_messages(400, batch, users=7, items=50)
    assert messages == events_in_messages(400, batch, users=7, items=50)
    store = MemoryStore()
    folded = fold_all(store, catalogue_of(50), messages, take=3)
    assert folded.events == store.ledger().applied == 400
    assert folded.per_cpu_s > 0
    assert folded.per_s > 0


def test_where_the_time_goes_adds_up_and_no_watch_is_left_behind() -> None:
    before = (applier.intake, applier.fold_items, fold.user_rows)
    ticks = iter((1.0, 1.5))
    found = anatomy(MemoryStore(), Load(400, 50, users=7, items=50), lambda: next(ticks))
    assert (applier.intake, applier.fold_items, fold.user_rows) == before
    assert found.redis_us == pytest.approx(0.5e6 / 400)
    assert min(found.stages.values()) >= 0
    assert found.stages["decode"] > 0
    page = as_markdown([found], ("2 cores",))
    assert all(f"| {stage} |" in page for stage in STAGES)
    assert f"{found.cpu_us:.1f}" in page
