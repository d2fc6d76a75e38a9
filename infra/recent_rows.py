"""The newest rows that a version served, as a judged window."""

import time
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from models.versions.manifest import Version
from monitors.drift.columns import cluster_of
from monitors.drift.evidence import Evidence
from monitors.drift.frozen import Frozen, clusters_of, freeze, rows_of
from monitors.drift.judge import Size, Verdict, judge
from monitors.drift.windows import Clusters
from streams.codec import decode
from streams.errors import OperatorError
from streams.events import SERVED, Served, Window
from streams.kafka import read_all
from streams.settings import Settings

__all__ = ["judged"]

Slate = tuple[Served, NDArray[np.float32]]


def judged(settings: Settings, version: Version, rows: int) -> Evidence:
    """The newest `rows` rows of the version, judged by its reference; clusters counted.

    Raises:
        OperatorError: it served fewer.
        KafkaUnavailable: the broker does not answer.
    """
    frozen = freeze(version)
    # A slate has a row at the least, so that many messages of each partition hold the newest rows of all;
    # more are read where other versions served.
    for newest in (rows, 20 * rows, None):
        kept = _kept(_slates(settings, version.manifest.version, frozen, newest), rows)
        count = sum(len(values) for _, values in kept)
        if count >= rows:
            return _evidence(version, frozen, kept, count)
    raise OperatorError(f"drift: {version.manifest.version} served {count} rows, expected {rows} or more")


def _slates(settings: Settings, name: str, frozen: Frozen, newest: int | None) -> Iterator[Slate]:
    now_ms = time.time_ns() // 1_000_000
    for message in read_all(settings, SERVED, newest):
        for served in decode(SERVED, message.key, message.value, now_ms).records if message.value else ():
            if not isinstance(served, Served) or served.model.ranker != name:
                continue
            if served.slate and (values := rows_of(frozen, served)) is not None:
                yield served, values


def _kept(slates: Iterable[Slate], rows: int) -> list[Slate]:
    """The newest of them by event time that hold `rows` rows: partitions come in no order among them."""
    kept: list[Slate] = []
    count = 0
    for slate in slates:
        kept.append(slate)
        count += len(slate[1])
        if count > 4 * rows:
            kept = _newest(kept, rows)
            count = sum(len(values) for _, values in kept)
    return _newest(kept, rows)


def _newest(slates: list[Slate], rows: int) -> list[Slate]:
    kept: list[Slate] = []
    count = 0
    for slate in sorted(slates, key=lambda slate: slate[0].ts_ms, reverse=True):
        if count >= rows:
            break
        kept.append(slate)
        count += len(slate[1])
    return kept


def _evidence(version: Version, frozen: Frozen, kept: Sequence[Slate], count: int) -> Evidence:
    clusters = Clusters()
    for served, _ in kept:
        for kind, members in clusters_of(served).items():
            clusters.add(kind, members)
    columns = np.vstack([values for _, values in kept]).T.astype(np.float64)
    times = [served.ts_ms for served, _ in kept]
    worth = clusters.worth()
    verdicts: list[Verdict] = []
    for reference, values in zip(frozen.references, columns, strict=True):
        share = worth.get(cluster_of(reference.feature) or "", 1.0)
        size = Size(rows=count, min_rows=5_000, columns=len(columns), worth=share)
        verdicts += judge(reference, values, size)
    window = Window(from_ms=min(times), to_ms=max(times) + 1, rows=count)
    return Evidence(version.manifest.version, window, frozen.references, columns, tuple(verdicts))
