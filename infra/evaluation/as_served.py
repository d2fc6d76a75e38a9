"""A log as it would have been served: what each place's features were, and when each label was known.

The real features, labels and catalogue run in this process over the log, in its order; candidates
are the log's own, so that nothing counts as shown that was not. No model takes part: features and
labels depend on none, and every model can then be held against the same rows.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from infra.formats.log import Entry, Log
from infra.lockstep.loop import Plan, System, rows_of
from models.training.rows import Rows
from streams.codec import decode
from streams.events import (
    HEADS,
    MAX_MS,
    TOPICS,
    Click,
    Example,
    Feedback,
    Impression,
    RankRequest,
    Watch,
)
from streams.labels.labels import RequestState, close, join

__all__ = ["AsServed", "as_served"]

_Happened = tuple[int, int, int, RankRequest | Entry]
EVERY = 200  # requests between two calls of `done`


class AsServed(msgspec.Struct, frozen=True, eq=False):
    """Impressed places in the order of time.

    `known_ms` [n, heads] is the event time at which a label became known, NaN where it never did;
    `pages` [n] numbers the requests.
    """

    name: str
    window_ms: int
    rows: Rows
    known_ms: NDArray[np.float64]
    pages: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)


class _Pages:
    """Requests under way, and the labels they have led to so far."""

    def __init__(self, window_ms: int) -> None:
        self.examples: dict[str, Example] = {}
        self.known_ms: dict[str, list[float]] = {}
        self._states: dict[str, RequestState] = {}
        self._due: deque[str] = deque()
        self._window_ms = window_ms

    def open(self, state: RequestState) -> None:
        self._states[state.request_id] = state
        self._due.append(state.request_id)

    def take(self, event: Impression | Click | Watch | Feedback) -> None:
        """Joins an event with its request, if that is still open."""
        state = self._states.get(event.request_id or "")
        if state is not None:
            joined = join(state, state.request_id, event)
            self._states[state.request_id] = joined.state
            self._learn(joined.examples, event.ts_ms)

    def close(self, now_ms: float) -> None:
        """Ends every window that is over by now."""
        while self._due:
            state = self._states[self._due[0]]
            ends = state.first_ms + self._window_ms
            if ends > now_ms:
                return
            self._learn(close(state).examples, ends)
            del self._states[self._due.popleft()]

    def _learn(self, examples: Iterable[Example], at_ms: int) -> None:
        for example in examples:
            self.examples[example.example_id] = example
            known = self.known_ms.setdefault(example.example_id, [np.nan] * len(HEADS))
            for n, head in enumerate(HEADS):
                if np.isnan(known[n]) and getattr(example.labels, head) is not None:
                    known[n] = at_ms


def as_served(log: Log, window_ms: int = 600_000, done: Callable[[int], None] = lambda _: None) -> AsServed:
    """Runs the log; `done` is told how many requests were answered since its last call."""
    system = System(Plan(label_window_ms=window_ms), log.start_ms)
    system.publish(record for entry in log.items for record in _records(entry))
    pages = _Pages(window_ms)
    asked: Iterator[_Happened] = (
        (request.ts_ms or 0, 0, n, request) for n, request in enumerate(log.requests)
    )
    happened: Iterator[_Happened] = ((entry.ts_ms, 1, n, entry) for n, entry in enumerate(log.events))
    answered, waiting = 0, list[Entry]()
    for ts_ms, _, _, what in merge(asked, happened):
        system.now_ms = max(system.now_ms, ts_ms)
        pages.close(ts_ms)
        if isinstance(what, RankRequest):
            _fold(system, waiting)
            served = system.rank(what, ts_ms)[1]
            if served is not None:
                pages.open(join(None, served.request_id, served).state)
            answered += 1
            if answered % EVERY == 0:
                done(EVERY)
            continue
        waiting.append(what)
        for event in _records(what):
            if isinstance(event, Impression | Click | Watch | Feedback):
                pages.take(event)
    pages.close(np.inf)
    done(answered % EVERY)
    return _gathered(log.name, window_ms, pages)


def _fold(system: System, waiting: list[Entry]) -> None:
    """Folds what happened since the last request: nobody looked at the features meanwhile."""
    system.fold_encoded([(TOPICS[e.topic], (e.key or b"").decode(), e.value or b"") for e in waiting])
    waiting.clear()


def _records(entry: Entry) -> tuple[Any, ...]:
    return tuple(decode(TOPICS[entry.topic], entry.key, entry.value, MAX_MS).records)


def _gathered(name: str, window_ms: int, pages: _Pages) -> AsServed:
    examples = sorted(pages.examples.values(), key=lambda e: (e.ts_ms, e.request_id, e.position))
    numbers: dict[str, int] = {}
    return AsServed(
        name=name,
        window_ms=window_ms,
        rows=rows_of(examples),
        known_ms=np.array([pages.known_ms[e.example_id] for e in examples], np.float64).reshape(
            -1, len(HEADS)
        ),
        pages=np.array([numbers.setdefault(e.request_id, len(numbers)) for e in examples], np.int64),
    )
