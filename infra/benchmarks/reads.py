"""What a ranking's read costs: whole vectors of 500 candidates, beside a bare MGET of the same keys and
beside Feast's online read of the same values."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from infra.benchmarks.feast_process import VERSION, Feast, FeastMissing, environment
from infra.benchmarks.folding import fold_all
from infra.benchmarks.load import START_MS, STEP_MS, Load, make_items, make_messages, zipf
from infra.benchmarks.speeds import MeasureError, Middle, Times, times_of, times_ratio
from models.serving.candidates.shelf import Shelf
from models.serving.candidates.stock import build_shelf
from streams.catalogue.catalogue import Catalogue
from streams.events import Item
from streams.features import COLUMN_NAMES, Scene, vectors
from streams.messages import Message
from streams.redis_address import redis_address
from streams.settings import Settings
from streams.store import Looked
from streams.store.connect import connect, open_flights
from streams.store.redis_store import RedisStore
from streams.store.server_flights import ServerFlights

__all__ = [
    "CANDIDATES",
    "FEAST",
    "MGET",
    "OVER_FEAST_GOAL",
    "OVER_MGET_GOAL",
    "VECTORS",
    "Reads",
    "Request",
    "measure",
]

VECTORS, VIEW, MGET, FEAST = "whole vectors", "of that, the view", "bare MGET", "Feast's online read"
CANDIDATES = 500
OVER_FEAST_GOAL = 80.0  # times faster
OVER_MGET_GOAL = 3.0  # times as long at most
A_ROUND, FEAST_A_ROUND = 20, 2  # reads
FEAST_DATABASE = 1

Told = Callable[[str], None]


class Reads(msgspec.Struct, frozen=True):
    """Times of reads by reader, and how ours compares; None where Feast could not be used, and why."""

    load: Load
    candidates: int
    columns: int
    keys: int
    bytes: int
    times: dict[str, Times]
    over_mget: Middle  # our time over MGET's
    feast_over: Middle | None  # Feast's time over ours
    feast: str  # its version, or why it is not there


class Request(msgspec.Struct, frozen=True):
    """What is asked of the store."""

    user_id: str
    item_ids: tuple[str, ...]
    items: tuple[Item | None, ...]
    scene: Scene
    now_ms: int

    @property
    def looked(self) -> Looked:
        """As a store is asked."""
        return Looked(self.user_id, self.item_ids, self.items, self.scene)


class _Keys(ServerFlights):
    """Notes the keys of the one flight that a view is."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def begin_mget(self, keys: Sequence[str]) -> Callable[[], list[bytes | None]]:
        """All missing."""
        self.keys += keys
        return lambda: [None] * len(keys)


def measure(
    settings: Settings, load: Load, rounds: int, with_feast: bool, told: Told = lambda _: None
) -> Reads:
    """Folds the load into the Redis that `settings` name, our own, and times reads from it, in turns.

    Raises:
        MeasureError: Feast gave other values than were put into it.
    """
    catalogue = Catalogue()
    for item in make_items(load.items):
        catalogue.put(item)
    store = connect(settings)
    fold_all(store, catalogue, _folded(load))
    told("folded")
    asked = request_of(load, catalogue)
    with ExitStack() as closing:
        closing.callback(store.close)
        keys = keys_of_view(settings, asked.looked)
        flights = open_flights(settings)
        closing.callback(flights.close)
        shelf = build_shelf(catalogue.items())
        rows = shelf.places_of(asked.item_ids)
        values = _vectors(store, asked, shelf, rows)
        feast, why = _feast(settings, asked, values) if with_feast else (None, "left out")
        held = closing.enter_context(feast or nullcontext())
        if held is not None and not np.array_equal(held.values(), values, equal_nan=True):
            raise MeasureError("bench: Feast gave other values than were put into it")
        told("Feast")
        readers: dict[str, Callable[[], object]] = {
            VECTORS: lambda: _vectors(store, asked, shelf, rows),
            VIEW: lambda: store.view(asked.user_id, asked.item_ids, shelf.known(rows), asked.scene),
            MGET: lambda: flights.mget(keys),
        }
        for read in readers.values():
            _timed(read, A_ROUND)  # warm
        found: dict[str, dict[int, list[float]]] = {name: {} for name in readers}
        if held is not None:
            found[FEAST] = {}
            held.read(FEAST_A_ROUND)
        for n in range(rounds):
            for name, read in readers.items():
                found[name][n] = _timed(read, A_ROUND)
            if held is not None:
                found[FEAST][n] = held.read(FEAST_A_ROUND)
            told("round")
        size = sum(len(value or b"") for value in flights.mget(keys))
    return Reads(
        load=load,
        candidates=len(asked.item_ids),
        columns=values.shape[1],
        keys=len(keys),
        bytes=size,
        times={name: times_of([ms for each in by.values() for ms in each]) for name, by in found.items()},
        over_mget=times_ratio(found[VECTORS], found[MGET]),
        feast_over=times_ratio(found[FEAST], found[VECTORS]) if FEAST in found else None,
        feast=why,
    )


def request_of(load: Load, catalogue: Catalogue, n: int = CANDIDATES) -> Request:
    """The most active user asks for `n` items, popular ones more often, as a retrieval would give them."""
    random = np.random.default_rng((load.seed, n))
    ranks = dict.fromkeys(zipf(load.items, 0.5, 20 * n, random).tolist())
    item_ids = tuple(f"v{rank:07d}" for rank in list(ranks)[:n])
    now_ms = START_MS + load.messages * STEP_MS
    items = tuple(catalogue.get(item_id) for item_id in item_ids)
    return Request("u000000", item_ids, items, Scene(session_id="s0", surface="feed"), now_ms)


def keys_of_view(settings: Settings, asked: Looked) -> list[str]:
    """The keys of all rows that a ranking needs."""
    noted = _Keys()
    RedisStore(noted, settings.namespace).begin_views([asked])
    return noted.keys


def _vectors(store: RedisStore, asked: Request, shelf: Shelf, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    """What the scorer does before it ranks: records are read as the shelf's columns."""
    known = shelf.known(rows)
    view = store.view(asked.user_id, asked.item_ids, known, asked.scene)
    return vectors(view, known, asked.item_ids, asked.now_ms)


def _folded(load: Load) -> list[Message]:
    """The load as messages of one partition a topic."""
    at: dict[str, int] = {}
    out = []
    for topic, key, value in make_messages(load):
        offset = at[topic.name] = at.get(topic.name, -1) + 1
        out.append(Message(topic.name, 0, offset, START_MS, key, value))
    return out


def _feast(
    settings: Settings, asked: Request, values: NDArray[np.float32]
) -> tuple[AbstractContextManager[Any] | None, str]:
    """Feast with these values and its version, or None and why not."""
    ((host, port),) = redis_address(settings.redis).nodes
    try:
        python: Path = environment()
        feast = Feast(python, f"{host}:{port},db={FEAST_DATABASE}", asked.item_ids, COLUMN_NAMES, values)
    except FeastMissing as error:
        return None, str(error)
    return feast, VERSION


def _timed(read: Callable[[], object], times: int) -> list[float]:
    out = []
    for _ in range(times):
        began = time.perf_counter()
        read()
        out.append(1_000 * (time.perf_counter() - began))
    return out
