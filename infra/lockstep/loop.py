"""One system in memory and the viewers who use it: the real funnel, features, labels and learner.

Nothing here is a second implementation: only Kafka, Redis and the wall clock are left out. Each
request is answered, its events are folded at once, and labels close on the simulated clock.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np

from infra.viewers import SURFACE, Habits, Population
from models.learning.lessons import Lessons
from models.learning.online import OnlineModel, cross, id_hash
from models.serving.budget import Budget
from models.serving.candidates.shelves import Shelves
from models.serving.funnel import Funnel
from models.serving.slot import Pair, pair_of
from models.training.rows import Rows
from streams.catalogue.catalogue import Catalogue
from streams.codec import encode
from streams.events import (
    CLICKS,
    FEEDBACK,
    HEADS,
    IMPRESSIONS,
    ITEMS,
    WATCHES,
    Click,
    Event,
    Example,
    Feedback,
    Impression,
    Item,
    RankReply,
    RankRequest,
    Served,
    Topic,
    Watch,
)
from streams.features import COLUMN_NAMES, columns_hash
from streams.fold.applier import Applier
from streams.labels.labels import RequestState, close, due_ms, join
from streams.messages import Message
from streams.settings import Settings
from streams.store import MemoryStore

__all__ = ["LIVE", "START_MS", "Learning", "Plan", "System", "World", "rows_of"]

START_MS = 1_767_225_600_000  # the simulated clock's start: midnight, 1 January 2026, UTC
WITHOUT_END_MS = 1e9


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How long a comparison is. Times are of the simulated clock."""

    warmup_requests: int = 1_200
    requests: int = 1_500
    step_ms: int = 24_000
    label_window_ms: int = 600_000
    refresh_every: int = 5  # requests between two refreshes of the candidates' shelf
    publish_every: int = 5  # requests between two publications of weights
    candidates: int = 200
    habits: Habits = Habits(pace=1.0, online_share=0.01)


LIVE = Plan(step_ms=50, label_window_ms=15_000, warmup_requests=700, habits=Habits())
"""The pace of `streamrec up`: 20 requests a second, so labels come some 300 requests late."""


class World:
    """Viewers, the clock, and what happened so far."""

    def __init__(self, seed: int, plan: Plan) -> None:
        self.plan = plan
        self.now_ms = START_MS
        self.population = Population(seed, START_MS, plan.habits, run=f"s{seed}")
        self.past: list[tuple[Topic, tuple[Event, ...]]] = []  # batches as they would lie on Kafka

    def ask(self) -> tuple[RankRequest, list[Item]]:
        """Moves the clock on: the next request, and the items born before it."""
        self.now_ms += self.plan.step_ms
        return self.population.next_request(self.now_ms), self.population.born(self.now_ms)

    def answer(self, reply: RankReply) -> list[Event]:
        """What the viewer does with a slate; it is kept as a log."""
        events = self.population.answer(reply, self.now_ms)
        self.past += batches(events)
        return events


def batches(events: Sequence[Event]) -> list[tuple[Topic, tuple[Event, ...]]]:
    """One user's events by topic, as a client sends them."""
    kinds = ((IMPRESSIONS, Impression), (CLICKS, Click), (WATCHES, Watch), (FEEDBACK, Feedback))
    found = [(topic, tuple(e for e in events if isinstance(e, kind))) for topic, kind in kinds]
    return [(topic, batch) for topic, batch in found if batch]


class System:
    """The real parts around a store in memory."""

    def __init__(
        self,
        plan: Plan,
        clock_ms: int = START_MS,
        popularity: float = 0.0,
        settings: Mapping[str, float] | None = None,
    ) -> None:
        self.now_ms = clock_ms
        surfaces = {SURFACE: {"popularity": popularity}}
        told = {"candidates": plan.candidates, "surfaces": surfaces, **(settings or {})}
        self.settings = Settings.model_validate(told)
        self.catalogue = Catalogue(wall_ms=lambda: self.now_ms)
        self.store = MemoryStore()
        self.shelves = Shelves(self.catalogue, self.store)
        self.current = Pair()
        self.funnel = Funnel(self.settings, self.catalogue, self.store, self.shelves, self)
        self._applier = Applier(self.store, self.catalogue, lambda _: "simulated", lambda: self.now_ms)
        self._offsets: dict[str, int] = {}

    def publish(self, items: Iterable[Item]) -> None:
        """Takes new items."""
        for item in items:
            self.catalogue.apply(self._message(ITEMS, item.item_id, encode(item)))

    def fold(self, log: Iterable[tuple[Topic, tuple[Event, ...]]]) -> None:
        """Folds events into the features."""
        self.fold_encoded([(topic, batch[0].user_id, encode(batch)) for topic, batch in log])

    def fold_encoded(self, log: Iterable[tuple[Topic, str, bytes]]) -> None:
        """The same from topic, key and value as they lie on Kafka."""
        messages = [self._message(*each) for each in log]
        if messages:
            self._applier.apply(messages)

    def rank(self, request: RankRequest, now_ms: int) -> tuple[RankReply, Served | None]:
        """The funnel's slate, without a limit of time."""
        self.now_ms = now_ms
        reply, served = self.funnel.rank(request, now_ms, Budget(WITHOUT_END_MS))
        return reply, served

    def _message(self, topic: Topic, key: str, value: bytes) -> Message:
        offset = self._offsets[topic.name] = self._offsets.get(topic.name, -1) + 1
        return Message(topic.name, 0, offset, self.now_ms, key.encode(), value)


class Learning:
    """Labels by the real join, learned by the learner's own rules, on the simulated clock.

    Without `online` examples are only kept.
    """

    def __init__(self, plan: Plan, online: OnlineModel | None = None) -> None:
        self.examples: dict[str, Example] = {}  # the last revision of each
        self._lessons = Lessons(online, COLUMN_NAMES, columns_hash()) if online is not None else None
        self._plan = plan
        self._states: dict[str, RequestState] = {}
        self._due: deque[str] = deque()

    def take(self, served: Served, events: Iterable[Event]) -> None:
        """Joins a slate with what was done with it; what is known at once is learned at once."""
        state = join(None, served.request_id, served).state
        for event in events:
            if isinstance(event, Impression | Click | Watch | Feedback):
                joined = join(state, served.request_id, event)
                state = joined.state
                self._learn(joined.examples)
        self._states[served.request_id] = state
        self._due.append(served.request_id)

    def close(self, now_ms: int) -> None:
        """Ends the label windows that are over by now."""
        while self._due and due_ms(self._states[self._due[0]], self._plan.label_window_ms, 0) <= now_ms:
            self._learn(close(self._states.pop(self._due.popleft())).examples)

    def _learn(self, examples: Iterable[Example]) -> None:
        for example in examples:
            self.examples[example.example_id] = example
            if self._lessons is not None:
                self._lessons.apply(example)

    def pair(self, before: Pair) -> Pair:
        """The pair with the weights as they are now."""
        if self._lessons is None or before.version is None:
            return before
        return pair_of(before.version, before.ranker, self._lessons.model.weights())


def rows_of(examples: Sequence[Example]) -> Rows:
    """Examples as the arrays that training reads."""

    def hashes(values: Iterable[str | None]) -> np.ndarray:
        return np.array([id_hash(value) for value in values], dtype=np.uint64)

    return Rows(
        example_ids=tuple(e.example_id for e in examples),
        user_ids=tuple(e.user_id for e in examples),
        item_ids=tuple(e.item_id for e in examples),
        rankers=tuple(e.model.ranker for e in examples),
        ts_ms=np.array([e.ts_ms for e in examples], np.int64),
        positions=np.array([e.position for e in examples], np.int32),
        features=np.array([[np.nan if v is None else v for v in e.features] for e in examples], np.float32),
        logits=np.array([[e.logits.get(head, np.nan) for head in HEADS] for e in examples]),
        labels=np.array([[_label(getattr(e.labels, head)) for head in HEADS] for e in examples]),
        watch_ms=np.array([_label(e.labels.watch_ms) for e in examples]),
        weights=np.array([e.weight for e in examples]),
        propensities=np.array([e.propensity for e in examples]),
        buckets=cross(
            hashes(e.user_id for e in examples),
            hashes(e.item_id for e in examples),
            hashes(e.category for e in examples),
            hashes(e.creator_id for e in examples),
            hashes(e.surface for e in examples),
        ),
        categories=tuple(e.category for e in examples),
        surfaces=tuple(e.surface for e in examples),
    )


def _label(value: float | None) -> float:
    return float("nan") if value is None else float(value)
