"""Counters and gauges of quality and business, from served slates and what viewers did with them."""

import contextlib
from collections.abc import Callable
from itertools import product

from monitors.quality.business import Ages, Sessions, Variety
from monitors.quality.click_through import ClickThrough, Counted
from monitors.quality.labels import Book, Labels
from monitors.quality.returns import Days, Returns
from streams.events import Click, Event, Forgotten, Impression, Item, Record, Served
from streams.metrics import (
    CATALOGUE_NEWEST,
    COVERAGE,
    DIVERSITY,
    NEXT_DAY_RETURN,
    NOVELTY,
    POSITION_CLICKS,
    POSITION_IMPRESSIONS,
    SESSION_SECONDS,
    SHOWN_AGE,
    SLATE_CLICKS,
    SLATE_CONVERSIONS,
    SLATE_IMPRESSIONS,
    SLATE_VALUE,
    SLATE_WATCH,
    SPONSORED_REVENUE,
)

__all__ = ["Meter", "place_of"]

TOLD_PLACES = 20  # those below share one label
PLACES = (*map(str, range(TOLD_PLACES)), "lower", "unknown")
LOOK = 50  # slates between two looks at variety: it adds up all items
KEEP_MS = 60_000  # of event time between two looks at returns, which are then written down
BY_LABELS = (SLATE_IMPRESSIONS, SLATE_CLICKS, SLATE_WATCH, SLATE_CONVERSIONS, SLATE_VALUE, SPONSORED_REVENUE)
BY_PLACE = (POSITION_IMPRESSIONS, POSITION_CLICKS)


def place_of(position: int | None) -> str:
    """The label of a place.

    >>> place_of(0), place_of(20), place_of(None)
    ('0', 'lower', 'unknown')
    """
    if position is None:
        return "unknown"
    return str(position) if position < TOLD_PLACES else "lower"


class Meter:
    """Feeds the metrics. What is delivered twice counts once by request; places count as they are told.

    `kept` is of an earlier monitor; what a later one goes on from is given to `keep`, once a minute. Series
    of labels that no slate had for a day go.
    """

    def __init__(self, kept: Days | None = None, keep: Callable[[Days], None] = lambda _: None) -> None:
        self._book, self._clicks, self._sessions = Book(), ClickThrough(), Sessions()
        self._returns, self._keep, self._kept_ms = Returns(kept), keep, 0
        self._told: set[Labels] = set()  # of returns
        self._variety, self._ages = dict[str, Variety](), dict[str, Ages]()  # by surface
        self._slates = self._newest_ms = 0
        self._bids: dict[str, int] = {}  # micros a click

    def take(self, record: Record) -> None:
        """Takes a slate or an event in; other records count nothing."""
        if isinstance(record, Served):
            labels = self._book.of(record)
            self._count(self._clicks.served(record, labels), record)
            self._on_slate(record, labels)
        elif isinstance(record, Event):
            self._count(self._clicks.event(record), record)
        elif isinstance(record, Item):
            self._on_item(record)
        elif isinstance(record, Forgotten):
            self._returns.forget(record.user_id, record.ts_ms)

    def keep(self) -> None:
        """Gives what outlives the monitor to its keeper."""
        self._keep(self._returns.days)

    def _count(self, counted: Counted | None, record: Record) -> None:
        if counted is None:
            return
        labels = counted.labels
        SLATE_IMPRESSIONS.labels(*labels).inc(counted.impressions)
        SLATE_CLICKS.labels(*labels).inc(counted.clicks)
        SLATE_WATCH.labels(*labels).inc(counted.watch_ms / 1_000)
        if counted.conversions:
            SLATE_CONVERSIONS.labels(*labels).inc(counted.conversions)
            SLATE_VALUE.labels(*labels).inc(max(counted.value_micros, 0) / 1e6)
        if isinstance(record, Impression | Click):
            place = place_of(record.position)
            POSITION_IMPRESSIONS.labels(*labels, place).inc(counted.impressions)
            POSITION_CLICKS.labels(*labels, place).inc(counted.clicks)
            SPONSORED_REVENUE.labels(*labels).inc(counted.clicks * self._bids.get(record.item_id, 0) / 1e6)

    def _on_item(self, item: Item) -> None:
        """Keeps the bids of paid places; an item that is one no longer is forgotten."""
        if item.published_ts_ms > self._newest_ms:
            self._newest_ms = item.published_ts_ms
            CATALOGUE_NEWEST.set(self._newest_ms / 1_000)
        if item.sponsored is not None:
            self._bids[item.item_id] = item.sponsored.bid_micros
        else:
            self._bids.pop(item.item_id, None)

    def _on_slate(self, served: Served, labels: Labels) -> None:
        for seconds, of in self._sessions.take(served, labels):
            SESSION_SECONDS.labels(*of).observe(seconds)
        self._returns.take(served, labels)
        self._variety.setdefault(labels.surface, Variety()).take(served)
        self._ages.setdefault(labels.surface, Ages()).take(served)
        self._slates += 1
        if self._slates % LOOK == 0:
            self._look(served.ts_ms)

    def _look(self, now_ms: int) -> None:
        for surface, variety in self._variety.items():
            if (worth := variety.worth()) is not None:
                COVERAGE.labels(surface).set(worth.items)
                NOVELTY.labels(surface).set(worth.novelty_nats)
                DIVERSITY.labels(surface).set(worth.diversity_ratio)
        for surface, ages in self._ages.items():
            if (age_s := ages.median_s()) is not None:
                SHOWN_AGE.labels(surface).set(age_s)
        for labels in self._book.over(now_ms):
            _remove(labels)
        if now_ms - self._kept_ms >= KEEP_MS:
            self._kept_ms = now_ms
            self._tell_returns()
            self.keep()

    def _tell_returns(self) -> None:
        ratios = self._returns.ratios()
        for labels, ratio in ratios.items():
            NEXT_DAY_RETURN.labels(*labels).set(ratio)
        for labels in self._told - ratios.keys():
            NEXT_DAY_RETURN.remove(*labels)
        self._told = set(ratios)


def _remove(labels: Labels) -> None:
    """Takes the series of labels that are over from what is exported; where there are none, nothing."""
    for metric in (*BY_LABELS, SESSION_SECONDS):
        with contextlib.suppress(KeyError):
            metric.remove(*labels)
    for counter, place in product(BY_PLACE, PLACES):
        with contextlib.suppress(KeyError):
            counter.remove(*labels, place)
