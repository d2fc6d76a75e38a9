"""Made-up slates with feedback, and the labels they must end with whatever happens on the way."""

import random
import threading
from typing import Any

from streams.events import (
    CLICKS,
    EVENT_TOPICS,
    FEEDBACK,
    IMPRESSIONS,
    SERVED,
    WATCHES,
    WATERMARK_MS,
    Labels,
    Record,
    Topic,
)
from streams.features import COLUMN_NAMES, columns_hash
from streams.kafka import Offsets, Publisher
from streams.labels import labels
from streams.settings import Settings
from tests.build import (
    T0,
    make_click,
    make_feedback,
    make_impression,
    make_served,
    make_served_item,
    make_watch,
)

LABEL_TOPICS = (*EVENT_TOPICS, SERVED)


def made_request(rng: random.Random, n: int) -> list[tuple[Topic, Any]]:
    """Slate `n` and its feedback, in an order that the topics might show."""
    user, ts = f"u{n % 40}", T0 + n * 50
    items = rng.sample(range(60), rng.randint(1, 5))
    own: list[tuple[Topic, Any]] = []
    for item in items:
        common = {"request_id": f"r{n}", "user_id": user, "item_id": f"i{item}", "ts_ms": ts + 20}
        likes = (item + n) % 7 / 10
        if rng.random() < 0.9:
            own.append((IMPRESSIONS, make_impression(**common)))
        if rng.random() < likes:
            own.append((CLICKS, make_click(**common)))
            watch_ms = rng.randint(0, 30_000)
            own.append((WATCHES, make_watch(**common, watch_ms=watch_ms, duration_ms=20_000)))
        if rng.random() < 0.05:
            like = make_feedback(**common)
            own.append((FEEDBACK, like))
            if rng.random() < 0.5:
                undo = make_feedback(**common | {"item_id": None}, action="undo", undoes=like.event_id)
                own.append((FEEDBACK, undo))
    features = tuple(round(rng.random(), 3) for _ in COLUMN_NAMES)
    places = tuple(
        make_served_item(item_id=f"i{i}", position=k, features=features, logits={}, category=f"c{i % 5}")
        for k, i in enumerate(items)
    )
    served = make_served(request_id=f"r{n}", user_id=user, ts_ms=ts, slate=places, columns=columns_hash())
    own.insert(rng.choice((0, 0, 0, len(own))), (SERVED, served))
    return own


def expected_labels(sent: list[tuple[Topic, Record]]) -> dict[str, Labels]:
    """The labels of each example once every window has closed."""
    states: dict[str, labels.RequestState] = {}
    for _, record in sent:
        request_id = record.request_id  # type: ignore[attr-defined]
        states[request_id] = labels.join(states.get(request_id), request_id, record).state  # type: ignore[arg-type]
    return {
        labels.example_id(request_id, item): after
        for request_id, state in states.items()
        for item, (_, after) in labels.close(state).state.sent.items()
    }


class SlateSender(threading.Thread):
    """Sends slates and feedback at a steady pace until `halt` is set."""

    def __init__(self, publisher: Publisher, seed: int) -> None:
        super().__init__(daemon=True)
        self.halt = threading.Event()
        self.sent: list[tuple[Topic, Record]] = []
        self._publisher, self._random, self._n = publisher, random.Random(seed), 0

    def run(self) -> None:
        while not self.halt.wait(0.05):
            self.send(2)

    def send(self, requests: int) -> None:
        """Sends so many requests now; some events twice."""
        for _ in range(requests):
            for topic, record in made_request(self._random, self._n):
                for _ in range(2 if self._random.random() < 0.05 else 1):
                    self._publisher.send(topic, record)
                    self.sent.append((topic, record))
            self._n += 1

    def finish(self, settings: Settings) -> None:
        """Says on every partition that nothing older follows than a day after the last."""
        self.halt.set()
        if self.is_alive():
            self.join()
        headers = [(WATERMARK_MS, str(T0 + self._n * 50 + 86_400_000).encode())]
        self._publisher.flush()
        with Offsets(settings) as offsets:
            for topic in LABEL_TOPICS:
                for partition in offsets.end(topic):
                    self._publisher.send_raw(topic.name, None, b"", headers, partition)
        self._publisher.flush()
