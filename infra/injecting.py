"""Scripted events on their way to the simulator that runs: files in the state folder.

The simulator takes each once, and writes what it did to `sim/happenings.jsonl`: the truth that monitors are
held against.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from infra.viewers.happenings import Happening
from streams.errors import OperatorError

__all__ = ["Wish", "Wishes", "ask_for"]


class Wish(msgspec.Struct, frozen=True):
    """An event that somebody wants: `for_s` seconds of it."""

    event: str
    for_s: float
    size: float = 1.0


def ask_for(state: Path, wish: Wish, patience_s: float = 10.0) -> None:
    """Leaves a wish and waits until the simulator took it.

    Raises:
        OperatorError: the folder cannot be written, or no simulator took it in time.
    """
    folder = state / "sim" / "wishes"
    name = f"{time.time_ns()}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".{name}"
        draft.write_bytes(msgspec.json.encode(wish))
        asked = draft.replace(folder / name)
    except OSError as error:
        raise OperatorError(f"sim inject: cannot write to {folder}: {error.strerror}") from None
    give_up = time.monotonic() + patience_s
    while asked.exists():
        if time.monotonic() > give_up:
            asked.unlink(missing_ok=True)
            raise OperatorError(f"sim inject: no simulator runs on {state} (STREAMREC_STATE)")
        time.sleep(0.05)


class Wishes:
    """The simulator's end. Wishes left while none ran are thrown away at the start."""

    def __init__(self, state: Path) -> None:
        self._folder, self._log = state / "sim" / "wishes", state / "sim" / "happenings.jsonl"
        for path in self._waiting():
            path.unlink(missing_ok=True)

    def _waiting(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("*.json") if not path.name.startswith("."))

    def take(self, now_ms: Callable[[], int]) -> Iterator[Happening]:
        """What begins now; each is noted in the log. A file that is no wish is dropped."""
        for path in self._waiting():
            try:
                wish = msgspec.json.decode(path.read_bytes(), type=Wish)
                told = {
                    "name": wish.event,
                    "from_ms": now_ms(),
                    "for_ms": int(1_000 * wish.for_s),
                    "size": wish.size,
                }
                happening = msgspec.convert(told, Happening)
            except msgspec.MsgspecError:
                path.unlink(missing_ok=True)
                continue
            with self._log.open("ab") as log:
                log.write(msgspec.json.encode(happening) + b"\n")
            path.unlink(missing_ok=True)
            yield happening
