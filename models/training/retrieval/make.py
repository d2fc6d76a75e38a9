"""The towers of a version: read, fitted, exported, judged; left out where content alone finds more."""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from models.evaluate.curves import lines_svg
from models.evaluate.slices import slices
from models.serving.candidates.content import content_vectors, own_length
from models.serving.towers import Towers
from models.training.checkpoints import Epoch, Keeper
from models.training.recipe import HELD_OUT_RATIO, HELD_OUT_ROWS
from models.training.retrieval.carried import resealed
from models.training.retrieval.engagements import Engagements, Positives, read_catalogue, read_engagements
from models.training.retrieval.judge import Newest, Recalls, Tried, judge
from models.training.retrieval.vocabulary import Vocabulary
from models.vectors.graphs import TOWERS_PICTURE
from models.vectors.inputs import TITLE_CHARS, item_inputs, outline_of, usual_length
from models.versions.manifest import Version
from streams.events import Item

if TYPE_CHECKING:
    from models.training.retrieval.training import Fitted

__all__ = ["MAX_ITEMS", "Made", "fitted_on", "make_towers", "with_towers"]

MIN_CLICKS = 100  # with a history, older than the held-out slice: fewer teach nothing
MAX_ITEMS = 200_000  # of a larger catalogue a part: all that was engaged with, and a draw of the rest


class Made(msgspec.Struct, frozen=True):
    """Files, metrics, seconds and reasons not to serve for a manifest; a note where there are no files."""

    files: dict[str, bytes] = {}
    metrics: dict[str, float] = {}
    seconds: dict[str, float] = {}
    reasons: tuple[str, ...] = ()
    note: str = ""


def with_towers(
    version: Version,
    archive: str,
    seed: int,
    progress: Callable[[Epoch], None] = lambda _: None,
    champion: Towers | None = None,
    checkpoint: Keeper | None = None,
) -> tuple[Version, str]:
    """The version with towers fitted on the same window of the archive, and a note where it has none.

    Where it would surely find less than the champion's towers, its gate says so. A training that was cut off
    goes on from its `checkpoint`.

    Raises:
        ModelRefused: the export does not answer as JAX does.
    """
    made = make_towers(version, archive, seed, progress, champion, checkpoint)
    return resealed(version, made.files, made.metrics, made.seconds, made.reasons), made.note


def make_towers(
    version: Version,
    archive: str,
    seed: int,
    progress: Callable[[Epoch], None] = lambda _: None,
    champion: Towers | None = None,
    checkpoint: Keeper | None = None,
) -> Made:
    """What `with_towers` adds."""
    began = time.perf_counter()
    manifest = version.manifest
    depth = outline_of(1, 0).history
    found = read_engagements(archive, manifest.window, manifest.columns_hash, depth, held_out)
    split = int(np.searchsorted(found.ts_ms, found.held_out_ms))
    usable = np.asarray((found.positives.histories >= 0).any(axis=1))
    clicks = int(usable[:split].sum())
    if clicks < MIN_CLICKS:
        return Made(note=f"no towers: {clicks} clicks with a history, {MIN_CLICKS} are needed")
    items = _items(archive, found.names, found.said, seed)
    older = found.positives.take(np.flatnonzero(usable[:split]))
    newest = Newest(found.positives, found.users, _slices(found)).take(slice(split, None))
    read = time.perf_counter() - began
    files, recalls, seconds = fitted_on(version, items, older, newest, seed, progress, champion, checkpoint)
    note = ""
    if not recalls.better_than_content:
        files = {}
        note = (
            f"no towers: recall@{recalls.k} {recalls.towers.mean():.3f}, "
            f"content that nobody trained has {recalls.content.mean():.3f}"
        )
    metrics, reasons = recalls.verdict
    return Made(files, metrics, {"towers_read": round(read, 3), **seconds}, reasons, note)


def fitted_on(
    version: Version,
    items: list[Item],
    older: Positives,
    newest: Newest,
    seed: int,
    progress: Callable[[Epoch], None] = lambda _: None,
    champion: Towers | None = None,
    checkpoint: Keeper | None = None,
) -> tuple[dict[str, bytes], Recalls, dict[str, float]]:
    """Files of towers fitted on `older` engagements, what they find of `newest`, and the seconds of each
    part; engagements are places in `items`.

    Raises:
        ModelRefused: the export does not answer as JAX does.
    """
    from models.training.retrieval.export import tower_files  # not before it is needed: JAX
    from models.training.retrieval.training import fit

    vocabulary = Vocabulary.of(item.title[:TITLE_CHARS] for item in items)
    outline = outline_of(len(items), usual_length(items), len(vocabulary.words))
    catalogue = item_inputs(outline, items)
    fitted = fit(outline, catalogue, vocabulary, older, seed, progress=progress, checkpoint=checkpoint)
    trained = time.perf_counter()
    files = tower_files(fitted.towers, catalogue, seed)
    recalls = _judged(resealed(version, files), items, older, newest, champion)
    files[TOWERS_PICTURE] = _picture(version.manifest.version, fitted)
    seconds = {**fitted.seconds, "towers_export_and_judge": time.perf_counter() - trained}
    return files, recalls, {name: round(value, 3) for name, value in seconds.items()}


def _slices(found: Engagements) -> Mapping[str, np.ndarray]:
    """As for the ranker, but of clicks: a user's first ones, items never clicked before, seldom, often."""
    return slices(found.users.tolist(), found.positives.items.tolist())


def held_out(examples: int) -> int:
    """How many of so many examples are the gate's: as for the ranker."""
    return min(HELD_OUT_ROWS, int(examples * HELD_OUT_RATIO))


def _items(
    archive: str, names: list[str], said: dict[str, tuple[str | None, str | None]], seed: int
) -> list[Item]:
    """The catalogue to train on: first the items of `names`, in their order, known or not; then others."""
    catalogue = read_catalogue(archive)
    engaged = []
    for name in names:
        item = catalogue.get(name)
        category, creator = said.get(name, (None, None))
        engaged.append(item or Item(item_id=name, published_ts_ms=0, category=category, creator_id=creator))
    known = set(names)
    others = [item for item in catalogue.items() if item.item_id not in known]
    room = max(0, MAX_ITEMS - len(engaged))
    if len(others) > room:
        drawn = np.random.default_rng(seed).choice(len(others), room, replace=False)
        others = [others[at] for at in np.sort(drawn).tolist()]
    return engaged + others


def _judged(
    version: Version, items: list[Item], older: Positives, newest: Newest, champion: Towers | None
) -> Recalls:
    """By the exported graphs, as they are served; the champion's by its own."""
    towers = Towers.load(version)
    if towers is None:
        raise ValueError("version: expected towers, got none")
    content = content_vectors(items, own_length(items))
    rival = None if champion is None else Tried(champion.items(items), champion.users)
    return judge(Tried(towers.items(items), towers.users), content, older, newest, rival)


def _picture(version: str, fitted: "Fitted") -> bytes:
    lines = {
        "training": [each.train_loss for each in fitted.curve],
        "newest clicks": [each.validation_loss for each in fitted.curve],
    }
    passes = [str(each.epoch) for each in fitted.curve]
    return lines_svg(f"{version}: loss of the towers by pass, nats", passes, lines).encode()
