"""From slates and feedback to weights and Parquet, on the embedded broker and a real Redis."""

import time
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from models.learning.learner import METRICS, weights_name
from models.learning.weights import Weights
from models.training.rows import read_rows
from streams.archive.archive import read_examples
from streams.events import EXAMPLES, HEADS, MAX_MS
from streams.features import COLUMN_NAMES
from streams.kafka import Offsets, Publisher
from streams.store.connect import connect
from tests.conftest import MakeSettings
from tests.roles import RoleProcess, blob
from tests.slates import LABEL_TOPICS, SlateSender, expected_labels
from tests.waiting import eventually


def test_slates_and_feedback_become_examples_weights_and_parquet(
    embedded_kafka: str, redis_url: str, make_settings: MakeSettings, tmp_path: Path
) -> None:
    settings = make_settings(
        kafka=embedded_kafka, redis=redis_url, label_window_ms=1_000, archive_flush_ms=300, publish_ms=100
    )
    store = connect(settings)
    with ExitStack() as stack:
        publisher = stack.enter_context(Publisher(settings))
        offsets = stack.enter_context(Offsets(settings))
        for role in ("labels", "learner", "archive"):
            stack.enter_context(RoleProcess(role, settings, tmp_path / f"{role}.log"))
        sender = SlateSender(publisher, seed=5)
        sender.send(20)
        publisher.flush()

        def learned() -> int:
            data = blob(store, weights_name(None))
            return Weights.from_bytes(data).n_learned if data else 0

        eventually(lambda: learned() > 0, 60, "the first clicks learned")
        before, began = learned(), time.monotonic()
        sender.send(20)
        publisher.flush()
        eventually(lambda: learned() > before, 20, "newer weights")
        seconds = time.monotonic() - began
        sender.finish(settings)

        def done(role: str) -> bool:
            at = store.progress(role)
            topics = LABEL_TOPICS if role == "labels" else (EXAMPLES,)
            ends = {(t.name, p): end for t in topics for p, end in offsets.end(t).items()}
            return all(at.get(source, 0) >= end for source, end in ends.items())  # type: ignore[call-overload]

        eventually(lambda: done("labels") and sum(offsets.end(EXAMPLES).values()) > 0, 60, "labels")
        eventually(lambda: done("learner") and done("archive"), 60, "examples taken in")
        expected = expected_labels(sender.sent)

        def archived() -> int:
            return sum(batch.num_rows for batch in read_examples(settings.archive_url, 0, MAX_MS))

        eventually(lambda: archived() == len(expected), 20, "the archive's flush")
        known = [getattr(labels, head) is not None for labels in expected.values() for head in HEADS]
        eventually(lambda: learned() == sum(known) > 2 * len(expected), 20, "all of it learned")
    print(f"\nclicks to new weights in {seconds:.2f} s")
    assert seconds < 2.0
    rows = read_rows(read_examples(settings.archive_url, 0, MAX_MS), len(COLUMN_NAMES))
    clicks = dict(zip(rows.example_ids, rows.labels[:, 0].tolist(), strict=True))
    assert clicks == {name: float(bool(known.click)) for name, known in expected.items()}
    shares = dict(zip(rows.example_ids, rows.labels[:, HEADS.index("completion")].tolist(), strict=True))
    assert shares == pytest.approx({name: told.completion for name, told in expected.items()})
    report = msgspec.json.decode(blob(store, METRICS))
    assert report["heads"]["click"]["learned"] == len(expected)
    assert store.progress("labels")
