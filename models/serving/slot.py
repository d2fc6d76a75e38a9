"""The pair in use: a champion's ranker with online weights that were fitted on its logits.

The pair is swapped whole, so a request never sees one half of one version and one of another.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from models.learning.online import OnlineModel, Weights
from models.learning.weights import weights_name
from models.serving.ranker import Ranker
from models.versions.manifest import ONLINE, Version
from models.versions.registry import Champions, load_version
from streams.codec import decode
from streams.errors import ModelRefused
from streams.events import MODELS, ModelRecord
from streams.features import COLUMN_NAMES, unfit
from streams.messages import Message
from streams.metrics import MODEL, MODEL_SINCE, WEIGHTS_AGE
from streams.store import Store

__all__ = ["ModelSlot", "Pair", "pair_of"]

log = logging.getLogger(__name__)

RETRY_S = 10.0  # before a version that was refused is tried again: its files may come later


class Pair(msgspec.Struct, frozen=True, eq=False):
    """What scores: `version` is the champion's, None before the first one.

    Before the first one the weights are those of the online model that learns alone.
    A half is None where it could not be loaded. `places` projects feature rows to the weights' own
    columns; None where they are the same.
    """

    version: str | None = None
    ranker: Ranker | None = None
    weights: Weights | None = None
    places: npt.NDArray[np.intp] | None = None

    def adjust(
        self,
        logits: npt.NDArray[np.floating],
        x: npt.NDArray[np.floating],
        crosses: npt.NDArray[np.uint32],
    ) -> npt.NDArray[np.floating]:
        """Online logits [n, HEADS] from the ranker's [n, HEADS], feature rows [n, d], crosses [n, k].

        Raises:
            ModelRefused: the pair has no weights.
        """
        if self.weights is None:
            raise ModelRefused(f"{self.version}: no online weights")
        return self.weights.score_many(logits, x if self.places is None else x[:, self.places], crosses)


def pair_of(version: str | None, ranker: Ranker | None, weights: Weights | None) -> Pair:
    """The two halves as a pair.

    Raises:
        ModelRefused: the weights were fitted on another ranker's logits, or need a column that is
            not computed here.
    """
    if weights is None:
        return Pair(version, ranker)
    if weights.ranker != version:
        raise ModelRefused(f"{version}: unpaired weights, of ranker {weights.ranker}")
    return Pair(version, ranker, weights, _places(weights.columns))


def _places(needed: Sequence[str]) -> npt.NDArray[np.intp] | None:
    if tuple(needed) == COLUMN_NAMES:
        return None
    missing = sorted(set(needed) - set(COLUMN_NAMES))
    if missing:
        raise ModelRefused(f"column {missing[0]!r}: needed by the online weights, not computed here")
    return np.array([COLUMN_NAMES.index(name) for name in needed], np.intp)


class ModelSlot:
    """Follows topic `models` and the learner's weights; `current` may be read by any thread.

    With `pinned` that version alone, whoever is champion; not while it is rejected, failed or rolled back.

    `apply` takes the topic's messages; `refresh`, called a few times a second by one thread, does
    what takes time: loading a new champion, or fetching newer weights for the one in use.
    """

    def __init__(
        self,
        store: Store,
        *,
        pinned: str | None = None,
        load: Callable[[str, str], Version] = load_version,
        provider: str = "cpu",
        int8: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.current = Pair()
        self._store = store
        self._load, self._provider, self._int8 = load, provider, int8
        self._clock = clock
        self._lock = threading.Lock()
        self._pinned = pinned
        self._record: ModelRecord | None = None  # the pinned version's
        self._champions = Champions()
        self._refused: tuple[str, float] = ("", 0.0)  # version, and when to try it again
        self._weights_since = clock()

    def apply(self, message: Message) -> None:
        """Takes one message of `models`; what is no record of it is left to others to report."""
        for record in decode(MODELS, message.key, message.value, message.timestamp_ms).records:
            with self._lock:
                self._champions.apply(record)
                if record.version == self._pinned:
                    self._record = _usable(record, self._record)

    def refresh(self) -> None:
        """Brings `current` up to date.

        Raises:
            StoreUnavailable: the weights could not be asked for; the pair in use stays.
        """
        with self._lock:
            champion = self._record if self._pinned else self._champions.champion
        if self._pinned and champion is None:
            self.current = Pair()
        if champion is not None and self._wants(champion.version):
            self._take(champion)
        self._fetch_weights(self.current.version)
        if not self._pinned:
            WEIGHTS_AGE.set(self._clock() - self._weights_since if self.current.weights else 0.0)

    def _wants(self, version: str) -> bool:
        current, (refused, again) = self.current, self._refused
        if current.version == version and current.ranker is not None:
            return False
        return version != refused or self._clock() >= again

    def _take(self, champion: ModelRecord) -> None:
        try:
            pair = self._loaded(champion)
        except Exception as error:  # the files, the graph, the golden rows: none of it may stop the scorer
            expected = isinstance(error, ModelRefused)
            log.warning("version %s is refused: %s", champion.version, error, exc_info=not expected)
            self._refused = (champion.version, self._clock() + RETRY_S)
            if self.current.version is None:
                self.current = Pair(champion.version)
            return
        self.current = pair
        self._weights_since = self._clock()
        int8 = pair.ranker is not None and pair.ranker.int8
        log.info("version %s serves, its ranker in %s", champion.version, "int8" if int8 else "float32")
        if self._pinned:
            return
        MODEL.info({"version": champion.version})
        MODEL_SINCE.set(champion.ts_ms / 1_000)

    def _loaded(self, champion: ModelRecord) -> Pair:
        if not champion.uri or not champion.sha256:
            raise ModelRefused("its record names no files")
        manifest, files = self._load(champion.uri, champion.sha256)
        if reason := unfit(manifest.columns, manifest.definitions):
            raise ModelRefused(f"{champion.version}: {reason}")
        ranker = Ranker.load(manifest, files, COLUMN_NAMES, self._provider, self._int8)
        if ONLINE not in files:
            raise ModelRefused(f"{champion.version}: no {ONLINE}: a version is a pair")
        return pair_of(champion.version, ranker, OnlineModel.restore(files[ONLINE]).weights())

    def _fetch_weights(self, version: str | None) -> None:
        pair, name = self.current, weights_name(version)
        latest = self._store.blob_version(name)
        if latest is None or (pair.weights is not None and latest == pair.weights.version):
            return
        blob = self._store.get_blob(name)
        if blob is None:
            return
        try:
            self.current = pair_of(version, pair.ranker, Weights.from_bytes(blob[1]))
        except ModelRefused as error:
            log.warning("weights %s are refused: %s", blob[0], error)
            return
        self._weights_since = self._clock()


def _usable(record: ModelRecord, before: ModelRecord | None) -> ModelRecord | None:
    """The newest record of a version that names its files; None once it must not serve."""
    if record.state in ("rejected", "failed", "rolled_back"):
        return None
    return record if record.uri and record.sha256 else before
