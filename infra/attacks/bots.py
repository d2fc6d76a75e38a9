"""What attackers do: each kind a generator of one account's events, as clients would send them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from streams.events import Click, Event, Feedback, Impression, Item, Watch

__all__ = ["KINDS", "Account", "Kind"]

SECOND_MS, MINUTE_MS, HOUR_MS = 1_000, 60_000, 3_600_000


class Account:
    """One attacker's account: its name, its session, its own chance, and its clock."""

    def __init__(self, name: str, session: str, rng: np.random.Generator, items: Sequence[Item]) -> None:
        self.name, self.session, self.rng, self.items = name, session, rng, items
        self._sent = 0

    def any_item(self) -> Item:
        """An item of the catalogue."""
        return self.items[int(self.rng.integers(len(self.items)))]

    def event(self, of: type[Event], at: float, item: Item, **more: Any) -> Event:
        """An event of this account."""
        self._sent += 1
        return msgspec.convert(
            {
                "event_id": f"{self.name}-{self._sent}",
                "user_id": self.name,
                "session_id": self.session,
                "ts_ms": int(at),
                "item_id": item.item_id,
                **more,
            },
            of,
        )

    def opened(self, at: float, item: Item) -> Iterator[Event]:
        """An impression and a click on it."""
        yield self.event(Impression, at - 400, item)
        yield self.event(Click, at, item)


Run = Callable[[Account, int, int], Iterator[Event]]


class Kind(msgspec.Struct, frozen=True):
    """A kind of attack: how many accounts, how many of them share a session, and what each does."""

    name: str
    accounts: int
    a_session: int
    run: Run


def _fast(bot: Account, from_ms: int, to_ms: int) -> Iterator[Event]:
    """Two bursts of ten minutes, two to five clicks a second."""
    for _ in range(2):
        at = float(bot.rng.integers(from_ms, to_ms - 10 * MINUTE_MS))
        end = at + 10 * MINUTE_MS
        while at < end:
            yield from bot.opened(at, bot.any_item())
            at += bot.rng.uniform(200, 500)


def _steady(gap_ms: float, jitter: float, shown: bool, hours: float = 6.0) -> Run:
    """One click every `gap_ms`, give or take a share `jitter`, without a rest."""

    def run(bot: Account, from_ms: int, to_ms: int) -> Iterator[Event]:
        at = float(from_ms + bot.rng.integers(HOUR_MS))
        end = min(to_ms, at + hours * HOUR_MS)
        while at < end:
            item = bot.any_item()
            yield from bot.opened(at, item) if shown else [bot.event(Click, at, item)]
            at += gap_ms * bot.rng.uniform(1 - jitter, 1 + jitter)

    return run


def _farm(bot: Account, from_ms: int, to_ms: int) -> Iterator[Event]:
    """People paid to press: a few targets again and again, at a person's pace, in one shift."""
    targets = bot.items[:5]
    at = float(from_ms + bot.rng.integers((to_ms - from_ms) // 3))
    for _ in range(120):
        item = targets[int(bot.rng.integers(len(targets)))]
        yield from bot.opened(at, item)
        if bot.rng.random() < 0.3:
            yield bot.event(Feedback, at + 900, item, action="like")
        at += 2 * SECOND_MS + bot.rng.exponential(15 * SECOND_MS)


def _views(every_ms: float, claim: float, wait: float = 1.0) -> Run:
    """Watches that claim `claim` times the item's length; the next comes when `wait` of its length, or
    `every_ms` where that is more, has passed."""

    def run(bot: Account, from_ms: int, to_ms: int) -> Iterator[Event]:
        at = float(from_ms + bot.rng.integers((to_ms - from_ms) // 2))
        for _ in range(200):
            item = bot.any_item()
            length = item.duration_ms or 20_000
            claimed = int(min(length * claim, 20 * HOUR_MS))
            yield bot.event(Impression, at - 500, item)
            yield bot.event(Watch, at, item, watch_ms=claimed, duration_ms=length)
            at += max(every_ms, wait * length) * bot.rng.uniform(0.7, 1.3)

    return run


KINDS = (
    Kind("fast bot", 4, 1, _fast),
    Kind("slow bot, a timer", 8, 1, _steady(45_000, 0.03, shown=True)),
    Kind("slow bot, uneven", 8, 1, _steady(45_000, 0.8, shown=True)),
    Kind("slow bot, unseen items", 8, 1, _steady(60_000, 0.8, shown=False)),
    Kind("click farm, one device", 24, 12, _farm),
    Kind("click farm, few a device", 24, 3, _farm),
    Kind("view bot, no time passed", 8, 1, _views(3_000, claim=1.0, wait=0.1)),
    Kind("view bot, endless loop", 8, 1, _views(60_000, claim=40.0)),
    Kind("view bot, nearly real time", 8, 1, _views(1_000, claim=1.0, wait=0.9)),
)
