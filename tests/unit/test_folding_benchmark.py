"""The benchmark of folding folds what it says."""

import pytest

from infra.benchmarks.folding import catalogue_of, events_in_messages, fold_all
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
