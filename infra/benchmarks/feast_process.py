"""Feast, to compare with: installed once into an environment of its own in the cache, and spoken to over
a pipe. It is no dependency of this project."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.errors import StreamrecError
from streams.settings import cache_folder

__all__ = ["VERSION", "Feast", "FeastMissing", "environment"]

VERSION = "0.67.0"
SCRIPT = Path(__file__).with_name("feast_reader.py")


class FeastMissing(StreamrecError):
    """Feast cannot be installed or used here."""


def environment() -> Path:
    """The Python of an environment that has Feast, made the first time (about a minute).

    Raises:
        FeastMissing: pip could not install it.
    """
    cache = cache_folder()
    folder = cache / f"feast-{VERSION}-py{sys.version_info.major}.{sys.version_info.minor}"
    python, whole = folder / "bin" / "python", folder / "whole"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "feast.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _run([sys.executable, "-m", "venv", str(folder)])
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            _run([*pip, f"feast[redis]=={VERSION}"])
            whole.touch()
    return python


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise FeastMissing(f"Feast {VERSION} could not be installed: {lines[-1]}")


class Feast:
    """A process that holds values [n, d] by id in Feast's online store on a Redis of ours.

    Args:
        python: the interpreter that has Feast.
        redis: host:port,db=N, as Feast takes it.
        ids: [n] entities.
        names: [d] features.
        values: float32, missing ones NaN.
        script: what is run.
    """

    def __init__(
        self,
        python: Path,
        redis: str,
        ids: Sequence[str],
        names: Sequence[str],
        values: NDArray[np.float32],
        script: Path = SCRIPT,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        held: dict[str, Any] = {"ids": np.array(ids), "names": np.array(names), "values": values}
        np.savez(Path(self._folder.name) / "values.npz", **held)
        self._log = (Path(self._folder.name) / "log").open("w+")
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self._process = subprocess.Popen(
            [str(python), "-P", str(script), self._folder.name, redis],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=env | {"FEAST_USAGE": "False"},
            cwd=self._folder.name,
            text=True,
        )

    def __enter__(self) -> "Feast":
        """Returns once it is filled.

        Raises:
            FeastMissing: it ended.
        """
        try:
            self._answer()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Ends the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.terminate()
        self._process.wait()
        self._log.close()
        self._folder.cleanup()

    def read(self, times: int) -> list[float]:
        """Milliseconds of that many reads of all entities, within the other process."""
        return [float(ms) for ms in self._ask(f"read {times}")]

    def values(self) -> NDArray[np.float32]:
        """What a read gives, [n, d]; NaN for what is missing."""
        return np.array(self._ask("values"), dtype=np.float32).T

    def _ask(self, line: str) -> Any:
        if self._process.stdin is not None:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        """The next line of JSON; what else is printed is passed over."""
        lines = self._process.stdout or ()
        for line in lines:
            if line.startswith(("[", "{")):
                return msgspec.json.decode(line)
        self._log.seek(0)
        said = self._log.read().strip().splitlines() or ["it said nothing"]
        raise FeastMissing(f"Feast {VERSION} ended: {said[-1]}")
