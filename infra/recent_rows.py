"""The newest rows that a version served, as a judged window."""

import time
from collections import deque
from collections.abc import Iterator

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

# Messages of each partition that are read, the newest ones; more where they hold too few rows.
NEWEST = (1_000, 20_000, None)


def judged(settings: Settings, version: Version, rows: int) -> Evidence:
    """The newest `rows` rows of the version, judged by its reference; clusters counted.

    Raises:
        OperatorError: it served fewer.
        KafkaUnavailable: the broker does not answer.
    """
    frozen = freeze(version)
    for newest in NEWEST:
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


def _kept(slates: Iterator[Slate], rows: int) -> deque[Slate]:
    """The last of them that hold `rows` rows."""
    kept: deque[Slate] = deque()
    count = 0
    for slate in slates:
        kept.append(slate)
        count += len(slate[1])
        while count - len(kept[0][1]) >= rows:
            count -= len(kept.popleft()[1])
    return kept


def _evidence(version: Version, frozen: Frozen, kept: deque[Slate], count: int) -> Evidence:
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
