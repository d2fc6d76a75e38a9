"""What users of each arm did, summed up by user.

Examples are the impressed places of slates with their labels. A higher revision of one takes the place
of a lower, a repeat changes nothing, and a label that is not known yet is no observation.
"""

from collections import defaultdict
from collections.abc import Iterator

import msgspec

from streams.events import Example, Feedback, RankReply

__all__ = ["GUARDS", "METRICS", "Arms", "Metric", "arms_of", "ratio"]


class Metric(msgspec.Struct, frozen=True):
    """A ratio, by the name of its sum and of what it is divided by; `better` says which way is good."""

    name: str
    hits: str
    trials: str
    better: int  # 1: more, -1: less
    said: str


METRICS = (
    Metric("ctr", "clicks", "impressions", 1, "clicks an impression"),
    Metric("watch_s", "watch_s", "watch_known", 1, "seconds watched an impression"),
    Metric("long_views", "long_views", "long_views_known", 1, "long views an impression"),
    Metric("conversion", "converts", "impressions", 1, "conversions an impression"),
)
GUARDS = (
    Metric("hides", "hides", "impressions", -1, "hides an impression"),
    Metric("categories", "categories", "places", 1, "categories a place of a slate"),
    Metric("latency_ms", "latency_ms", "replies", -1, "milliseconds a reply, of the last minutes"),
)


class _Seen(msgspec.Struct):
    """The newest revision of one example."""

    revision: int
    arm: tuple[str, str]  # experiment, arm
    user_id: str
    request_id: str
    category: str | None
    sums: dict[str, float]


class Arms:
    """Sums by experiment, arm and user."""

    def __init__(self) -> None:
        self._examples: dict[tuple[str, str], _Seen] = {}  # example, experiment
        self._converts: dict[str, str] = {}  # event -> request
        self._undone: set[str] = set()
        self._replies: dict[tuple[str, str, str], float] = {}  # request, experiment, arm -> ms
        self._users: dict[str, str] = {}  # of replies, by request

    def example(self, example: Example) -> None:
        """Takes an example in."""
        for experiment, arm in arms_of(example.variants):
            known = self._examples.get((example.example_id, experiment))
            if known is None or known.revision < example.revision:
                seen = _Seen(
                    example.revision,
                    (experiment, arm),
                    example.user_id,
                    example.request_id,
                    example.category,
                    _sums(example),
                )
                self._examples[example.example_id, experiment] = seen

    def feedback(self, event: Feedback) -> None:
        """Takes a conversion in, or what takes it back."""
        if event.action == "convert" and event.request_id is not None:
            self._converts[event.event_id] = event.request_id
        elif event.action == "undo" and event.undoes is not None:
            self._undone.add(event.undoes)

    def reply(self, reply: RankReply) -> None:
        """Takes the time of a reply in."""
        total = reply.timings_ms.get("total")
        if total is not None:
            self._users[reply.request_id] = reply.user_id
            for experiment, arm in arms_of(reply.variants):
                self._replies[reply.request_id, experiment, arm] = total

    def of(self, experiment: str) -> dict[str, dict[str, dict[str, float]]]:
        """Sums by arm, user and name."""
        found: dict[str, dict[str, dict[str, float]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(float))
        )
        requests: dict[str, tuple[str, str]] = {}
        categories: dict[str, set[str]] = defaultdict(set)
        for seen in self._examples.values():
            if seen.arm[0] != experiment:
                continue
            own = found[seen.arm[1]][seen.user_id]
            for name, value in seen.sums.items():
                own[name] += value
            requests[seen.request_id] = (seen.arm[1], seen.user_id)
            if seen.category is not None:
                categories[seen.request_id].add(seen.category)
        for request_id, several in categories.items():
            arm, user_id = requests[request_id]
            found[arm][user_id]["categories"] += len(several)
        for event_id, request_id in self._converts.items():
            if event_id not in self._undone and request_id in requests:
                arm, user_id = requests[request_id]
                found[arm][user_id]["converts"] += 1.0
        for (request_id, name, arm), ms in self._replies.items():
            if name == experiment:
                own = found[arm][self._users[request_id]]
                own["latency_ms"] += ms
                own["replies"] += 1.0
        return found


def ratio(text: str) -> Metric:
    """A metric of one's own, more of it being better: `watch_s/clicks`.

    Raises:
        ValueError: it is no ratio of two of the sums.
    """
    hits, slash, trials = text.partition("/")
    known = sorted({name for metric in (*METRICS, *GUARDS) for name in (metric.hits, metric.trials)})
    if not slash or hits not in known or trials not in known:
        raise ValueError(f"ratio: expected two of {', '.join(known)} as in watch_s/clicks, got {text!r}")
    return Metric(text, hits, trials, 1, f"{hits} over {trials}")


def arms_of(variants: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Experiment and arm of each layer.

    >>> list(arms_of({"ranking": "long/control"}))
    [('long', 'control')]
    """
    for value in variants.values():
        experiment, slash, arm = value.partition("/")
        if slash:
            yield experiment, arm


def _sums(example: Example) -> dict[str, float]:
    labels = example.labels
    sums = {"places": 1.0}
    if labels.click is not None:
        sums |= {"impressions": 1.0, "clicks": float(labels.click), "hides": float(labels.hide or False)}
    if labels.watch_ms is not None or labels.click is False:
        sums |= {"watch_known": 1.0, "watch_s": (labels.watch_ms or 0) / 1_000.0}
    if labels.long_view is not None:
        sums |= {"long_views_known": 1.0, "long_views": float(labels.long_view)}
    return sums
