"""The learner's handler: resumes exactly, publishes weights, follows the champion."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from models.learning.learner import METRICS, SNAPSHOT, LearnerHandler, weights_name
from models.learning.online import OnlineModel
from models.learning.weights import Weights
from models.versions.manifest import ONLINE
from models.versions.registry import publish, seal
from streams.codec import Malformed, encode
from streams.events import EXAMPLES, HEADS, Example, Labels, ModelRecord, ServedBy, Window
from streams.features import COLUMN_NAMES, columns_hash
from streams.messages import Message, Source
from tests.build import T0, make_example, make_model
from tests.conftest import MakeSettings

SOURCE = Source(EXAMPLES.name, 0)


class Blobs(dict[str, tuple[str, bytes]]):
    """A store's blobs."""

    def get_blob(self, name: str) -> tuple[str, bytes] | None:
        return self.get(name)

    def put_blob(self, name: str, version: str, value: bytes) -> None:
        self[name] = (version, value)

    def blob_version(self, name: str) -> str | None:
        return self[name][0] if name in self else None


class Dead(list[Malformed]):
    """Dead letters."""

    def dead_letter(self, message: Message, malformed: Malformed) -> None:
        self.append(malformed)

    def flush(self, timeout_s: float = 10.0) -> None: ...


def example(n: int, ranker: str | None = None, **given: Any) -> Example:
    features = tuple(float((n * k) % 11) for k in range(len(COLUMN_NAMES)))
    base = {
        "example_id": f"r{n}:i",
        "item_id": f"i{n % 5}",
        "columns": columns_hash(),
        "features": features,
        "labels": Labels(click=n % 3 == 0, long_view=n % 4 == 0),
        "model": ServedBy(ranker=ranker),
        "logits": {"click": -1.0, "long_view": 0.0} if ranker else {},
        "adjusted": {"click": -1.0, "long_view": 0.0},
    }
    return make_example(**(base | given))


def log(examples: list[Example]) -> list[Message]:
    return [Message(*SOURCE, n, T0, b"u1", encode(e)) for n, e in enumerate(examples)]


Make = Callable[..., LearnerHandler]


@pytest.fixture
def make(make_settings: MakeSettings) -> Make:
    """Builds the handler of a new process."""

    def build(
        store: Blobs,
        champion: Callable[[], ModelRecord | None] = lambda: None,
        epoch: str = "e1",
        dead: Dead | None = None,
    ) -> LearnerHandler:
        wall = iter(range(0, 10**9, 400))
        return LearnerHandler(
            make_settings(),
            store,
            dead if dead is not None else Dead(),
            lambda topic: epoch,
            lambda: next(wall),
            champion,
        )

    return build


def test_a_killed_learner_goes_on_bit_for_bit(make: Make) -> None:
    messages = log([example(n) for n in range(200)])
    straight = Blobs()
    whole = make(straight)
    assert whole.assigned([SOURCE]) == {}
    whole.handle(messages)
    whole.close()
    store, read = Blobs(), 0
    for stop in (37, 90, 91, 160, 200):
        handler = make(store)
        start = handler.assigned([SOURCE]).get(SOURCE, 0)
        assert start <= read
        for n in range(start, stop, 7):
            handler.handle(messages[n : min(n + 7, stop)])
        read = stop  # killed here: no close
    handler.close()
    assert store[SNAPSHOT] == straight[SNAPSHOT]
    assert store[weights_name(None)] == straight[weights_name(None)]


def test_a_learner_that_slept_while_another_took_over_writes_no_more(make: Make) -> None:
    messages = log([example(n) for n in range(120)])
    straight = Blobs()
    whole = make(straight)
    whole.assigned([SOURCE])
    whole.handle(messages)
    whole.close()
    store = Blobs()
    asleep, awake = make(store), make(store)
    asleep.assigned([SOURCE])
    asleep.handle(messages[:40])
    awake.handle(messages[awake.assigned([SOURCE]).get(SOURCE, 0) : 100])
    before = dict(store)
    asleep.handle(messages[40:60])  # it wakes, and does not know yet
    asleep.close()
    assert dict(store) == before
    awake.handle(messages[100:])
    awake.close()
    assert store[SNAPSHOT] == straight[SNAPSHOT]
    assert store[weights_name(None)] == straight[weights_name(None)]
    assert store[METRICS] == straight[METRICS]


def test_weights_and_quality_are_published(make: Make) -> None:
    store = Blobs()
    handler = make(store)
    handler.assigned([SOURCE])
    assert Weights.from_bytes(store[weights_name(None)][1]).n_learned == 0
    handler.handle(log([example(n) for n in range(60)]))
    for _ in range(10):
        handler.tick()
    version, data = store[weights_name(None)]
    weights = Weights.from_bytes(data)
    assert (weights.version, weights.n_learned, weights.columns) == (version, 120, COLUMN_NAMES)
    report = msgspec.json.decode(store[METRICS][1])
    assert report["heads"]["click"]["learned"] == 60
    assert report["heads"]["click"]["recent"]["rows"] == 60
    assert set(report["heads"]["long_view"]["days"]) == {"2023-11-14", "all"}


def test_a_topic_created_anew_is_read_from_its_start_and_the_knowledge_stays(make: Make) -> None:
    store = Blobs()
    first = make(store)
    first.assigned([SOURCE])
    first.handle(log([example(n) for n in range(20)]))
    first.close()
    second = make(store, epoch="e2")
    assert second.assigned([SOURCE]) == {}
    second.handle(log([example(19), example(20)]))  # an outbox sent one again
    second.close()
    assert Weights.from_bytes(store[weights_name(None)][1]).n_learned == 42


def test_a_damaged_snapshot_is_refused_and_learning_begins_anew(make: Make) -> None:
    store = Blobs({SNAPSHOT: ("x", b"damaged")})
    handler = make(store)
    assert handler.assigned([SOURCE]) == {}
    handler.handle(log([example(1)]))


def test_a_learner_without_a_partition_stands_by_and_writes_nothing(make: Make) -> None:
    store = Blobs()
    active, standby = make(store), make(store)
    assert standby.assigned([]) == {}
    active.assigned([SOURCE])
    active.handle(log([example(n) for n in range(20)]))
    active.close()
    left = dict(store)
    standby.tick()
    standby.close()
    assert store == left
    taking_over = make(store)
    taking_over.assigned([])
    assert taking_over.assigned([SOURCE]) == {SOURCE: 20}


def test_malformed_examples_are_dead_lettered(make: Make) -> None:
    dead = Dead()
    handler = make(Blobs(), dead=dead)
    handler.assigned([SOURCE])
    handler.handle([Message(*SOURCE, 0, T0, b"u1", b"{"), Message(*SOURCE, 1, T0, b"u1", encode(example(1)))])
    assert [d.reason for d in dead] == ["streamrec.NotJson"]


def crowned(root: Path, version: str, ranker: str | None = None) -> ModelRecord:
    """A stored version whose online half already leans to clicks, and the record that crowns it."""
    online = OnlineModel(ranker or version, COLUMN_NAMES[:3])
    x = online.inputs([0.0] * len(HEADS), [1.0, 2.0, 3.0], online._seen[:0].astype("u4"))  # type: ignore[arg-type]
    online.learn_one("click", x, True)
    sealed = seal(
        {ONLINE: online.snapshot()},
        version=version,
        created_ms=T0,
        columns=COLUMN_NAMES[:3],
        columns_hash=columns_hash(),
        heads=HEADS,
        window=Window(from_ms=0, to_ms=1, rows=1),
        rows=1,
    )
    uri, sha256 = publish(str(root), sealed)
    return make_model(version=version, uri=uri, sha256=sha256)


def test_a_new_champion_brings_its_own_online_half(make: Make, tmp_path: Path) -> None:
    store, champion = Blobs(), [None]
    handler = make(store, champion=lambda: champion[0])
    handler.assigned([SOURCE])
    messages = log(
        [*(example(n) for n in range(10)), example(10, "v1"), example(11, None), example(12, "v1")]
    )
    handler.handle(messages[:10])
    champion[0] = crowned(tmp_path, "v1")
    handler.handle(messages[10:])
    handler.close()
    weights = Weights.from_bytes(store[weights_name("v1")][1])
    assert weights.ranker == "v1"
    assert weights.columns == COLUMN_NAMES[:3]
    assert weights.n_learned == 1 + 4
    resumed = make(store, champion=lambda: champion[0])
    assert resumed.assigned([SOURCE]) == {SOURCE: 13}
    resumed.close()
    assert Weights.from_bytes(store[weights_name("v1")][1]).n_learned == 5


def test_a_champion_without_a_fitting_online_half_changes_nothing(make: Make, tmp_path: Path) -> None:
    store = Blobs()
    foreign = crowned(tmp_path, "v2", ranker="other")
    gone = make_model(version="v3", uri="nowhere", sha256="0" * 64)
    champion: list[ModelRecord] = [foreign]
    handler = make(store, champion=lambda: champion[0])
    handler.assigned([SOURCE])
    messages = log([example(n) for n in range(6)])
    handler.handle(messages[:3])
    champion[0] = gone
    handler.handle(messages[3:])
    handler.close()
    assert Weights.from_bytes(store[weights_name(None)][1]).n_learned == 12
    assert weights_name("v2") not in store
    assert weights_name("v3") not in store
