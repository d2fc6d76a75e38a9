"""Clicks, watch time and conversions by request, over impressions of slates that we served.

Counted once per request and item, whatever is delivered or sent twice, and by the model that served
the slate. The rate itself is computed where the counters are read.
"""

from collections import OrderedDict
from typing import NamedTuple

from monitors.quality.labels import NO_VARIANT, Labels
from streams.events import Click, Event, Feedback, Impression, Served, Watch

__all__ = ["ClickThrough", "Counted"]

MAX_REQUESTS = 20_000  # remembered; what comes for older ones is not counted


class Counted(NamedTuple):
    """What became known of slates of a surface, a model and a variant: impressions, clicks and so on."""

    surface: str
    model: str
    impressions: int
    clicks: int
    variant: str = NO_VARIANT
    watch_ms: int = 0
    conversions: int = 0
    value_micros: int = 0

    @property
    def labels(self) -> Labels:
        """What it counts for."""
        return Labels(self.surface, self.model, self.variant)


class _Request:
    """A request's facts, in whatever order they come; `model` is None until its slate is known."""

    __slots__ = ("clicked", "converted", "counted", "model", "seen", "surface", "variant", "watched")

    def __init__(self) -> None:
        self.model: str | None = None
        self.surface = ""
        self.variant = NO_VARIANT
        self.seen: set[str] = set()
        self.clicked: set[str] = set()
        self.watched: dict[str, int] = {}  # by item, the longest
        self.converted: dict[str, int] = {}  # by event, in micros
        self.counted = (0, 0, 0, 0, 0)


class ClickThrough:
    """Joins served slates, impressions and clicks by request, in bounded memory.

    A click counts for an impressed item alone, so the rate never exceeds 1.
    """

    def __init__(self) -> None:
        self._requests: OrderedDict[str, _Request] = OrderedDict()

    def served(self, slate: Served, labels: Labels) -> Counted | None:
        """Takes a slate in; returns what its feedback, if it was faster, now counts for."""
        request = self._request(slate.request_id)
        request.surface, request.model, request.variant = labels
        return _news(request)

    def event(self, event: Event) -> Counted | None:
        """Takes an event in; those without a request, and feedback but conversions, count nothing.

        Of one item watched several times the longest counts, and a conversion once by its id.
        """
        if event.request_id is None or not isinstance(event, Impression | Click | Watch | Feedback):
            return None
        if isinstance(event, Feedback) and event.action != "convert":
            return None
        request = self._request(event.request_id)
        if isinstance(event, Feedback):
            request.converted[event.event_id] = event.value_micros or 0
        elif isinstance(event, Watch):
            longest = max(event.watch_ms, request.watched.get(event.item_id, 0))
            request.watched[event.item_id] = longest
        else:
            (request.seen if isinstance(event, Impression) else request.clicked).add(event.item_id)
        return _news(request)

    def _request(self, request_id: str) -> _Request:
        request = self._requests.setdefault(request_id, _Request())
        if len(self._requests) > MAX_REQUESTS:
            self._requests.popitem(last=False)
        return request


def _news(request: _Request) -> Counted | None:
    """What is to be counted now and was not before."""
    if request.model is None:
        return None
    now = (
        len(request.seen),
        len(request.seen & request.clicked),
        sum(ms for item, ms in request.watched.items() if item in request.seen),
        len(request.converted),
        sum(request.converted.values()),
    )
    before, request.counted = request.counted, now
    if now == before:
        return None
    seen, clicked, watch_ms, conversions, micros = (b - a for a, b in zip(before, now, strict=True))
    return Counted(
        request.surface, request.model, seen, clicked, request.variant, watch_ms, conversions, micros
    )
