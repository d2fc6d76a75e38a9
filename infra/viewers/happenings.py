"""Scripted events in the simulated world, whose truth is known: what began, when, and how large.

| event | what happens |
|---|---|
| taste-drift | every taste turns, for good |
| viral-item | everyone wants one item |
| catalogue-flood | items half as many as there are, of low appeal, appear at once |
| broken-sensor | durations are published sixty times too long (minutes for seconds) |
| bot-attack | accounts that click on everything, several times a second |
| outage | nobody asks |
"""

from typing import Literal, get_args

import msgspec

from infra.viewers.population import Population
from streams.events import DAY_MS, Item

__all__ = ["EVENTS", "Happening", "Happenings", "Name"]

Name = Literal["taste-drift", "viral-item", "catalogue-flood", "broken-sensor", "bot-attack", "outage"]
EVENTS: tuple[str, ...] = get_args(Name)

VIRAL_LOGIT = 4.0
FLOOD_SHARE = 0.5
FLOOD_LOGIT = -1.5
SENSOR_FACTOR = 60


class Happening(msgspec.Struct, frozen=True):
    """One event: from when, how long, and how large beside its usual size."""

    name: Name
    from_ms: int
    for_ms: int
    size: float = 1.0

    @property
    def until_ms(self) -> int:
        """Its end, exclusive."""
        return self.from_ms + self.for_ms


class Happenings:
    """What goes on in one world now. Several at a time are possible, one of each name."""

    def __init__(self, population: Population) -> None:
        self._population = population
        self._going: dict[str, Happening] = {}
        self._viral: tuple[str, float] | None = None

    def begin(self, what: Happening) -> list[Item]:
        """Begins an event; returns the items to publish for it. One of its name that goes on ends first."""
        items = self._end(what.name)
        self._going[what.name] = what
        population = self._population
        if what.name == "taste-drift":
            population.turn_tastes()
        elif what.name == "viral-item":
            self._viral = (population.favourite(), VIRAL_LOGIT * what.size)
            population.boost(*self._viral)
        elif what.name == "catalogue-flood":
            count = int(FLOOD_SHARE * what.size * len(population.catalogue()))
            items += population.flood(what.from_ms, count, FLOOD_LOGIT)
        elif what.name == "broken-sensor":
            items += population.catalogue()
        return items

    def due(self, now_ms: int) -> list[Item]:
        """Ends what is over; returns the items to publish again as they truly are."""
        over = [name for name, what in self._going.items() if now_ms >= what.until_ms]
        return [item for name in over for item in self._end(name)]

    def goes_on(self, name: Name) -> bool:
        """True between an event's begin and its end."""
        return name in self._going

    def published(self, item: Item) -> Item:
        """The item as the system gets to see it."""
        if "broken-sensor" not in self._going or item.duration_ms is None:
            return item
        return msgspec.structs.replace(item, duration_ms=min(item.duration_ms * SENSOR_FACTOR, DAY_MS))

    def _end(self, name: str) -> list[Item]:
        if self._going.pop(name, None) is None:
            return []
        if name == "viral-item" and self._viral is not None:
            self._population.boost(self._viral[0], -self._viral[1])
        return self._population.catalogue() if name == "broken-sensor" else []
