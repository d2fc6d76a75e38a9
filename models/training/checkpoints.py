"""What a training needs to go on after a kill as though there had been none: one file a part, no pickle.

    STREAMREC_STATE/checkpoints/<hash of trigger and columns>/<part>.checkpoint
    MAGIC, SHA-256 of the rest, MessagePack of a `Checkpoint`

A file is written under another name and renamed when it is whole. What is not whole, of another trigger or
another recipe, of another format or too old is dropped, said by name and counted; the training begins anew
then.
"""

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from streams.metrics import CHECKPOINTS_DROPPED, CHECKPOINTS_TAKEN_UP

__all__ = ["Array", "Bounds", "Checkpoints", "Epoch", "Keeper", "Reached", "digest_of"]

log = logging.getLogger(__name__)

MAGIC = b"streamrec checkpoint 1\n"
DIGEST = 32  # bytes of SHA-256
MAX_AGE_S = 86_400.0  # the archive has a day more by then: fresh rows are worth more than what was spent
COST = 20.0  # times as long as the last write took passes before the next one


class Epoch(msgspec.Struct, frozen=True):
    """One point of a learning curve: losses in nats a label or positive, `seconds` since the start."""

    epoch: int
    train_loss: float
    validation_loss: float
    seconds: float


class Array(msgspec.Struct, frozen=True, array_like=True):
    """An array as NumPy's `dtype.str`, shape and bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, value: object) -> "Array":
        """Of anything that NumPy takes for one."""
        array = np.asarray(value)
        return cls(array.dtype.str, array.shape, array.tobytes())

    def array(self) -> np.ndarray:
        """The array, writable.

        Raises:
            ValueError, TypeError: it is none.
        """
        return np.frombuffer(self.data, np.dtype(self.dtype)).reshape(self.shape).copy()


class Reached(msgspec.Struct, frozen=True, kw_only=True):
    """How far a training is after an epoch; `fingerprint` is the hash of all that it is a function of."""

    fingerprint: str
    curve: tuple[Epoch, ...]
    best_epoch: int
    best_loss: float
    random: str  # state of NumPy's bit generator, as JSON: its integers have 128 bits
    state: tuple[Array, ...]
    best: tuple[Array, ...]


class Bounds(NamedTuple):
    """Event times that a training read, the second left out, and how many rows these were."""

    from_ms: int
    to_ms: int
    rows: int = 0


class Checkpoint(msgspec.Struct, frozen=True):
    """What stands in a file."""

    owner: str
    bounds: Bounds
    reached: Reached


class Checkpoints:
    """The folder of one trigger's training on some columns, under `root`; `clock` tells Unix seconds."""

    def __init__(
        self, root: Path, trigger_id: str, columns: str, clock: Callable[[], float] = time.time
    ) -> None:
        self.owner = hashlib.sha256(f"{trigger_id}/{columns}".encode()).hexdigest()[:32]
        self._root, self.folder, self.clock = root, root / self.owner, clock

    def drop_others(self) -> None:
        """Drops what another trigger left: it was answered, or will begin anew."""
        for other in sorted(self._root.glob("*")):
            if other != self.folder:
                drop(other, "foreign")

    def bounds(self) -> Bounds | None:
        """What the training that was cut off had read; None: there is none to go on with."""
        found = self.part("ranker", Bounds(0, 0)).read()
        return None if found is None else found.bounds

    def drop(self, reason: str) -> None:
        """Drops them all."""
        drop(self.folder, reason)

    def part(self, name: str, bounds: Bounds) -> "Keeper":
        """The place of a part's checkpoint."""
        return Keeper(self, self.folder / f"{name}.checkpoint", bounds)

    def discard(self) -> None:
        """Removes them all: the training has come to its end."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Keeper:
    """Where one part of a training keeps how far it is."""

    def __init__(self, owner: Checkpoints, path: Path, bounds: Bounds) -> None:
        self._owner, self.path, self._bounds = owner, path, bounds
        self._cost_s, self._written_s = 0.0, -float("inf")

    def load(self, fingerprint: str) -> Reached | None:
        """What was reached by the same recipe on the same rows; what is of another one is dropped."""
        found = self.read()
        if found is None:
            return None
        if found.reached.fingerprint != fingerprint:
            self.drop("foreign")
            return None
        CHECKPOINTS_TAKEN_UP.inc()
        log.info("%s: goes on after epoch %d", self.path.stem, len(found.reached.curve))
        return found.reached

    def read(self) -> Checkpoint | None:
        """What stands there; what cannot be used is dropped."""
        try:
            value, written_s = self.path.read_bytes(), self.path.stat().st_mtime
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("%s: %s", self.path, error)
            return None
        kind, _, _ = MAGIC.rpartition(b" ")
        if value.startswith(kind) and not value.startswith(MAGIC):
            self.drop("old")
            return None
        rest = value[len(MAGIC) + DIGEST :]
        if value[: len(MAGIC) + DIGEST] != MAGIC + hashlib.sha256(rest).digest():
            self.drop("corrupted")
            return None
        try:
            found = msgspec.msgpack.decode(rest, type=Checkpoint)
        except msgspec.MsgspecError:
            self.drop("corrupted")
            return None
        if found.owner != self._owner.owner:
            self.drop("foreign")
            return None
        if self._owner.clock() - written_s > MAX_AGE_S:
            self.drop("old")
            return None
        return found

    def save(self, reached: Callable[[], Reached], last: bool = False) -> None:
        """Writes what was reached, where the last write is long enough ago or no other epoch is to come.

        Where it cannot be written, the training goes on without.
        """
        began = time.perf_counter()
        if not last and began - self._written_s < COST * self._cost_s:
            return
        rest = msgspec.msgpack.encode(Checkpoint(self._owner.owner, self._bounds, reached()))
        partial = self.path.with_suffix(".partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as out:
                out.write(MAGIC + hashlib.sha256(rest).digest())
                out.write(rest)
                out.flush()
                os.fsync(out.fileno())
            partial.replace(self.path)
        except OSError as error:
            log.warning("%s: no checkpoint: %s", self.path, error)
        self._written_s = time.perf_counter()
        self._cost_s = self._written_s - began

    def drop(self, reason: str) -> None:
        """Removes it, says so and counts it."""
        drop(self.path, reason)


def drop(path: Path, reason: str) -> None:
    """Removes a file or folder of checkpoints, says so and counts it."""
    log.warning("checkpoint %s/%s is dropped: %s", path.parent.name, path.name, reason)
    CHECKPOINTS_DROPPED.labels(reason).inc()
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def digest_of(*parts: object) -> str:
    """SHA-256 in hexadecimal of arrays and of what JSON can say, in their order."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray) and part.dtype != object:
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            told = part.tolist() if isinstance(part, np.ndarray) else part
            digest.update(msgspec.json.encode(told) + b"\n")
    return digest.hexdigest()
