"""An archive of generated examples with a rule in them, on the real columns."""

import numpy as np

from streams.archive.archive import Archive, Partition, Row
from streams.events import Example, Labels
from streams.features import COLUMN_NAMES, columns_hash
from tests.build import T0, make_example

A, B = COLUMN_NAMES.index("user_ctr_7d"), COLUMN_NAMES.index("item_ctr_7d")


def examples(count: int, *, start: int = 0, seed: int = 0) -> list[Example]:
    """Examples 10 ms apart whose clicks follow two columns; the newest tenth has its clicks alone."""
    random = np.random.default_rng(seed)
    x = np.exp(random.normal(size=(count, len(COLUMN_NAMES)))).astype(np.float32)
    chance = 1 / (1 + np.exp(-1.5 * np.log(x[:, A]) - np.log(x[:, B])))
    clicks = random.random(count) < chance
    views = random.random(count) < 0.2 + 0.6 * chance
    shares = np.where(clicks, random.random(count) ** (1.5 - chance), 0.0)
    return [
        make_example(
            example_id=f"e{start + i}",
            user_id=f"u{i % 50}",
            item_id=f"i{i % 200}",
            ts_ms=T0 + 10 * (start + i),
            columns=columns_hash(),
            features=tuple(x[i].tolist()),
            labels=_labels(bool(clicks[i]), bool(views[i]), float(shares[i]), closed=i < 0.9 * count),
        )
        for i in range(count)
    ]


def _labels(click: bool, view: bool, share: float, closed: bool) -> Labels:
    return Labels(
        click=click or (False if closed else None),
        long_view=view if closed else None,
        completion=share if closed else None,
    )


def write_archive(url: str, rows: list[Example], first: int = 0) -> None:
    """Writes examples as one flush of one partition, at offsets from `first` on."""
    source = Partition("examples", "epoch", 0)
    numbered = [Row(first + i, 0, row) for i, row in enumerate(rows)]
    Archive(url).write(source, numbered, first, first + len(rows) - 1)
