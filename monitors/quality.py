"""Click-through rate by request: clicks over impressions of slates that we served.

Counted once per request and item, whatever is delivered or sent twice, and by the model that served
the slate. The rate itself is computed where the counters are read.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from streams.events import Click, Event, Impression, Served

__all__ = ["NO_MODEL", "ClickThrough", "Counted"]

NO_MODEL = "none"
MAX_REQUESTS = 20_000  # remembered; what comes for older ones is not counted
MAX_SURFACES = 50  # clients name them; the rest share one name
MAX_VARIANTS = 50  # combinations of arms; the rest share one name too
OTHER = "other"
NO_VARIANT = "none"


class Counted(NamedTuple):
    """What became known: so many impressions and clicks on slates of a surface, a model and a variant.

    `variant` names the arm in every layer, as in `ranking=control,slate=diverse`.
    """

    surface: str
    model: str
    impressions: int
    clicks: int
    variant: str = NO_VARIANT


class _Request:
    """A request's facts, in whatever order they come; `model` is None until its slate is known."""

    __slots__ = ("clicked", "counted", "model", "seen", "surface", "variant")

    def __init__(self) -> None:
        self.model: str | None = None
        self.surface = ""
        self.variant = NO_VARIANT
        self.seen: set[str] = set()
        self.clicked: set[str] = set()
        self.counted = (0, 0)


class ClickThrough:
    """Joins served slates, impressions and clicks by request, in bounded memory.

    A click counts for an impressed item alone, so the rate never exceeds 1.
    """

    def __init__(self) -> None:
        self._requests: OrderedDict[str, _Request] = OrderedDict()
        self._surfaces: set[str] = set()
        self._variants: set[str] = set()

    def served(self, slate: Served) -> Counted | None:
        """Takes a slate in; returns what its feedback, if it was faster, now counts for."""
        request = self._request(slate.request_id)
        request.model = slate.model.ranker or NO_MODEL
        request.surface = _bounded(slate.surface, self._surfaces, MAX_SURFACES)
        request.variant = _bounded(_variant(slate.variants), self._variants, MAX_VARIANTS)
        return _news(request)

    def event(self, event: Event) -> Counted | None:
        """Takes an impression or a click in; other events, and those without a request, count nothing."""
        if event.request_id is None or not isinstance(event, Impression | Click):
            return None
        request = self._request(event.request_id)
        (request.seen if isinstance(event, Impression) else request.clicked).add(event.item_id)
        return _news(request)

    def _request(self, request_id: str) -> _Request:
        request = self._requests.setdefault(request_id, _Request())
        if len(self._requests) > MAX_REQUESTS:
            self._requests.popitem(last=False)
        return request


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


def _news(request: _Request) -> Counted | None:
    """What is to be counted now and was not before."""
    if request.model is None:
        return None
    now = (len(request.seen), len(request.seen & request.clicked))
    before, request.counted = request.counted, now
    if now == before:
        return None
    return Counted(request.surface, request.model, now[0] - before[0], now[1] - before[1], request.variant)
