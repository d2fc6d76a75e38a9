"""Scores against outcomes while a log goes by: the system's beside popularity's, both told beforehand."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import msgspec
import numpy as np

from infra.formats.log import Entry
from models.evaluate import roc_auc
from streams.codec import decode
from streams.events import MAX_MS, TOPICS, Click, Impression, RankReply, Watch
from streams.labels.labels import LONG_VIEW_MS

__all__ = ["Auc", "DayAuc", "Outcome", "Popularity", "Tally", "outcomes"]

PRIOR_IMPRESSIONS = 10.0  # how many an item's rate is held to the rate of all items by

Key = tuple[str, str]  # request and item


class Outcome(msgspec.Struct, frozen=True):
    """What became of one impression, by the log."""

    ts_ms: int
    click: bool
    long_view: bool


def outcomes(entries: Iterable[Entry]) -> dict[Key, Outcome]:
    """Outcome of every impression that names its request; what does not decode is left out."""
    shown: dict[Key, int] = {}
    clicked: set[Key] = set()
    viewed: set[Key] = set()
    for entry in entries:
        for record in decode(TOPICS[entry.topic], entry.key, entry.value, MAX_MS).records:
            key = (record.request_id or "", getattr(record, "item_id", None) or "")
            if isinstance(record, Impression) and key[0]:
                shown[key] = record.ts_ms
            elif isinstance(record, Click):
                clicked.add(key)
            elif isinstance(record, Watch) and _is_long(record):
                viewed.add(key)
    return {key: Outcome(ts_ms, key in clicked, key in viewed) for key, ts_ms in shown.items()}


def _is_long(watch: Watch) -> bool:
    """The log's own label, or the labels' definition of a long view."""
    if watch.long_view is not None:
        return watch.long_view
    return watch.watch_ms >= min(watch.duration_ms or LONG_VIEW_MS, LONG_VIEW_MS)


class Popularity:
    """The baseline: an item's smoothed rate of clicks, or of long views, over its impressions so far.

    >>> popularity = Popularity()
    >>> popularity.add("a", Outcome(0, True, False))
    >>> popularity.score("a")[0] > popularity.score("b")[0]
    True
    """

    def __init__(self) -> None:
        self._shown: Counter[str] = Counter()
        self._good: tuple[Counter[str], Counter[str]] = (Counter(), Counter())

    def add(self, item_id: str, outcome: Outcome) -> None:
        """Counts one impression."""
        self._shown[item_id] += 1
        for counter, yes in zip(self._good, (outcome.click, outcome.long_view), strict=True):
            counter[item_id] += yes

    def score(self, item_id: str) -> tuple[float, float]:
        """Rates of clicks and of long views; an item never shown has the rate of all of them."""
        shown, everything = self._shown[item_id], self._shown.total()
        rates = []
        for counter in self._good:
            mean = (counter.total() + 1) / (everything + 2)
            rates.append((counter[item_id] + PRIOR_IMPRESSIONS * mean) / (shown + PRIOR_IMPRESSIONS))
        return rates[0], rates[1]


class Auc(msgspec.Struct, frozen=True):
    """ROC AUC of the system's scores and of popularity's on the same rows; None with one class alone."""

    system: float | None
    popularity: float | None


class DayAuc(msgspec.Struct, frozen=True):
    """One UTC day of the log (`all` for the whole of it)."""

    day: str
    rows: int
    click: Auc
    long_view: Auc


class _Told(msgspec.Struct, frozen=True):
    score: float
    popularity: tuple[float, float]


class _Row(msgspec.Struct, frozen=True):
    outcome: Outcome
    told: _Told


class Tally:
    """Joins what was told before with what happened after. `unranked` counts impressions without a score."""

    def __init__(self) -> None:
        self._popularity = Popularity()
        self._told: dict[Key, _Told] = {}
        self._rows: defaultdict[str, list[_Row]] = defaultdict(list)
        self.unranked = 0

    def replied(self, reply: RankReply) -> None:
        """Keeps the scores of a slate and, as of now, popularity's scores of the same items."""
        for item in reply.items:
            popularity = self._popularity.score(item.item_id)
            self._told[reply.request_id, item.item_id] = _Told(item.score, popularity)

    def happened(self, entries: Iterable[Entry]) -> None:
        """Takes what a log says of slates that were answered before; then popularity learns of it."""
        found = outcomes(entries)
        for key, outcome in found.items():
            told = self._told.pop(key, None)
            if told is None:
                self.unranked += 1
            else:
                day = datetime.fromtimestamp(outcome.ts_ms / 1_000, UTC).date().isoformat()
                self._rows[day].append(_Row(outcome, told))
        for (_, item_id), outcome in found.items():
            self._popularity.add(item_id, outcome)

    def days(self) -> tuple[DayAuc, ...]:
        """Figures by day in order, the whole log last; empty when nothing was scored."""
        if not self._rows:
            return ()
        by_day = [_figures(day, rows) for day, rows in sorted(self._rows.items())]
        return (*by_day, _figures("all", [row for rows in self._rows.values() for row in rows]))


def _figures(day: str, rows: list[_Row]) -> DayAuc:
    score = np.array([row.told.score for row in rows])
    labels: Mapping[str, list[bool]] = {
        "click": [row.outcome.click for row in rows],
        "long_view": [row.outcome.long_view for row in rows],
    }
    auc = {
        head: Auc(
            _rounded(roc_auc(np.array(label), score)),
            _rounded(roc_auc(np.array(label), np.array([row.told.popularity[h] for row in rows]))),
        )
        for h, (head, label) in enumerate(labels.items())
    }
    return DayAuc(day, len(rows), auc["click"], auc["long_view"])


def _rounded(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else round(float(value), 4)
