"""From labelled rows to a sealed version: split by time, train, export, judge, refit the online half.

Reads no clock but to time its parts, opens nothing: rows in, a version out.
"""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from models.evaluate.curves import lines_svg
from models.evaluate.slices import slices
from models.learning.online import refit
from models.serving.ranker import Ranker
from models.training.gate import Newest, Verdict, judge
from models.training.rows import Rows
from models.versions.manifest import CURVE, GOLDEN, ONLINE, PICTURE, PROFILE, RANKER, Golden, Version
from models.versions.profile import Profile
from models.versions.registry import seal
from streams.events import DAY_MS, HEADS, Window

if TYPE_CHECKING:
    from models.training.towers import Epoch, Fitted, Tower

__all__ = [
    "HELD_OUT_RATIO",
    "Order",
    "adopt_version",
    "golden_of",
    "held_out_ms",
    "ignored_columns",
    "make_version",
]

HELD_OUT_RATIO = 0.15  # the newest slice of time, for the gate alone
REFIT_ROWS = 4_000  # the newest rows that the online half learns before it serves
GOLDEN_ROWS = 24
POPULARITY = "item_ctr_7d"
CYCLES_MS = {"hour": DAY_MS, "weekday": 7 * DAY_MS}


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a version is made for and under which names."""

    version: str
    created_ms: int
    columns: tuple[str, ...]
    columns_hash: str
    definitions: tuple[str, ...] = ()
    trigger_id: str | None = None
    parent: str | None = None
    seed: int = 0


def make_version(
    order: Order,
    rows: Rows,
    champion: Ranker | None = None,
    progress: Callable[["Epoch"], None] = lambda _: None,
) -> Version:
    """A version trained on `rows`; its manifest's `gate` says why it may not serve, if so.

    `champion` takes rows with the columns of `order`. The online half learns only rows that the
    ranker was not fitted on: logits of rows learned by heart would teach it to trust them too far.

    Raises:
        ValueError: too few rows, or a head with one class only.
        ModelRefused: the export does not score as JAX does.
    """
    _check_classes(rows)
    clock = _Clock()
    held_out = _held_out(rows.ts_ms)
    fitted = _train(order, rows.take(slice(0, held_out)), progress)
    clock.lap("import_and_train")
    ranker, files = _export(order, fitted, rows.features)
    clock.lap("export_and_load")
    verdict = _judge(order, rows, held_out, ranker, champion)
    clock.lap("judge")
    unseen = slice(max(fitted.fitted_rows, len(rows) - REFIT_ROWS), None)
    files[ONLINE] = _refitted(order, rows.take(unseen), ranker)
    clock.lap("refit")
    levels = {"item_category": rows.categories, "request_surface": rows.surfaces}
    scores = _scores(ranker, rows.features[unseen])
    files[PROFILE] = Profile.fit(order.columns, rows.features, levels, scores).to_json()
    files[CURVE] = msgspec.json.encode(fitted.curve)
    files[PICTURE] = _picture(order.version, fitted.curve)
    clock.lap("profile")
    metrics = {**verdict.metrics, "rows": float(len(rows)), "epochs": float(len(fitted.curve))}
    return _seal(order, rows, files, verdict.reasons, metrics, {**clock.laps, **fitted.seconds})


def adopt_version(order: Order, rows: Rows, graph: bytes, champion: Ranker | None = None) -> Version:
    """A version around a ranker that was made elsewhere: `features` [n, d] to `logits` [n, heads], as ONNX.

    It passes the same gate on the newest slice, which it must not have been fitted on (`held_out_ms`); its
    online half learns that slice alone.

    Raises:
        ValueError: too few rows, or a head with one class only.
        ModelRefused: a graph that cannot be served, naming why.
    """
    _check_classes(rows)
    held_out = _held_out(rows.ts_ms)
    x = golden_rows(rows.features, order.seed)
    files = {RANKER: graph, GOLDEN: golden_json(x, Ranker.first_scores(graph, x, len(HEADS)))}
    draft = _seal(order, None, files, (), {}, {})
    ranker = Ranker.load(draft.manifest, draft.files)
    verdict = _judge(order, rows, held_out, ranker, champion)
    unseen = slice(max(held_out, len(rows) - REFIT_ROWS), None)
    files[ONLINE] = _refitted(order, rows.take(unseen), ranker)
    scores = _scores(ranker, rows.features[unseen])
    files[PROFILE] = Profile.fit(order.columns, rows.features, scores=scores).to_json()
    metrics = {**verdict.metrics, "rows": float(len(rows))}
    return _seal(order, rows, files, verdict.reasons, metrics, {})


def held_out_ms(rows: Rows) -> int:
    """Event time from which on rows are the gate's: fit on what is older."""
    return int(rows.ts_ms[_held_out(rows.ts_ms)])


def ignored_columns(columns: Sequence[str], cyclic: Sequence[str], span_ms: int) -> np.ndarray:
    """Marks [d] of cyclic columns whose period fits less than twice into the rows' time.

    On one minute of rows the hour of day is all but constant, and standardised it would swing
    every score an hour later.
    """
    periods = {name: CYCLES_MS.get(name.partition("_")[0], 7 * DAY_MS) for name in cyclic}
    return np.array([span_ms < 2 * periods.get(name, 0) for name in columns], bool)


def golden_of(tower: "Tower", x: np.ndarray, seed: int) -> bytes:
    """Golden rows with JAX's logits."""
    golden = golden_rows(x, seed)
    return golden_json(golden, tower.score_many(golden))


def golden_rows(x: np.ndarray, seed: int) -> np.ndarray:
    """Rows [g, d] to check a ranker by: drawn from `x`, then missing, empty and extreme ones."""
    width = x.shape[1]
    drawn = np.random.default_rng(seed).integers(0, len(x), GOLDEN_ROWS)
    made = [np.full(width, value, np.float32) for value in (np.nan, 0.0, 1.0, -1.0, 1e9, -1e9, 3e38, -3e38)]
    half = np.where(np.arange(width) % 2, np.nan, x[drawn[0]]).astype(np.float32)
    golden = np.vstack([x[drawn], *made, half]).astype(np.float32)
    return np.where(np.isinf(golden), np.nan, golden)


def golden_json(golden: np.ndarray, logits: np.ndarray) -> bytes:
    """Golden rows and what they score, as a version's file."""
    features = tuple(tuple(None if np.isnan(v) else float(v) for v in row) for row in golden)
    return msgspec.json.encode(Golden(features, tuple(tuple(float(v) for v in row) for row in logits)))


def _picture(version: str, curve: "Sequence[Epoch]") -> bytes:
    """The learning curve as SVG."""
    lines = {
        "training": [epoch.train_loss for epoch in curve],
        "newest rows": [epoch.validation_loss for epoch in curve],
    }
    epochs = [str(epoch.epoch) for epoch in curve]
    return lines_svg(f"{version}: log loss by epoch, nats", epochs, lines).encode()


class _Clock:
    """Seconds of each part, by the monotonic clock."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._at = time.perf_counter()

    def lap(self, name: str) -> None:
        """Notes the seconds since the last lap under `name`."""
        now = time.perf_counter()
        self.laps[name], self._at = round(now - self._at, 3), now


def _check_classes(rows: Rows) -> None:
    for i, head in enumerate(HEADS):
        known = rows.labels[~np.isnan(rows.labels[:, i]), i]
        ones = int(known.sum())
        if not 10 <= ones <= len(known) - 10:
            raise ValueError(f"{head}: expected 10 labels of each class, got {ones} of {len(known)}")


def _held_out(ts_ms: np.ndarray) -> int:
    """The first row of the newest slice; rows of one moment (a slate) stay together."""
    start = len(ts_ms) - max(1, int(len(ts_ms) * HELD_OUT_RATIO))
    return int(np.searchsorted(ts_ms, ts_ms[start], side="left")) or start


def _train(order: Order, rows: Rows, progress: Callable[["Epoch"], None]) -> "Fitted":
    from models.training import towers  # here, so that a scorer or a test of the gate imports no JAX
    from streams.features import COLUMNS

    cyclic = [column.name for column in COLUMNS if column.cyclic]
    ignored = ignored_columns(order.columns, cyclic, int(rows.ts_ms[-1] - rows.ts_ms[0]))
    return towers.train(
        rows.features, rows.labels, rows.weights, order.seed, ignored=ignored, progress=progress
    )


def _export(order: Order, fitted: "Fitted", x: np.ndarray) -> tuple[Ranker, dict[str, bytes]]:
    from models.training import towers

    files = {
        RANKER: towers.to_onnx(fitted.tower),
        GOLDEN: golden_of(fitted.tower, x, order.seed),
    }
    draft = _seal(order, None, files, (), {}, {})
    return Ranker.load(draft.manifest, draft.files), files


def _refitted(order: Order, unseen: Rows, ranker: Ranker) -> bytes:
    """The online half that has learned `unseen` on the ranker's own logits."""
    logits = ranker.score_many(unseen.features)
    online = refit(
        order.version,
        order.columns,
        unseen.features,
        logits,
        unseen.buckets,
        unseen.labels,
        unseen.weights,
        unseen.ts_ms,
    )
    return online.snapshot()


def _scores(ranker: Ranker, x: np.ndarray) -> dict[str, np.ndarray]:
    """Logits [n] by head."""
    return dict(zip(ranker.heads, ranker.score_many(x).T, strict=True))


def _judge(order: Order, rows: Rows, held_out: int, ranker: Ranker, champion: Ranker | None) -> Verdict:
    newest, older = rows.take(slice(held_out, None)), rows.take(slice(0, held_out))
    popular = newest.features[:, order.columns.index(POPULARITY)] if POPULARITY in order.columns else None
    comparable = champion is not None and champion.heads == HEADS
    beaten = champion.score_many(newest.features) if champion and comparable else None
    logits = ranker.score_many(newest.features)
    base_rates = np.nanmean(older.labels, axis=0)
    return judge(HEADS, logits, newest.labels, base_rates, beaten, popular, _whose(rows, held_out))


def _whose(rows: Rows, held_out: int) -> Newest:
    """Users, pages and slices of the newest rows; a page is what one user got at one moment."""
    users = np.unique(np.array(rows.user_ids), return_inverse=True)[1]
    pages = np.unique(np.column_stack([users, rows.ts_ms]), axis=0, return_inverse=True)[1]
    parts = slices(rows.user_ids, rows.item_ids)
    cut = slice(held_out, None)
    return Newest(users[cut], pages.ravel()[cut], {name: mask[cut] for name, mask in parts.items()})


def _seal(
    order: Order,
    rows: Rows | None,
    files: dict[str, bytes],
    gate: tuple[str, ...],
    metrics: dict[str, float],
    seconds: dict[str, float],
) -> Version:
    n = 0 if rows is None else len(rows)
    first, last = (int(rows.ts_ms[0]), int(rows.ts_ms[-1])) if rows is not None else (0, 0)
    return seal(
        files,
        version=order.version,
        created_ms=order.created_ms,
        columns=order.columns,
        columns_hash=order.columns_hash,
        definitions=order.definitions,
        heads=HEADS,
        window=Window(from_ms=first, to_ms=last + 1, rows=n),
        rows=n,
        parent=order.parent,
        trigger_id=order.trigger_id,
        gate=gate,
        metrics=metrics,
        seconds=seconds,
    )
