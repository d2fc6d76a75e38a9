"""Simulated viewers on a clock of their own, who ask a running system a few at a time."""

import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import msgspec

from infra.loop.plan import BEFORE_MS, Plan
from infra.traffic import send_events
from infra.viewers import Population
from streams.errors import RankError
from streams.events import ITEMS, Click, Impression, Item, RankReply, RankRequest
from streams.kafka import Publisher, RankClient
from streams.settings import Settings

__all__ = ["Slate", "Viewers"]

AT_ONCE = 4
TOP = 10  # places over which the truth is told
TIMEOUT_MS = 10_000


class Slate(msgspec.Struct, frozen=True):
    """One answered request: what was clicked, and what the simulator knows of its first ten places.

    `true_clicks` are the clicks to expect if the viewer looks at all ten, `best_clicks` those of the best ten
    items there are.
    """

    ts_ms: int
    ranker: str | None
    places: int
    clicks: int
    impressions: int
    true_clicks: float
    best_clicks: float


class Viewers:
    """A population whose clock goes by its requests; rounds of four, each answered before the next."""

    def __init__(self, settings: Settings, plan: Plan) -> None:
        self._plan = plan
        self.start_ms = self.now_ms = time.time_ns() // 1_000_000 - BEFORE_MS
        self.slates: list[Slate] = []
        self.errors: Counter[str] = Counter()
        self._population = Population(plan.seed, self.start_ms, plan.habits, run=f"loop{plan.seed}")
        self._publisher, self._client = Publisher(settings), RankClient(settings)
        self._pool = ThreadPoolExecutor(AT_ONCE)

    def __enter__(self) -> "Viewers":
        self._publish(self._population.catalogue())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._client.close()
        self._publisher.close()

    @property
    def hours(self) -> float:
        """Hours on the viewers' clock since its begin."""
        return (self.now_ms - self.start_ms) / 3_600_000

    def drift(self) -> None:
        """Turns every taste and brings new, much longer items: the planted drift."""
        self._publish(self._population.shift(self.now_ms, clickiness=0.0))

    def answers(self) -> bool:
        """True if the system answers at all."""
        return self._ask(self._population.next_request(self.now_ms)) is not None

    def round(self) -> None:
        """Four requests, and what their viewers did with the slates."""
        self._publish(self._population.born(self.now_ms))
        asked = [self._next() for _ in range(AT_ONCE)]
        for request, reply in zip(asked, self._pool.map(self._ask, asked), strict=True):
            if reply is not None:
                self._answer(request, reply)

    def _next(self) -> RankRequest:
        step_ms = self._plan.window_ms / (self._plan.slates - 1)
        self.now_ms += int(step_ms / self._population.busy(self.now_ms))
        return self._population.next_request(self.now_ms)

    def _ask(self, request: RankRequest) -> RankReply | None:
        try:
            return self._client.rank(request, TIMEOUT_MS)
        except RankError as error:
            self.errors[error.code] += 1
            return None

    def _answer(self, request: RankRequest, reply: RankReply) -> None:
        at_ms = request.ts_ms or self.now_ms
        shown = [place.item_id for place in reply.items[:TOP]]
        true = float(self._population.true_click(request.user_id, shown, at_ms).sum())
        best = self._population.best_clicks(request.user_id, len(shown), at_ms)
        events = self._population.answer(reply, at_ms)
        clicks = sum(isinstance(event, Click) for event in events)
        seen = sum(isinstance(event, Impression) for event in events)
        self.slates.append(Slate(at_ms, reply.model.ranker, len(reply.items), clicks, seen, true, best))
        send_events(self._publisher, events)

    def _publish(self, items: Iterable[Item]) -> None:
        for item in items:
            self._publisher.send(ITEMS, item)
        self._publisher.flush()
