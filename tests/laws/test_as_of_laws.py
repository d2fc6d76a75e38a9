"""A key as of a moment equals the state of a system that had seen no later event."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from streams.archive.as_of import as_of, concerned
from streams.events import ITEMS
from streams.features import Scope
from streams.messages import Message
from streams.store import MemoryStore
from tests.build import T0
from tests.past import Past, alike, contents

AT_MS = T0 + 2_500


def up_to(message: Message, at_ms: int) -> Message:
    """The message without later events."""
    if message.topic == ITEMS.name or not message.value or message.value == b"{garbage":
        return message
    events = msgspec.json.decode(message.value)
    kept = [e for e in (events if isinstance(events, list) else [events]) if e.get("ts_ms", 0) <= at_ms]
    return message._replace(value=msgspec.json.encode(kept) if kept else b"{garbage")


@pytest.fixture(scope="module")
def past() -> Past:
    return Past(11)


@pytest.fixture(scope="module")
def wanted(past: Past) -> MemoryStore:
    """What a system holds that never saw a later event."""
    store = MemoryStore()
    past.fold(store, [up_to(m, AT_MS) for m in past.messages])
    return store


@pytest.mark.deep
def test_the_whole_state_as_of_a_moment(tmp_path: Path, past: Past, wanted: MemoryStore) -> None:
    timeline = past.timeline(past.archive(tmp_path, 200))
    found = as_of(timeline, AT_MS, lambda: 2 * T0).store
    alike(found, wanted, ledger=False)
    later = as_of(timeline, AT_MS + 1_000, lambda: 2 * T0).store
    assert contents(later) != contents(found), "the moment matters"


@pytest.mark.deep
@pytest.mark.parametrize(
    ("scope", "name"),
    [(Scope.USER, "u2"), (Scope.ITEM, "i4"), (Scope.USER_CATEGORY, "u1/c1"), (Scope.CATEGORY, "c2")],
)
def test_one_key_needs_the_events_of_its_users_alone(
    tmp_path: Path, past: Past, wanted: MemoryStore, scope: Scope, name: str
) -> None:
    timeline = past.timeline(past.archive(tmp_path))
    users = concerned(timeline, scope, name)
    store = as_of(timeline, AT_MS, lambda: 2 * T0, users).store
    np.testing.assert_allclose(
        store.states(scope, [name]), wanted.states(scope, [name]), rtol=1e-12, atol=1e-9
    )
    assert wanted.states(scope, [name]).any()
    if scope is Scope.USER:
        assert store.past(name) == wanted.past(name)
        assert not store.states(scope, ["u1"]).any(), "nobody else's events were folded"
