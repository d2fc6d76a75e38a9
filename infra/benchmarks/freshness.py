"""From a click to another ranking, through the running system's own Kafka.

Each round is a user of its own: a slate of given candidates, a click on its first item, then the same
question over and over until the clicked item no longer leads (it was seen, and what was seen comes last).
That is the way of features and history. Where nobody else teaches the learner, the round goes on until a
reply names newer online weights: the way of the click through labels, learner and scorer.
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from streams.events import (
    CLICKS,
    IMPRESSIONS,
    ITEMS,
    Click,
    Impression,
    Item,
    RankReply,
    RankRequest,
    Record,
    Topic,
)

__all__ = ["Freshness", "Ranks", "Sends", "measure_freshness"]

ITEMS_SHOWN = 10
GIVE_UP_S = 10.0
QUIET_S = 2.0  # without newer weights: nobody else teaches
FEATURES_GOAL_MS, WEIGHTS_GOAL_MS = 250.0, 2_000.0  # p99


class Ranks(Protocol):
    """What is needed of a RankClient."""

    def rank(self, request: RankRequest, timeout_ms: int = 1_000) -> RankReply:
        """The slate."""


class Sends(Protocol):
    """What is needed of a Publisher."""

    def send(self, topic: Topic, record: Record) -> None:
        """Produces a record."""

    def flush(self, timeout_s: float = 10.0) -> None:
        """Waits for the broker."""


class Freshness(msgspec.Struct, frozen=True):
    """Milliseconds from the broker's taking a click to a reply that shows it; None where not measured."""

    rounds: int
    asking_p50_ms: float  # one question and its answer: no figure can be finer
    features_p50_ms: float | None
    features_p99_ms: float | None
    features_missed: int  # rounds given up
    weights_p50_ms: float | None
    weights_p99_ms: float | None
    weights_missed: int
    quiet: bool  # weights are told of a system that nobody else teaches
    features_goal_ms: float = FEATURES_GOAL_MS
    weights_goal_ms: float = WEIGHTS_GOAL_MS


class _Round:
    """One user's question."""

    def __init__(self, ranks: Ranks, user: str, items: Sequence[str], asked: list[float]) -> None:
        self._ranks, self._user, self._items, self._asked, self._n = ranks, user, tuple(items), asked, 0

    def ask(self) -> RankReply:
        self._n += 1
        request = RankRequest(
            request_id=f"{self._user}-{self._n}",
            user_id=self._user,
            candidates=self._items,
            limit=len(self._items),
        )
        began = time.perf_counter()
        reply = self._ranks.rank(request, 5_000)
        self._asked.append((time.perf_counter() - began) * 1_000)
        return reply

    def until(self, seen: Callable[[RankReply], bool], since: float) -> float | None:
        """Milliseconds from `since` to the first reply that is as wished; None when it never came."""
        while time.perf_counter() - since < GIVE_UP_S:
            if seen(self.ask()):
                return (time.perf_counter() - since) * 1_000
        return None


def measure_freshness(
    ranks: Ranks, sends: Sends, rounds: int, run: str, done: Callable[[], None] = lambda: None
) -> Freshness:
    """Measures `rounds` clicks; `run` makes ids that were never used.

    Raises:
        RankError: the system does not answer.
    """
    items = [f"fresh-{run}-{n}" for n in range(ITEMS_SHOWN)]
    for item in items:
        sends.send(ITEMS, Item(item_id=item, published_ts_ms=_now_ms()))
    sends.flush()
    asked: list[float] = []
    quiet = _is_quiet(_Round(ranks, f"fresh-{run}-q", items, asked))
    features, weights = list[float | None](), list[float | None]()
    for number in range(rounds):
        one = _Round(ranks, f"fresh-{run}-{number}", items, asked)
        first = one.ask()
        since = _click(sends, first)
        clicked = first.items[0].item_id
        features.append(one.until(lambda reply, c=clicked: reply.items[-1].item_id == c, since))  # type: ignore[misc]
        if quiet:
            before = first.model.online
            weights.append(one.until(lambda reply, b=before: reply.model.online != b, since))  # type: ignore[misc]
        done()
    return Freshness(
        rounds=rounds,
        asking_p50_ms=_at(asked, 0.5) or 0.0,
        features_p50_ms=_at(features, 0.5),
        features_p99_ms=_at(features, 0.99),
        features_missed=sum(each is None for each in features),
        weights_p50_ms=_at(weights, 0.5),
        weights_p99_ms=_at(weights, 0.99),
        weights_missed=sum(each is None for each in weights),
        quiet=quiet,
    )


def _is_quiet(one: _Round) -> bool:
    before, until = one.ask().model.online, time.perf_counter() + QUIET_S
    if before is None:
        return False
    while time.perf_counter() < until:
        if one.ask().model.online != before:
            return False
        time.sleep(0.1)
    return True


def _click(sends: Sends, reply: RankReply) -> float:
    """Sends the first item's impression and click; returns when the broker had them."""
    place = reply.items[0]
    for topic, kind in ((IMPRESSIONS, Impression), (CLICKS, Click)):
        sends.send(
            topic,
            kind(
                event_id=f"{reply.request_id}-{topic.name}",
                user_id=reply.user_id,
                item_id=place.item_id,
                ts_ms=_now_ms(),
                request_id=reply.request_id,
                position=place.position,
            ),
        )
    sends.flush()
    return time.perf_counter()


def _at(values: Sequence[float | None], share: float) -> float | None:
    """The value that a share of all does not exceed; a round given up is longer than any."""
    known = sorted(value for value in values if value is not None)
    place = min(len(values) - 1, int(share * len(values)))
    return round(known[place], 1) if 0 <= place < len(known) else None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
