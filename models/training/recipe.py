"""From labelled rows to a sealed version: split by time, train, export, judge, refit the online half.

Reads no clock but to time its parts, opens nothing: rows in, a version out.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from models.evaluate.curves import lines_svg
from models.evaluate.slices import slices
from models.learning.online import refit
from models.serving.ranker import Ranker, golden_arrays
from models.training.checkpoints import Epoch, Keeper
from models.training.gate import Newest, Verdict, judge
from models.training.int8 import KEPT_OVERLAP, quantised, top_overlap
from models.training.source import Source, ranges
from models.training.training_set import TrainingSet
from models.versions.manifest import (
    CURVE,
    GOLDEN,
    GOLDEN_INT8,
    INT8,
    ONLINE,
    PICTURE,
    PROFILE,
    RANKER,
    Golden,
    Version,
)
from models.versions.profile import LevelProfile, Profile
from models.versions.registry import seal
from streams.errors import ModelRefused
from streams.events import DAY_MS, HEADS, SHARES, Window

if TYPE_CHECKING:
    from models.training.towers import Config, Fitted, Tower

__all__ = [
    "HELD_OUT_RATIO",
    "HELD_OUT_ROWS",
    "Order",
    "adopt_version",
    "fit_rows",
    "golden_of",
    "ignored_columns",
    "make_version",
]

log = logging.getLogger(__name__)

HELD_OUT_RATIO, HELD_OUT_ROWS = 0.15, 50_000  # the newest slice of time, at the most, for the gate alone
PROFILE_ROWS, PROFILE_BLOCK = 100_000, 64  # of a larger window: so many rows, neighbours at a time
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
    online: str = "ftrl"  # the kind of the online half
    objectives: tuple[float, ...] = ()  # what each head's loss counts in training; none: alike


def make_version(
    order: Order,
    data: TrainingSet,
    champion: Ranker | None = None,
    progress: Callable[[Epoch], None] = lambda _: None,
    config: "Config | None" = None,
    checkpoint: Keeper | None = None,
) -> Version:
    """A version trained on `data`; its manifest's `gate` says why it may not serve, if so.

    `champion` takes rows with the columns of `order`. The online half learns only rows that the
    ranker was not fitted on: logits of rows learned by heart would teach it to trust them too far. A training
    that was cut off goes on from its `checkpoint`.

    Raises:
        ValueError: too few rows, or a head with one class only.
        ModelRefused: the export does not score as JAX does.
    """
    _check_classes(data)
    clock = _Clock()
    fitted = _train(order, data, progress, config, checkpoint)
    clock.lap("import_and_train")
    ranker, files = _export(order, fitted, data.source)
    clock.lap("export_and_load")
    verdict = _judge(order, data, ranker, champion)
    clock.lap("judge")
    overlap = _add_int8(order, data, ranker, files)
    clock.lap("int8")
    files[ONLINE] = _refitted(order, data, fitted.fitted_rows, ranker)
    clock.lap("refit")
    files[PROFILE] = _profile(order, data, ranker)
    files[CURVE] = msgspec.json.encode(fitted.curve)
    files[PICTURE] = _picture(order.version, fitted.curve)
    clock.lap("profile")
    metrics = {**verdict.metrics, **overlap, "rows": float(len(data)), "epochs": float(len(fitted.curve))}
    return _seal(order, data, files, verdict.reasons, metrics, {**clock.laps, **fitted.seconds})


def adopt_version(order: Order, data: TrainingSet, graph: bytes, champion: Ranker | None = None) -> Version:
    """A version around a ranker that was made elsewhere: `features` [n, d] to `logits` [n, heads], as ONNX.

    One with fewer logits has the first of HEADS; the online half learns the others alone. It passes the same
    gate on the newest slice, which it must not have been fitted on (`fit_rows`); its online half learns that
    slice alone.

    Raises:
        ValueError: too few rows, or a head with one class only.
        ModelRefused: a graph that cannot be served, naming why.
    """
    _check_classes(data)
    x = golden_rows(data.source, order.seed)
    told = Ranker.first_scores(graph, x, range(1, len(HEADS) + 1))
    files, heads = {RANKER: graph, GOLDEN: golden_json(x, told)}, HEADS[: told.shape[1]]
    draft = _seal(order, None, files, (), {}, {}, heads)
    ranker = Ranker.load(draft.manifest, draft.files)
    verdict = _judge(order, data, ranker, champion)
    files[ONLINE] = _refitted(order, data, fit_rows(data), ranker)
    files[PROFILE] = _profile(order, data, ranker)
    metrics = {**verdict.metrics, "rows": float(len(data))}
    return _seal(order, data, files, verdict.reasons, metrics, {}, heads)


def fit_rows(data: TrainingSet) -> int:
    """How many rows, the oldest, may be fitted on: the rest is the gate's."""
    return data.older + _held_out(data)


def ignored_columns(columns: Sequence[str], cyclic: Sequence[str], span_ms: int) -> np.ndarray:
    """Marks [d] of cyclic columns whose period fits less than twice into the rows' time.

    On one minute of rows the hour of day is all but constant, and standardised it would swing
    every score an hour later.
    """
    periods = {name: CYCLES_MS.get(name.partition("_")[0], 7 * DAY_MS) for name in cyclic}
    return np.array([span_ms < 2 * periods.get(name, 0) for name in columns], bool)


def golden_of(tower: "Tower", source: Source, seed: int) -> bytes:
    """Golden rows with JAX's logits."""
    golden = golden_rows(source, seed)
    return golden_json(golden, tower.score_many(golden))


def golden_rows(source: Source, seed: int) -> np.ndarray:
    """Rows [g, d] to check a ranker by: drawn from `source`, then missing, empty and extreme ones."""
    rows, width, _ = source.shape
    places = np.random.default_rng(seed).integers(0, rows, GOLDEN_ROWS).tolist()
    drawn = np.vstack([source.read(place, place + 1).x for place in places])
    made = [np.full(width, value, np.float32) for value in (np.nan, 0.0, 1.0, -1.0, 1e9, -1e9, 3e38, -3e38)]
    half = np.where(np.arange(width) % 2, np.nan, drawn[0]).astype(np.float32)
    golden = np.vstack([drawn, *made, half]).astype(np.float32)
    return np.where(np.isinf(golden), np.nan, golden)


def golden_json(golden: np.ndarray, logits: np.ndarray) -> bytes:
    """Golden rows and what they score, as a version's file."""
    features = tuple(tuple(None if np.isnan(v) else float(v) for v in row) for row in golden)
    return msgspec.json.encode(Golden(features, tuple(tuple(float(v) for v in row) for row in logits)))


def _picture(version: str, curve: Sequence[Epoch]) -> bytes:
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


def _check_classes(data: TrainingSet) -> None:
    ones, known = _labels(data, len(data))
    for head, one, of in zip(HEADS, ones.tolist(), known.tolist(), strict=True):
        if head not in SHARES and not 10 <= one <= of - 10:
            raise ValueError(f"{head}: expected 10 labels of each class, got {int(one)} of {int(of)}")


def _labels(data: TrainingSet, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums and numbers of the known labels [heads] of the first `stop` rows."""
    ones, known = np.zeros(len(HEADS)), np.zeros(len(HEADS))
    for each in ranges(0, stop):
        labels, _ = data.source.told(*each)
        ones += np.nansum(labels, axis=0)
        known += (~np.isnan(labels)).sum(axis=0)
    return ones, known


def _held_out(data: TrainingSet) -> int:
    """The first of the newest rows that is the gate's; rows of one moment (a slate) stay together."""
    ts_ms = data.newest.ts_ms
    start = len(ts_ms) - min(HELD_OUT_ROWS, max(1, int(len(data) * HELD_OUT_RATIO)))
    return int(np.searchsorted(ts_ms, ts_ms[start], side="left")) or start


def _train(
    order: Order,
    data: TrainingSet,
    progress: Callable[[Epoch], None],
    config: "Config | None",
    checkpoint: Keeper | None,
) -> "Fitted":
    from models.training import towers  # here, so that a scorer or a test of the gate imports no JAX
    from streams.features import COLUMNS

    cyclic = [column.name for column in COLUMNS if column.cyclic]
    stop = fit_rows(data)
    span_ms = int(data.newest.ts_ms[_held_out(data)]) - data.from_ms
    ignored = ignored_columns(order.columns, cyclic, span_ms)
    if order.objectives:
        config = msgspec.structs.replace(config or towers.Config(), objectives=order.objectives)
    return towers.train_on(
        data.source,
        stop,
        order.seed,
        config=config,
        ignored=ignored,
        may_be_flat=[HEADS.index(head) for head in SHARES],  # a log may not know how long its items are
        progress=progress,
        checkpoint=checkpoint,
    )


def _export(order: Order, fitted: "Fitted", source: Source) -> tuple[Ranker, dict[str, bytes]]:
    from models.training import towers

    files = {
        RANKER: towers.to_onnx(fitted.tower),
        GOLDEN: golden_of(fitted.tower, source, order.seed),
    }
    draft = _seal(order, None, files, (), {}, {})
    return Ranker.load(draft.manifest, draft.files), files


def _add_int8(order: Order, data: TrainingSet, ranker: Ranker, files: dict[str, bytes]) -> dict[str, float]:
    """Adds the ranker in 8 bits to the files where it ranks the held-out rows alike; says how far it does."""
    held_out = data.newest.features[_held_out(data) :]
    golden, _ = golden_arrays(files[GOLDEN], len(order.columns), len(HEADS))
    try:
        graph = quantised(files[RANKER])
        draft = {
            INT8: graph,
            GOLDEN_INT8: golden_json(golden, Ranker.first_scores(graph, golden, (len(HEADS),))),
        }
        rough = Ranker.load(_seal(order, None, draft, (), {}, {}).manifest, draft, int8=True)
    except ModelRefused as error:
        log.warning("%s: no int8: %s", order.version, error)
        return {}
    overlap = top_overlap(ranker.score_many(held_out), rough.score_many(held_out), order.seed)
    if overlap >= KEPT_OVERLAP:
        files |= draft
    return {"int8_overlap": overlap}


def _refitted(order: Order, data: TrainingSet, fitted_rows: int, ranker: Ranker) -> bytes:
    """The online half that has learned the newest rows, none of the first `fitted_rows`, on the ranker's
    own logits."""
    newest = data.newest
    unseen = newest.take(slice(max(0, fitted_rows - data.older, len(newest) - REFIT_ROWS), None))
    logits = np.nan_to_num(_by_heads(ranker, unseen.features))
    online = refit(
        order.version,
        order.columns,
        unseen.features,
        logits,
        unseen.buckets,
        unseen.labels,
        unseen.weights,
        unseen.ts_ms,
        kind=order.online,
    )
    return online.snapshot()


def _profile(order: Order, data: TrainingSet, ranker: Ranker) -> bytes:
    """The reference distribution: columns by evenly spaced rows, levels by all, scores by the gate's rows."""
    rows = len(data)
    step = max(1, rows // PROFILE_ROWS)
    parts = [
        data.source.read(start, min(start + PROFILE_BLOCK, rows)).x
        for start in range(0, rows, PROFILE_BLOCK * step)
    ]
    levels = {
        "item_category": data.earlier.categories + Counter(data.newest.categories),
        "request_surface": data.earlier.surfaces + Counter(data.newest.surfaces),
    }
    logits = ranker.score_many(data.newest.take(slice(_held_out(data), None)).features)
    scores = dict(zip(ranker.heads, logits.T, strict=True))
    profile = Profile.fit(order.columns, np.concatenate(parts), scores=scores)
    told = tuple(LevelProfile.of(name, counts) for name, counts in levels.items())
    return msgspec.structs.replace(profile, levels=told).to_json()


def _judge(order: Order, data: TrainingSet, ranker: Ranker, champion: Ranker | None) -> Verdict:
    held_out = _held_out(data)
    newest = data.newest.take(slice(held_out, None))
    popular = newest.features[:, order.columns.index(POPULARITY)] if POPULARITY in order.columns else None
    beaten = None if champion is None else _by_heads(champion, newest.features)
    logits = ranker.score_many(newest.features)
    ones, known = _labels(data, fit_rows(data))
    base_rates = ones / np.maximum(known, 1)
    return judge(ranker.heads, logits, newest.labels, base_rates, beaten, popular, _whose(data, held_out))


def _by_heads(ranker: Ranker, features: np.ndarray) -> np.ndarray:
    """A ranker's logits [n, HEADS]; NaN for a head that it has not."""
    logits = dict(zip(ranker.heads, ranker.score_many(features).T, strict=True))
    absent = np.full(len(features), np.nan, np.float32)
    return np.stack([logits.get(head, absent) for head in HEADS], axis=1)


def _whose(data: TrainingSet, held_out: int) -> Newest:
    """Users, pages and slices of the newest rows; a page is what one user got at one moment."""
    rows, cut = data.newest, slice(held_out, None)
    users = np.unique(np.array(rows.user_ids), return_inverse=True)[1]
    pages = np.unique(np.column_stack([users, rows.ts_ms]), axis=0, return_inverse=True)[1]
    parts = slices(rows.user_ids, rows.item_ids, data.earlier.users, data.earlier.items)
    return Newest(users[cut], pages.ravel()[cut], {name: mask[cut] for name, mask in parts.items()})


def _seal(
    order: Order,
    data: TrainingSet | None,
    files: dict[str, bytes],
    gate: tuple[str, ...],
    metrics: dict[str, float],
    seconds: dict[str, float],
    heads: tuple[str, ...] = HEADS,
) -> Version:
    n = 0 if data is None else len(data)
    first, end = (data.from_ms, data.to_ms) if data is not None else (0, 1)
    return seal(
        files,
        version=order.version,
        created_ms=order.created_ms,
        columns=order.columns,
        columns_hash=order.columns_hash,
        definitions=order.definitions,
        heads=heads,
        window=Window(from_ms=first, to_ms=end, rows=n),
        rows=n,
        parent=order.parent,
        trigger_id=order.trigger_id,
        gate=gate,
        metrics=metrics,
        seconds=seconds,
    )
