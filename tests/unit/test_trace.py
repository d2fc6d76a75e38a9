"""What is kept of a slate for those who ask why."""

from models.serving.budget import Budget
from models.serving.trace import KEPT_S, Recorder, read_trace
from streams.events import HEADS
from streams.features import COLUMN_NAMES
from streams.store import MemoryStore
from tests.build import T0, make_request
from tests.unit.test_funnel import FULL, funnel_of


def traced(store: MemoryStore, **settings: object):
    recorder = Recorder(store, 20)
    funnel = funnel_of(FULL, store, recorder=recorder, **settings)
    request = make_request(limit=3)
    reply = funnel.rank(request, T0, Budget(1_000)).reply
    recorder.write()
    return reply, read_trace(store, request.request_id)


def test_a_trace_has_every_candidate_with_scores_features_and_moves():
    reply, trace = traced(MemoryStore(), diversity=0.9)
    assert [row.item_id for row in trace.candidates[:3]] == [item.item_id for item in reply.items]
    assert len(trace.candidates) == 20
    assert trace.columns == COLUMN_NAMES
    assert trace.timings_ms == reply.timings_ms
    first = trace.candidates[0]
    assert (first.position, first.by_score, first.propensity) == (0, 0, 1.0)
    assert first.features[COLUMN_NAMES.index("item_tags")] == 19.0
    assert set(first.logits) == set(HEADS)
    moved = {reason for row in trace.candidates for reason in row.reasons}
    assert moved == {"diverse"}
    assert trace.candidates[-1].position is None


def test_a_trace_is_not_anothers_and_does_not_last():
    now = [0.0]
    store = MemoryStore(clock=lambda: now[0])
    reply, _ = traced(store)
    assert read_trace(store, "another") is None
    now[0] = KEPT_S - 1
    assert read_trace(store, reply.request_id) is not None
    now[0] = KEPT_S + 1
    assert read_trace(store, reply.request_id) is None


def test_a_forgotten_users_trace_goes_with_the_replies():
    store = MemoryStore()
    reply, _ = traced(store)
    assert store.forget_replies({"u1"}) == 1
    assert read_trace(store, reply.request_id) is None


def test_a_scorer_that_traces_nothing_writes_nothing():
    store = MemoryStore()
    recorder = Recorder(store, 0)
    funnel_of(FULL, store, recorder=recorder).rank(make_request(request_id="r0"), T0, Budget(1_000))
    recorder.write()
    assert read_trace(store, "r0") is None
