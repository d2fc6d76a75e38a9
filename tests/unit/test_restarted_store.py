"""A store that is restarted within a batch and loses the newest writes: what follows from a lost decision is
not written, since events may be read in another order the next time, and be decided otherwise."""

from collections.abc import Sequence
from typing import Any

import pytest

from infra.chaos.oracle import differences
from streams.codec import encode
from streams.edge.handler import Rewind
from streams.errors import StoreUnavailable
from streams.events import FEEDBACK, IMPRESSIONS
from streams.features import Scope
from streams.messages import Message, Source
from tests.build import T0, make_feedback, make_impression
from tests.event_logs import NOW, Failing, Log, held_by, make_applier, oracle

SHOWN, UNDONE = Source(IMPRESSIONS.name, 0), Source(FEEDBACK.name, 0)


class Taped(Failing):
    """Keeps what it held before each of its writes, as an append-only file does."""

    def __init__(self) -> None:
        super().__init__()
        self.tape: list[dict[str, Any]] = []

    def write(self, writes: Sequence[Any]) -> list[bool]:
        done = []
        for write in writes:
            held = held_by(self)
            done += super().write([write])
            self.tape.append(held)
        return done

    def restart(self, lost: int) -> None:
        """Comes back without the newest writes."""
        if lost:
            vars(self).update(self.tape[-lost])
            del self.tape[-lost:]
        self.connections += 1
        self.patience = 1 << 60


def a_log() -> Log:
    """Impressions of three users, the first of each undone."""
    log: Log = {SHOWN: [], UNDONE: []}
    for n in range(6):
        user = f"u{n % 3}"
        shown = make_impression(event_id=f"e{n}", user_id=user, item_id=f"i{n % 2}", ts_ms=T0 + n)
        log[SHOWN].append(Message(*SHOWN, n, T0, user.encode(), encode([shown])))
        if n < 3:
            undo = make_feedback(event_id=f"x{n}", user_id=user, ts_ms=T0 + n, action="undo", undoes=f"e{n}")
            log[UNDONE].append(Message(*UNDONE, n, T0, user.encode(), encode([undo])))
    return log


def cut_off(written: int) -> tuple[Taped, Any]:
    """A store that went away within the impressions' batch after so many writes, and its worker."""
    store = Taped()
    applier = make_applier(store)
    applier.resume(a_log())
    store.patience = written
    with pytest.raises(StoreUnavailable):
        applier.apply(a_log()[SHOWN])
    return store, applier


def test_a_lost_decision_is_noticed_before_anything_follows_from_it() -> None:
    store, applier = cut_off(3)  # users' shards come first
    store.restart(lost=1)
    with pytest.raises(Rewind):
        applier.apply(a_log()[SHOWN])
    assert not store.states(Scope.ITEM, ["i0", "i1"]).any()


def test_without_a_loss_the_same_batch_goes_on() -> None:
    store, applier = cut_off(3)
    store.restart(lost=0)
    applier.apply(a_log()[SHOWN])
    applier.apply(a_log()[UNDONE])
    assert not differences(store, oracle(a_log()), NOW)


@pytest.mark.parametrize("written", range(8))
def test_whatever_tail_is_lost_and_in_whatever_order_topics_are_read_again(written: int) -> None:
    log = a_log()
    for lost in range(written + 1):
        for order in ((SHOWN, UNDONE), (UNDONE, SHOWN)):
            store, applier = cut_off(written)
            store.restart(lost)
            starts = dict.fromkeys(order, 0)
            try:
                applier.apply(log[SHOWN])
                starts[SHOWN] = len(log[SHOWN])
            except Rewind as rewind:
                starts |= rewind.offsets
            for source in order:
                if left := log[source][starts[source] :]:
                    applier.apply(left)
            assert not differences(store, oracle(log), NOW), (lost, order)
