"""Counters and gauges of quality and business, from served slates and what viewers did with them."""

from monitors.quality.business import Ages, Returns, Sessions, Variety
from monitors.quality.click_through import ClickThrough
from streams.events import Click, Event, Impression, Item, Record, Served
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
LOOK = 50  # slates between two looks at variety: it adds up all items


def place_of(position: int | None) -> str:
    """The label of a place.

    >>> place_of(0), place_of(20), place_of(None)
    ('0', 'lower', 'unknown')
    """
    if position is None:
        return "unknown"
    return str(position) if position < TOLD_PLACES else "lower"


class Meter:
    """Feeds the metrics. What is delivered twice counts once by request; places count as they are told."""

    def __init__(self) -> None:
        self._clicks, self._sessions, self._returns = ClickThrough(), Sessions(), Returns()
        self._variety, self._ages = dict[str, Variety](), dict[str, Ages]()  # by surface
        self._slates = self._newest_ms = 0
        self._bids: dict[str, int] = {}  # micros a click

    def take(self, record: Record) -> None:
        """Takes a slate or an event in; other records count nothing."""
        if isinstance(record, Served):
            counted = self._clicks.served(record)
            self._on_slate(record)
        elif isinstance(record, Event):
            counted = self._clicks.event(record)
        else:
            if isinstance(record, Item):
                self._on_item(record)
            return
        if counted is None:
            return
        labels = (counted.surface, counted.model, counted.variant)
        SLATE_IMPRESSIONS.labels(*labels).inc(counted.impressions)
        SLATE_CLICKS.labels(*labels).inc(counted.clicks)
        SLATE_WATCH.labels(*labels).inc(counted.watch_ms / 1_000)
        if counted.conversions:
            SLATE_CONVERSIONS.labels(*labels).inc(counted.conversions)
            SLATE_VALUE.labels(*labels).inc(max(counted.value_micros, 0) / 1e6)
        if isinstance(record, Impression | Click):
            place = place_of(record.position)
            POSITION_IMPRESSIONS.labels(counted.surface, place).inc(counted.impressions)
            POSITION_CLICKS.labels(counted.surface, place).inc(counted.clicks)
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

    def _on_slate(self, served: Served) -> None:
        labels = self._clicks.labels(served)
        for seconds, of in self._sessions.take(served, labels):
            SESSION_SECONDS.labels(*of).observe(seconds)
        self._returns.take(served, labels.variant)
        self._variety.setdefault(labels.surface, Variety()).take(served)
        self._ages.setdefault(labels.surface, Ages()).take(served)
        self._slates += 1
        if self._slates % LOOK == 0:
            self._look()

    def _look(self) -> None:
        for variant, ratio in self._returns.ratios().items():
            NEXT_DAY_RETURN.labels(variant).set(ratio)
        for surface, variety in self._variety.items():
            if (worth := variety.worth()) is not None:
                COVERAGE.labels(surface).set(worth.items)
                NOVELTY.labels(surface).set(worth.novelty_nats)
                DIVERSITY.labels(surface).set(worth.diversity_ratio)
        for surface, ages in self._ages.items():
            if (age_s := ages.median_s()) is not None:
                SHOWN_AGE.labels(surface).set(age_s)
