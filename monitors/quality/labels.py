"""What quality is told apart by, with a bound on how many series that makes. Pure."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from streams.events import DAY_MS, Served

__all__ = ["NO_MODEL", "NO_VARIANT", "OTHER", "Book", "Labels"]

NO_MODEL = "none"
NO_VARIANT = "none"
OTHER = "other"
MAX_SURFACES = 50  # clients name them; the rest share one name
MAX_VARIANTS = 50  # combinations of arms; the rest share one name too
MAX_LABELS = 200  # of a day, all three together; the rest share one


class Labels(NamedTuple):
    """Surface, model and variant of a slate; `variant` names the arm in every layer."""

    surface: str
    model: str
    variant: str


THE_REST = Labels(OTHER, OTHER, OTHER)


class Book:
    """The labels in use. Those that no slate had for a day are over: their series may go."""

    def __init__(self) -> None:
        self._surfaces: set[str] = set()
        self._variants: set[str] = set()
        self._seen: OrderedDict[Labels, int] = OrderedDict()  # when last, least recently first

    def of(self, slate: Served) -> Labels:
        """What a slate counts for."""
        labels = Labels(
            _bounded(slate.surface, self._surfaces, MAX_SURFACES),
            slate.model.ranker or NO_MODEL,
            _bounded(_variant(slate.variants), self._variants, MAX_VARIANTS),
        )
        if labels not in self._seen and len(self._seen) >= MAX_LABELS:
            return THE_REST
        self._seen[labels] = max(slate.ts_ms, self._seen.get(labels, 0))
        self._seen.move_to_end(labels)
        return labels

    def over(self, now_ms: int) -> list[Labels]:
        """Those that are over by now; they are forgotten with this call. `now_ms`: event time."""
        gone = [labels for labels, last_ms in self._seen.items() if last_ms < now_ms - DAY_MS]
        for labels in gone:
            del self._seen[labels]
        return gone


def _variant(arms: Mapping[str, str]) -> str:
    """Layers and arms in one label.

    >>> _variant({"slate": "diverse", "ranking": "control"}), _variant({})
    ('ranking=control,slate=diverse', 'none')
    """
    return ",".join(f"{layer}={arm}" for layer, arm in sorted(arms.items())) or NO_VARIANT


def _bounded(name: str, known: set[str], most: int) -> str:
    """The name itself while there are fewer than `most` of them, else the one that they share."""
    if len(known) < most:
        known.add(name)
    return name if name in known else OTHER
