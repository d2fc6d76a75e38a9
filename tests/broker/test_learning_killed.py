"""kill -9 of `labels`, `learner` and `archive` on a real Apache Kafka: nothing lost, nothing doubled."""

import random
import time
from pathlib import Path

import msgspec
import pytest

from models.learning.learner import SNAPSHOT
from models.learning.lessons import Lessons
from models.learning.online import OnlineModel
from streams.archive.archive import read_examples
from streams.codec import decode
from streams.events import EXAMPLES, MAX_MS, TOPICS, Example, Labels
from streams.features import COLUMN_NAMES, columns_hash
from streams.kafka import Offsets, Publisher, create_topics, epoch, read_all
from streams.settings import Settings
from streams.store.connect import connect
from tests.conftest import MakeSettings
from tests.roles import RoleProcess
from tests.slates import LABEL_TOPICS, SlateSender, expected_labels
from tests.waiting import eventually


def read_examples_topic(settings: Settings) -> list[Example]:
    messages = read_all(settings, EXAMPLES)
    return [e for m in messages for e in decode(TOPICS[EXAMPLES.name], m.key, m.value, 0).records]


def newest(examples: list[Example]) -> dict[str, Labels]:
    """Labels of the highest revision; a repeat of a revision is equal to its first sending."""
    found: dict[str, Example] = {}
    for example in examples:
        known = found.get(example.example_id)
        assert known is None or known.revision != example.revision or known == example
        if known is None or known.revision < example.revision:
            found[example.example_id] = example
    return {name: example.labels for name, example in found.items()}


@pytest.mark.timeout(280)
def test_a_kill_of_each_role_of_learning_changes_nothing(
    apache_kafka: str, redis_url: str, make_settings: MakeSettings, tmp_path: Path
) -> None:
    settings = make_settings(
        kafka=apache_kafka, redis=redis_url, label_window_ms=2_000, label_grace_ms=2 * 86_400_000,
        archive_flush_ms=500, idle_partition_ms=60_000,
    )  # fmt: skip
    create_topics(settings)
    store = connect(settings)
    with Offsets(settings) as offsets, Publisher(settings) as publisher:

        def waiting(role: str) -> int:
            topics = LABEL_TOPICS if role == "labels" else (EXAMPLES,)
            ends = {(t.name, p): end for t in topics for p, end in offsets.end(t).items()}
            at = store.progress(role)
            return sum(max(0, end - at.get(source, 0)) for source, end in ends.items())  # type: ignore[call-overload]

        def begun(role: str) -> RoleProcess:
            before = sum(store.progress(role).values())
            process = RoleProcess(role, settings, tmp_path / f"{role}.log")
            eventually(
                lambda: process.alive() and sum(store.progress(role).values()) > before, 60, f"{role} at work"
            )
            return process

        sender = SlateSender(publisher, seed=11)
        sender.start()
        in_flight = {}
        for role in ("labels", "learner", "archive"):
            doomed = begun(role)
            time.sleep(0.3 + random.Random(role).random())  # anywhere within its work
            doomed.kill()
            in_flight[role] = waiting(role)
            if role == "labels":
                survivor = begun(role)
        with survivor, begun("learner"), begun("archive"):
            sender.finish(settings)
            eventually(lambda: waiting("labels") == 0, 60, "labels done")
            eventually(lambda: waiting("learner") == waiting("archive") == 0, 60, "examples taken in")
    expected = expected_labels(sender.sent)
    examples = read_examples_topic(settings)
    repeats = len(examples) - len({(e.example_id, e.revision) for e in examples})
    print(
        f"\nkilled with {in_flight} in flight; {len(expected)} examples; {repeats} of {len(examples)} twice"
    )
    assert newest(examples) == expected

    uninterrupted = Lessons(OnlineModel(None, COLUMN_NAMES), COLUMN_NAMES, columns_hash())
    for example in examples:
        uninterrupted.apply(example)
    uninterrupted.positions[epoch(settings, EXAMPLES.name), 0] = len(examples)
    assert store.get_blob(SNAPSHOT) is not None
    assert store.get_blob(SNAPSHOT)[1] == uninterrupted.snapshot()

    rows = [row for batch in read_examples(settings.archive_url, 0, MAX_MS) for row in batch.to_pylist()]
    fields = msgspec.structs.fields(Labels)
    archived = {r["example_id"]: Labels(**{f.name: r[f"label_{f.name}"] for f in fields}) for r in rows}
    assert len(rows) == len(archived)
    assert archived == expected
