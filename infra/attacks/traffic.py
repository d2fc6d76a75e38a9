"""Honest viewers on a day's clock with attackers among them, every event with who did it."""

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from infra.attacks.bots import HOUR_MS, KINDS, Account, Kind
from infra.viewers import Habits, Population
from streams.events import Click, Event, Impression, Item, RankedItem, RankReply, Watch

__all__ = ["HONEST", "START_MS", "Traffic", "make_traffic"]

START_MS = 1_767_225_600_000  # midnight, 1 January 2026, UTC
HONEST = ""


class Traffic(msgspec.Struct, frozen=True):
    """Events in order of time; `kinds` [n] is the attack that each belongs to, HONEST for none."""

    events: tuple[Event, ...]
    kinds: tuple[str, ...]
    items: tuple[Item, ...]


def make_traffic(seed: int, hours: int = 8, viewers: int = 300, kinds: Sequence[Kind] = KINDS) -> Traffic:
    """A working day of `viewers` and of every kind of attack. The same seed gives the same."""
    habits = Habits(viewers=viewers, pace=1.0, online_share=0.08, items=600)
    population = Population(seed, START_MS, habits, run=f"t{seed}")
    items = population.catalogue()
    end_ms = START_MS + hours * HOUR_MS
    found = [(event, HONEST) for event in _honest(population, items, seed, end_ms)]
    for number, kind in enumerate(kinds):
        for n in range(kind.accounts):
            rng = np.random.default_rng((seed, 11, number, n))
            account = Account(f"x{number}-{n}", f"xs{number}-{n // kind.a_session}", rng, items)
            found += [(event, kind.name) for event in kind.run(account, START_MS, end_ms)]
    found.sort(key=lambda pair: pair[0].ts_ms)
    events, names = zip(*found, strict=True)
    return Traffic(events, names, tuple(items))


def _honest(population: Population, items: list[Item], seed: int, end_ms: int) -> Iterator[Event]:
    """Viewers on slates drawn by chance, each of them busy with one slate at a time."""
    rng = np.random.default_rng((seed, 12))
    free: dict[str, float] = {}
    now = START_MS
    while now < end_ms:
        now += int(rng.exponential(4_000))
        request = population.next_request(now)
        chosen = rng.choice(len(items), request.limit, replace=False).tolist()
        slate = tuple(
            RankedItem(item_id=items[i].item_id, position=p, score=0.0, source="chance")
            for p, i in enumerate(chosen)
        )
        at = max(float(now), free.get(request.user_id, 0.0))
        reply = RankReply(request_id=request.request_id, user_id=request.user_id, items=slate)
        for event in population.answer(reply, now):
            at += _takes_ms(event, rng)
            yield msgspec.structs.replace(event, ts_ms=int(at))
        free[request.user_id] = at


def _takes_ms(event: Event, rng: np.random.Generator) -> float:
    """How long it takes until an event is there."""
    if isinstance(event, Impression):
        return float(rng.lognormal(7.6, 0.7))  # 2 s, often less, now and then much more
    if isinstance(event, Click):
        return float(rng.lognormal(6.5, 0.5))
    return float(event.watch_ms if isinstance(event, Watch) else rng.lognormal(7.0, 0.5))
