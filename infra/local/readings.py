"""The numbers of the live table, from the roles' own metrics over a short window."""

from collections import deque
from collections.abc import Mapping

import msgspec

from infra.local.scrape import Sums, quantile_ms

__all__ = ["Drift", "Look", "Numbers", "Readings", "ctr"]

RATE_S = 5.0  # rates are over so many seconds
RATIO_S = 30.0  # quantiles and CTR need more


class Look(msgspec.Struct, frozen=True):
    """Sums since the start at one moment; `latency` is a cumulated histogram in seconds.

    `shown` and `clicked` are of slates that were served, `impressions` and `clicks` all that clients sent,
    bots and others without a slate among them.
    """

    at_s: float
    events: float
    requests: float
    errors: float
    shown: float
    clicked: float
    impressions: float
    clicks: float
    latency: Mapping[float, float]


class Drift(msgspec.Struct, frozen=True):
    """What the monitor says of columns that may ask: which moved most, which are raised, how often asked."""

    worst: tuple[str, float] | None = None  # its PSI; None before the first window was judged
    raised: tuple[str, ...] = ()
    asked: int = 0


class Numbers(msgspec.Struct, frozen=True):
    """One line of the live table; None where nothing is known yet."""

    events_per_s: float = 0.0
    requests_per_s: float = 0.0
    errors: float = 0.0  # share of these
    p50_ms: float | None = None
    p99_ms: float | None = None
    ctr: float | None = None
    auc: float | None = None
    lag: int = 0
    model: str | None = None
    drift: Drift = Drift()


def look(sums: Sums, at_s: float) -> Look:
    """Reads the sums that the windows are made of."""
    events = "streamrec_events_total"
    replies = sums.total("streamrec_traffic_replies_total")
    return Look(
        at_s,
        events=sums.total(events),
        requests=replies or sums.total("streamrec_requests_total"),
        errors=replies - sums.total("streamrec_traffic_replies_total", outcome="ok"),
        shown=sums.total("streamrec_slate_impressions_total"),
        clicked=sums.total("streamrec_slate_clicks_total"),
        impressions=sums.total(events, topic="events.impressions", outcome="applied"),
        clicks=sums.total(events, topic="events.clicks", outcome="applied"),
        latency=sums.buckets("streamrec_traffic_seconds"),
    )


def ctr(now: Look, then: Look | None = None) -> float | None:
    """Clicks over impressions of served slates since then; of all events where there were no slates."""
    for seen, opened in (("shown", "clicked"), ("impressions", "clicks")):
        shown, clicked = (getattr(now, n) - (getattr(then, n) if then else 0.0) for n in (seen, opened))
        if shown > 0:
            return float(clicked / shown)
    return None


def auc(sums: Sums) -> float | None:
    """The learner's prequential AUC of clicks, once it has one."""
    values = [
        value
        for series in sums.gauges("streamrec_online_auc_ratio").values()
        for (_, labels), value in series.items()
        if dict(labels).get("head") == "click" and value == value and value > 0
    ]
    return round(values[0], 4) if values else None


def lag(sums: Sums) -> int:
    """Messages that the role furthest behind has still to handle."""
    return int(max((sum(s.values()) for s in sums.gauges("streamrec_lag_records").values()), default=0))


def model(sums: Sums) -> str | None:
    """The ranker's version that the scorer uses."""
    for series in sums.gauges("streamrec_model_info").values():
        for (_, labels), value in series.items():
            version = dict(labels).get("ranker") or dict(labels).get("version")
            if value and version and version != "none":
                return version
    return None


def drift(sums: Sums) -> Drift:
    """What the monitor says of the champion's last window, and the retrainings that it asked for."""
    may_ask = sums.by("streamrec_drift_raised", "feature")
    psi = {
        dict(labels)["feature"]: value
        for series in sums.gauges("streamrec_drift_score").values()
        for (_, labels), value in series.items()
        if dict(labels).get("method") == "psi"
    }
    worst = max(((psi.get(name, 0.0), name) for name in may_ask), default=None)
    return Drift(
        worst=None if worst is None else (worst[1], worst[0]),
        raised=tuple(sorted(name for name, value in may_ask.items() if value)),
        asked=int(sums.total("streamrec_retrain_triggers_total")),
    )


class Readings:
    """Keeps the looks of the last half minute and compares the newest with the oldest."""

    def __init__(self) -> None:
        self.max_lag = 0
        self._looks: deque[Look] = deque()

    def read(self, sums: Sums, now_s: float) -> Numbers:
        """The numbers as of now."""
        now = look(sums, now_s)
        self._looks.append(now)
        while len(self._looks) > 2 and now_s - self._looks[1].at_s >= RATIO_S:
            self._looks.popleft()
        waiting = lag(sums)
        self.max_lag = max(self.max_lag, waiting)
        return msgspec.structs.replace(
            self._compare(now), auc=auc(sums), lag=waiting, model=model(sums), drift=drift(sums)
        )

    def _compare(self, now: Look) -> Numbers:
        old = self._looks[0]
        recent = next((then for then in self._looks if now.at_s - then.at_s <= RATE_S), old)
        span_s, asked = now.at_s - recent.at_s, now.requests - recent.requests
        return Numbers(
            events_per_s=(now.events - recent.events) / span_s if span_s > 0 else 0.0,
            requests_per_s=asked / span_s if span_s > 0 else 0.0,
            p50_ms=quantile_ms(0.50, now.latency, old.latency),
            p99_ms=quantile_ms(0.99, now.latency, old.latency),
            ctr=ctr(now, old),
            errors=(now.errors - recent.errors) / asked if asked > 0 else 0.0,
        )
