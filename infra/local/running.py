"""Which stack runs on a state folder: one at a time, and how other commands find it."""

import fcntl
import os
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from streams.errors import OperatorError
from streams.settings import Settings

__all__ = ["Running", "adopt", "announce", "only_one", "state_folder"]


class Running(msgspec.Struct, frozen=True):
    """Where the parts of a running stack are."""

    pid: int
    kafka: str
    redis: str


def state_folder(environ: Mapping[str, str]) -> Path:
    """The folder that STREAMREC_STATE names, or the platform's own."""
    return Path(environ.get("STREAMREC_STATE") or Settings.model_fields["state"].default)


@contextmanager
def only_one(state: Path) -> Iterator[None]:
    """Holds the state folder for one stack; the hold ends with the process, however it ends.

    Raises:
        OperatorError: another stack runs on it, or the folder cannot be used.
    """
    try:
        state.mkdir(parents=True, exist_ok=True)
        held = (state / "lock").open("a+")
    except OSError as error:
        raise OperatorError(f"STREAMREC_STATE: cannot use {state}: {error.strerror}") from None
    with held:
        if not _locked(held.fileno()):
            held.seek(0)
            raise OperatorError(f"--state: another `streamrec up` (pid {held.read().strip()}) uses {state}")
        held.truncate(0)
        held.write(str(os.getpid()))
        held.flush()
        try:
            yield
        finally:
            (state / "running.json").unlink(missing_ok=True)
            held.truncate(0)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def announce(state: Path, running: Running) -> None:
    """Writes where the stack's parts are, for commands in another terminal of the same user: an
    address may hold a password."""
    part = state / "running.json.part"
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    part.write_bytes(msgspec.json.encode(running))
    part.replace(state / "running.json")


def adopt(environ: MutableMapping[str, str]) -> None:
    """Points settings that are not set at the stack that runs on the state folder, if one does."""
    state = state_folder(environ)
    try:
        running = msgspec.json.decode((state / "running.json").read_bytes(), type=Running)
        with (state / "lock").open("a+") as held:
            if _locked(held.fileno()):
                return  # left behind by a stack that was killed
    except (OSError, msgspec.MsgspecError):
        return
    environ.setdefault("STREAMREC_KAFKA", running.kafka)
    environ.setdefault("STREAMREC_REDIS", running.redis)
