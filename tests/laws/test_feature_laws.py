"""Online state does not depend on how events arrive: order of topics, cuts, repeats, crashes, rivals."""

import copy
import secrets
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.chaos.oracle import differences
from streams.codec import encode
from streams.edge.handler import Rewind
from streams.errors import StoreUnavailable
from streams.events import CLICKS, Click
from streams.features import COUNTERS, HALF_LIVES_MS, LAYOUTS, Layout, Scope, View, vectors
from streams.features.layout import contributions, merge
from streams.fold.applier import Applier
from streams.messages import Message, Source
from streams.settings import Settings
from streams.store import MemoryStore
from streams.store.connect import connect
from streams.store.keys import TAGS
from tests.build import T0
from tests.event_logs import (
    HOUR,
    NOW,
    WALL,
    Failing,
    Log,
    deliver,
    held_by,
    logs,
    make_applier,
    make_catalogue,
    oracle,
    share,
)

LAW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
LONG_LAW = settings(LAW, max_examples=12)


@LAW
@given(logs(), st.data())
def test_any_interleaving_and_any_cut_gives_what_a_plain_recomputation_gives(log: Log, data: Any) -> None:
    store = MemoryStore()
    deliver(make_applier(store), log, data.draw)
    assert differences(store, oracle(log), NOW) == []


@LAW
@given(logs(), st.data())
def test_reading_everything_twice_equals_reading_it_once(log: Log, data: Any) -> None:
    store = MemoryStore()
    deliver(make_applier(store), log, data.draw)
    before = copy.deepcopy(store.rows)
    deliver(make_applier(store), log, data.draw)
    assert differences(store, oracle(log), NOW) == []
    assert {k: v.tobytes() for k, v in store.rows.items()} == {k: v.tobytes() for k, v in before.items()}


@LAW
@given(logs(), st.data())
def test_a_process_killed_between_any_two_writes_loses_and_repeats_nothing(log: Log, data: Any) -> None:
    store = Failing()
    for _ in range(4):
        store.patience = data.draw(st.integers(0, 12))
        try:
            applier = make_applier(store)
            deliver(applier, log, data.draw, applier.resume(log))
        except StoreUnavailable:
            continue
    store.patience = 1 << 60
    applier = make_applier(store)
    deliver(applier, log, data.draw, applier.resume(log))
    applier.advance()
    assert differences(store, oracle(log), NOW) == []
    ends = {source: len(messages) for source, messages in log.items()}
    assert make_applier(store).resume(log) == ends


@pytest.mark.deep
@LAW
@given(logs(), st.data())
def test_an_answer_that_got_lost_is_tried_again_without_counting_twice(log: Log, data: Any) -> None:
    store = Failing()
    applier = make_applier(store)
    applier.resume(log)
    for source, messages in log.items():
        for message in messages:
            store.patience = data.draw(st.integers(0, 6))
            try:
                applier.apply([message])
            except StoreUnavailable:
                store.patience = 1 << 60
                applier.apply([message])
            assert source == message.source
    assert differences(store, oracle(log), NOW) == []


@pytest.mark.deep
@LAW
@given(logs(), st.data())
def test_workers_that_share_users_and_items_do_not_disturb_each_other(log: Log, data: Any) -> None:
    def advance(workers: Sequence[Applier]) -> None:
        if data.draw(st.integers(0, 4)) == 0:
            workers[data.draw(st.integers(0, 1))].advance()

    share(store := MemoryStore(), log, data.draw, advance)
    assert differences(store, oracle(log), NOW) == []


@pytest.mark.deep
@LONG_LAW
@given(logs(), st.data())
def test_a_worker_that_should_be_gone_does_no_harm(log: Log, data: Any) -> None:
    store = MemoryStore()
    workers = [make_applier(store) for _ in range(2)]
    for worker in workers:
        worker.resume(log)
    left = [{s: list(messages) for s, messages in log.items()} for _ in workers]
    while any(messages for mine in left for messages in mine.values()):
        n = data.draw(st.integers(0, 1))
        waiting = sorted(s for s, messages in left[n].items() if messages)
        if waiting:
            source = data.draw(st.sampled_from(waiting))
            take = data.draw(st.integers(1, 3))
            batch, left[n][source] = left[n][source][:take], left[n][source][take:]
            workers[n].apply(batch)
        elif data.draw(st.booleans()):
            workers[n].advance()
    assert differences(store, oracle(log), NOW) == []


@pytest.mark.deep
@LONG_LAW
@given(logs(), st.data())
def test_a_store_that_lost_its_latest_writes_is_filled_again(log: Log, data: Any) -> None:
    store = MemoryStore()
    applier = make_applier(store)
    applier.resume(log)
    left = {s: list(messages) for s, messages in log.items()}
    saved: dict[str, Any] | None = None
    losses = data.draw(st.integers(1, 3))
    while any(left.values()):
        source = data.draw(st.sampled_from(sorted(s for s, m in left.items() if m)))
        if saved is None and data.draw(st.integers(0, 3)) == 0:
            saved = held_by(store)
        elif saved is not None and losses and data.draw(st.integers(0, 2)) == 0:
            losses -= 1
            vars(store).update({k: copy.copy(v) for k, v in saved.items()})
        try:
            applier.apply([left[source].pop(0)])
        except Rewind as rewind:
            left = {
                s: list(log[s][rewind.offsets[s] :]) if s in rewind.offsets else m for s, m in left.items()
            }
    for _ in range(2):
        try:
            applier.advance()
        except Rewind as rewind:
            for s, offset in rewind.offsets.items():
                applier.apply(log[s][offset:]) if log[s][offset:] else None
    assert differences(store, oracle(log), NOW) == []


def test_a_topic_made_anew_is_counted_from_its_start() -> None:
    store, epoch = MemoryStore(), ["old"]
    applier = Applier(store, make_catalogue(), lambda _: epoch[0], lambda: WALL)
    source = Source(CLICKS.name, 0)

    def message(offset: int, event_id: str) -> Message:
        click = Click(event_id=event_id, user_id="ann", item_id="i0", ts_ms=T0)
        return Message(*source, offset, T0, b"ann", encode(click))

    applier.apply([message(0, "a"), message(1, "b")])
    epoch[0] = "new"
    with pytest.raises(Rewind) as rewind:
        applier.apply([message(0, "c")])
    assert rewind.value.offsets == {source: 0}
    applier.apply([message(0, "c"), message(1, "b")])
    assert store.ledger()[:2] == (3, 1)


def test_a_topic_made_anew_and_filled_beyond_the_old_end_is_read_from_its_start() -> None:
    """Found by `streamrec chaos`: workers that slept went on at the old offset of the new topic."""
    store, epoch = MemoryStore(), ["old"]
    applier = Applier(store, make_catalogue(), lambda _: epoch[0], lambda: WALL)
    source = Source(CLICKS.name, 0)
    click = encode(Click(event_id="a", user_id="ann", item_id="i0", ts_ms=T0))
    applier.apply([Message(*source, 0, T0, b"ann", click)])
    applier.check_lives({CLICKS.name: "old", "events.watches": "never met"})
    epoch[0] = "new"
    with pytest.raises(Rewind) as rewind:
        applier.check_lives({CLICKS.name: "new"})
    assert rewind.value.offsets == {source: 0}


@pytest.mark.deep
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(logs(), st.data())
def test_memory_and_redis_hold_the_same(any_redis_url: str, log: Log, data: Any) -> None:
    memory = MemoryStore()
    real = connect(Settings(redis=any_redis_url, namespace=f"t{secrets.token_hex(5)}"))
    cuts = data.draw(st.lists(st.integers(1, 4), min_size=20, max_size=20))
    everything = [message for messages in log.values() for message in messages]
    for store in (memory, real):
        applier, at = make_applier(store), 0
        applier.resume(log)
        for cut in cuts:
            if everything[at : at + cut]:
                applier.apply(everything[at : at + cut])
            at += cut
        applier.apply(everything[-3:])
        applier.advance()
    assert memory.fences(TAGS) == real.fences(TAGS)
    for (scope, name), row in memory.rows.items():
        # what was added and taken back leaves a rounding of its size, some 10,000 ms at the most
        np.testing.assert_allclose(real.states(scope, [name])[0], row, rtol=1e-12, atol=1e-11)
    for user in ("ann", "bob", "cid"):
        assert memory.history(user) == real.history(user)
        assert memory.shown(user) == real.shown(user)
    assert differences(real, oracle(log), NOW) == []


times = st.integers(T0, T0 + 30 * 24 * HOUR)


@LAW
@given(st.lists(st.tuples(times, st.integers(0, 100)), min_size=1, max_size=30), st.data())
def test_decay_is_the_closed_form_however_it_was_summed(events: list[tuple[int, int]], data: Any) -> None:
    layout = Layout(Scope.ITEM, [f"watch_ms_{window}" for window in HALF_LIVES_MS])
    row = np.zeros((1, layout.width))
    rest = list(events)
    while rest:
        take = data.draw(st.integers(1, len(rest)))
        part, rest = rest[:take], rest[take:]
        counts = np.zeros((take, len(COUNTERS)))
        counts[:, COUNTERS.index("watch_ms")] = [n for _, n in part]
        ts = np.array([t for t, _ in part], dtype=float)
        each = contributions(layout, ts, np.ones(take), counts, np.zeros(take, dtype=np.intp), 1)
        row = merge(layout, row, each)
    now = T0 + 40 * 24 * HOUR
    read = layout.read(row, now)
    assert read["watch_ms_total"][0] == sum(n for _, n in events)
    for window, half_life in HALF_LIVES_MS.items():
        want = sum(n * 2.0 ** (-(now - t) / half_life) for t, n in events)
        assert read[f"watch_ms_{window}"][0] == pytest.approx(want, rel=1e-9, abs=1e-300)


@settings(LAW, max_examples=100)
@given(st.integers(0, 2**32), st.integers(0, 20 * 24))
def test_noise_as_of_another_order_of_summation_changes_no_vector(seed: int, age_h: int) -> None:
    random = np.random.default_rng(seed)
    rows, noisy = {}, {}
    for scope, layout in LAYOUTS.items():
        plain = random.lognormal(1.0, 2.0, size=(20, layout.width))
        plain[:, :2] = T0 - 1_000 * random.integers(0, 100_000, size=(20, 2))
        noise = np.ones_like(plain)
        noise[:, 2:] += random.uniform(-1e-15, 1e-15, size=(20, layout.width - 2))
        rows[scope], noisy[scope] = plain, plain * noise
    ids, now = [f"i{n}" for n in range(20)], T0 + age_h * HOUR
    one, other = (vectors(View(r), [None] * 20, ids, now) for r in (rows, noisy))
    np.testing.assert_array_equal(one, other)


@pytest.mark.deep
@LAW
@given(logs(), st.permutations(["i0", "i1", "i2", "unknown", "never-seen"]))
def test_a_candidates_features_do_not_depend_on_the_other_candidates(log: Log, order: list[str]) -> None:
    store, catalogue = MemoryStore(), make_catalogue()
    applier = make_applier(store)
    for messages in log.values():
        applier.apply(messages)

    def features(ids: Sequence[str]) -> Any:
        items = [catalogue.get(i) for i in ids]
        return vectors(store.view("ann", ids, items), items, ids, NOW)

    together = dict(zip(order, features(order), strict=True))
    for item_id in order:
        np.testing.assert_array_equal(features([item_id])[0], together[item_id])
