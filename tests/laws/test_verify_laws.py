"""`verify` finds nothing where nothing is wrong, also on a store that is being written to, and names
each planted error."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from streams.errors import OperatorError
from streams.events import ITEMS
from streams.facts import co_watch, documents
from streams.facts.co_watch import ENGAGED_BYTES
from streams.features import Scope
from streams.store import MemoryStore, ShardFence
from streams.store.keys import user_tag
from streams.verify import Report
from streams.verify import verify as check
from streams.verify.capture import Capture, capture
from tests.build import T0
from tests.past import EPOCHS, Past

pytestmark = pytest.mark.deep


def verified(past: Past, live: MemoryStore, folder: Path, held: Capture | None = None) -> Report:
    archive = past.archive(folder, len(past.messages) // 2)
    return check(live, held or capture(live), past.timeline(archive), "n", lambda: 2 * T0)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_differs_where_nothing_is_wrong(tmp_path: Path, seed: int) -> None:
    past, live = Past(seed), MemoryStore()
    past.fold(live)
    report = verified(past, live, tmp_path)
    assert report.ok, report.differences
    assert report.counts.compared > 50
    assert report.ledger_live == report.ledger_rebuilt == live.ledger()
    assert report.errors.values > 100
    assert report.errors.max < 1e-12
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


def test_full_sets_and_lists_are_compared_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(co_watch, "CO_WATCH_CAP", 2)
    for kind in ("shown", "follows", "hides"):
        monkeypatch.setitem(documents._CAPS, kind, 3)
    past, live = Past(5), MemoryStore()
    past.fold(live, batch=7)
    report = verified(past, live, tmp_path)
    assert report.ok, report.differences
    full = [held for held in live._companions.values() if len(held) == 2 * ENGAGED_BYTES]
    assert len(full) > 5


class Busy(MemoryStore):
    """A store that is written to while it is read: before some reads of a fence a batch is folded."""

    work: Callable[[], None] | None = None

    def fences(self, tags: Sequence[str]) -> dict[str, ShardFence]:
        if self.work is not None and len(tags) == 1:
            work, self.work = self.work, None
            work()
            self.work = work
        return super().fences(tags)


@pytest.mark.parametrize("seed", range(4))
def test_shards_read_at_different_moments_are_each_compared_at_their_own(tmp_path: Path, seed: int) -> None:
    past, live = Past(seed), Busy()
    applier = past.fold(live, past.messages[:150])
    later = [m for m in past.messages[150:] if m.topic != ITEMS.name]
    past.messages = past.messages[:150] + later  # the catalogue of `fold` is gone: no items change now

    def work() -> None:
        if later and past.random.random() < 0.3:
            applier.apply([later.pop(0) for _ in range(min(len(later), 3))])
        if past.random.random() < 0.2:
            applier.advance()

    live.work = work
    held = capture(live)
    live.work = None
    reached = {tuple(sorted(cut.items())) for cut in held.cuts(EPOCHS).values()}
    assert len(reached) > 5, "shards were read at different moments"
    assert len(later) < 200
    report = verified(past, live, tmp_path, held)
    assert report.ok, report.differences


def test_a_changed_a_removed_and_an_added_value_are_named(tmp_path: Path) -> None:
    past, live = Past(1), MemoryStore()
    past.fold(live)
    changed, removed, added = (Scope.ITEM, "i3"), (Scope.CATEGORY, "c1"), (Scope.CREATOR, "intruder")
    live.rows[changed] = live.rows[changed].copy()
    live.rows[changed][5] *= 1.01
    row = live.rows.pop(removed)
    live.rows[added] = live.rows[(Scope.CREATOR, "m1")]
    assert row.any()
    report = verified(past, live, tmp_path)
    assert not report.ok
    assert {(d.kind, d.key) for d in report.differences} == {
        ("mismatching", "item:i3"),
        ("missing", "category:c1"),
        ("extra", "creator:intruder"),
    }
    assert (report.counts.mismatching, report.counts.missing, report.counts.extra) == (1, 1, 1)
    assert report.errors.max == pytest.approx(0.01 / 1.01, rel=1e-3)
    assert report.scopes["item"].mismatching == 1


def test_a_lost_history_a_lost_pair_and_a_lost_event_are_named(tmp_path: Path) -> None:
    past, live = Past(2), MemoryStore()
    past.fold(live)
    live._documents.pop(("history", "u1"))
    item = next(iter(live._companions))
    live._companions[item] = live._companions[item][:-ENGAGED_BYTES]
    fence = live._fences[user_tag("u2")]
    live._fences[user_tag("u2")] = msgspec.structs.replace(
        fence, ledger=fence.ledger._replace(applied=fence.ledger.applied - 1)
    )
    report = verified(past, live, tmp_path)
    assert {(d.kind, d.key) for d in report.differences} == {
        ("missing", "history:u1"),
        ("mismatching", f"co_watch:{item}"),
        ("mismatching", "ledger:all"),
    }


def test_an_event_that_live_state_never_saw_is_a_mismatch(tmp_path: Path) -> None:
    past, live = Past(3), MemoryStore()
    lost = next(m for m in past.messages if m.topic == "events.clicks" and m.value[:2] == b'{"')
    past.fold(live, [m for m in past.messages if m is not lost])
    report = verified(past, live, tmp_path)
    assert report.counts.mismatching > 0
    assert report.ledger_rebuilt.records == report.ledger_live.records + 1


def test_an_empty_namespace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="holds no features"):
        verified(Past(1, messages=30), MemoryStore(), tmp_path)
