"""Learned vectors for the world of `streamrec bench scorer`: towers trained, items embedded, as served.

The project's own trainer fits the towers on what simulated users of the world watched; the embedder's own
step writes every item's vector to Redis; scorers read them as they read any version's.
"""

from collections.abc import Callable

import numpy as np

from infra.benchmarks.kept_world import KeptWorld
from infra.benchmarks.scorer_world import NOW_MS, Told, World
from models.serving.candidates.learned import Learned
from models.training.retrieval.carried import resealed
from models.training.retrieval.engagements import Positives
from models.training.retrieval.judge import Newest
from models.training.retrieval.make import MAX_ITEMS, fitted_on, held_out
from models.vectors.embedding import Embedding
from models.vectors.inputs import outline_of
from models.versions.manifest import Manifest, Version
from models.versions.registry import publish, seal, stored_versions
from streams.catalogue.catalogue import Catalogue
from streams.events import HEADS, ModelRecord, Window
from streams.features import COLUMN_NAMES, columns_hash
from streams.settings import Settings
from streams.store.connect import connect_vectors
from streams.store.item_vectors import ServedVectors

__all__ = ["engagements_of", "learned_vectors", "said_of", "train_towers"]

VERSION = "towers"
SEQUENCE = 21  # items that a user watched; all but the first are learned from
WRITE_S = 120.0  # that Redis may take for an answer


def learned_vectors(
    settings: Settings,
    world: World,
    catalogue: Catalogue,
    kept: KeptWorld,
    save: Callable[[], None],
    told: Callable[[str, int], None] = lambda *_: None,
) -> tuple[Learned, str]:
    """Where shelves take the world's learned vectors from, and what is to be said of them. Towers are
    trained and items embedded where neither is kept; `save` has Redis write its data down."""
    stored = next(stored_versions(kept.versions), None)
    if stored is None:
        publish(kept.versions, train_towers(world, lambda n: told("towers", n)))
        stored = next(stored_versions(kept.versions))
    uri, sha256, manifest = stored
    store = connect_vectors(settings, WRITE_S)
    if not kept.embedded:
        record = ModelRecord(ts_ms=NOW_MS, version=VERSION, state="champion", uri=uri, sha256=sha256)
        embedding, left, more = Embedding(catalogue, store), world.plan.items, True
        while more:
            more = embedding.turn(record)
            told("vectors", left - embedding.waiting)
            left = embedding.waiting
        save()
        kept.note_embedded()
    store.serve(ServedVectors(VERSION, uri, sha256))  # the folder may have moved
    return Learned(store), said_of(manifest)


def said_of(manifest: Manifest) -> str:
    """What the vectors are and what their towers find."""
    of = manifest.metrics
    return (
        f"learned from {manifest.rows:,} engagements: of {of['retrieval_clicks']:,.0f} later ones "
        f"{of['retrieval_recall']:.3f} ({of['retrieval_recall_low']:.3f} to "
        f"{of['retrieval_recall_high']:.3f}) are among the first {of['retrieval_k']:.0f} of "
        f"{of['retrieval_items']:,.0f} items (content {of['retrieval_recall_content']:.3f}, popularity "
        f"{of['retrieval_recall_popularity']:.3f})"
    )


def train_towers(world: World, told: Told = lambda _: None) -> Version:
    """A version that is nothing but towers, whatever they find: the manifest says how much."""
    places, positives = engagements_of(world)
    items = [world.item(k) for k in places.tolist()]
    cut = len(positives.items) - held_out(len(positives.items))
    bare = seal(
        {},
        version=VERSION,
        created_ms=NOW_MS,
        columns=COLUMN_NAMES,
        columns_hash=columns_hash(),
        heads=HEADS,
        window=Window(from_ms=0, to_ms=NOW_MS, rows=len(positives.items)),
        rows=len(positives.items),
    )
    users = np.tile(np.arange(len(positives.items) // (SEQUENCE - 1)), SEQUENCE - 1)
    older, newest = positives.take(slice(0, cut)), Newest(positives, users).take(slice(cut, None))
    files, recalls, seconds = fitted_on(bare, items, older, newest, world.plan.seed, lambda _: told(1))
    return resealed(bare, files, recalls.verdict.metrics, seconds)


def engagements_of(world: World) -> tuple[np.ndarray, Positives]:
    """What users of the world watched, in order of time, each after its own history: items [c] of the world
    that are trained on, and the engagements as places in them."""
    users = max(1, world.plan.engagements // (SEQUENCE - 1))
    watched, depth = world.watched(users, SEQUENCE), outline_of(1, 0).history
    engaged = np.unique(watched)
    others = np.setdiff1d(np.arange(world.plan.items), engaged, assume_unique=True)
    room = min(len(others), max(0, MAX_ITEMS - len(engaged)))
    drawn = np.random.default_rng((world.plan.seed, 5)).choice(others, room, replace=False)
    named = np.searchsorted(engaged, watched)
    histories = np.full((SEQUENCE - 1, users, depth), -1, np.int64)
    for step in range(1, SEQUENCE):
        past = named[:, max(0, step - depth) : step][:, ::-1]  # newest first
        histories[step - 1, :, : past.shape[1]] = past
    items = named[:, 1:].T.ravel()  # a step of all users, then the next
    weights = np.ones(len(items), np.float32)
    return np.concatenate([engaged, drawn]), Positives(items, histories.reshape(-1, depth), weights)
