"""A filled Redis and an index that are kept, so that the same world need not be made twice."""

import hashlib
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from infra.benchmarks.scorer_world import Plan
from models.serving.candidates import ann
from streams.features import LAYOUT

__all__ = ["KeptWorld"]

FORMAT = 2  # raised when the world is made otherwise


class KeptWorld:
    """The folder of one plan's world under `root`. Redis keeps its data in `redis_folder`; towers stand
    beside it, for all plans of the same items."""

    def __init__(self, root: Path, plan: Plan) -> None:
        self.folder = root / f"{plan.items}-{_digest([FORMAT, LAYOUT, plan])}"
        self.redis_folder = self.folder / "redis"
        learned_from = [FORMAT, plan.items, plan.seed, plan.engagements]
        self.versions = (root / f"towers-{_digest(learned_from)}").absolute().as_uri()

    @property
    def filled(self) -> bool:
        """True once Redis was filled whole and has written it."""
        return self._has("filled")

    def note_filled(self) -> None:
        """Redis was filled, and has written it."""
        (self.redis_folder / "filled").touch()

    @property
    def embedded(self) -> bool:
        """True once Redis has every item's vector and has written it."""
        return self._has("embedded")

    def note_embedded(self) -> None:
        """Redis has every item's vector, and has written it."""
        (self.redis_folder / "embedded").touch()

    def _has(self, mark: str) -> bool:
        return (self.redis_folder / mark).is_file() and (self.redis_folder / "dump.rdb").is_file()

    def build(self, vectors: NDArray[np.floating]) -> ann.Nearest:
        """The index of these vectors: as it was kept, or built and kept."""
        kept = ann.load(self.folder)
        if kept is not None and kept.size == len(vectors):
            return kept
        built = ann.build(vectors)
        ann.save(built, self.folder)
        return built


def _digest(of: object) -> str:
    return hashlib.blake2b(msgspec.json.encode(of), digest_size=6).hexdigest()
