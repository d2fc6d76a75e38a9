"""Kafka and Redis to be broken: killed, put back to an older state, cut."""

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from infra.kafka.apache import ApacheKafka
from infra.redis_server import RedisServer
from streams.errors import OperatorError

__all__ = ["Servers"]

COPIES = 3
AOF = "appendonly*"  # a folder since Redis 7, a file before


class Servers:
    """An Apache Kafka and a Redis in `folder`, and older copies of Redis's data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.kafka = ApacheKafka(folder / "kafka")
        self.redis = RedisServer(folder / "redis")
        self._copies: list[Path] = []
        self._copied = 0
        self._floors: dict[str, int] = {}  # bytes of a file that a cut leaves

    def __enter__(self) -> "Servers":
        """Starts both."""
        self.redis.start()
        try:
            self.kafka.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Stops both."""
        self.kafka.stop()
        self.redis.stop()

    def restart_kafka(self, down_s: float) -> None:
        """kill -9, a pause, and a start."""
        self.kafka.kill()
        time.sleep(down_s)
        self.kafka.restart()

    def restart_redis(self, down_s: float) -> None:
        """kill -9, a pause, and a start."""
        self.redis.kill()
        time.sleep(down_s)
        self.redis.start()

    # --- older copies -----------------------------------------------------------------------------

    def copy(self) -> None:
        """Keeps a copy of Redis's data as it is on disk now; the oldest of too many goes."""
        self._copied += 1
        target = self._folder / f"copy{self._copied}"
        while True:  # a rewrite of the file may come in between
            before = self._files()
            shutil.rmtree(target, ignore_errors=True)
            try:
                _copy_aof(self._data, target)
            except (FileNotFoundError, shutil.Error):
                continue
            if before.keys() == self._files().keys():
                break
        self._copies.append(target)
        if len(self._copies) > COPIES:
            shutil.rmtree(self._copies.pop(0))

    def start_anew(self) -> None:
        """Forgets all copies, and lets no cut go behind this moment: what was folded from a topic that
        is gone cannot be read again."""
        for old in self._copies:
            shutil.rmtree(old)
        self._copies.clear()
        self._floors = self._files()
        self.copy()

    def put_back(self, share: float) -> int:
        """Kills Redis and starts it on one of the copies; returns the bytes of that copy."""
        chosen = self._copies[int(share * len(self._copies))]
        self.redis.kill()
        for old in self._data.glob(AOF):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        _copy_aof(chosen, self._data)
        held = sum(self._files().values())
        self.redis.start()
        return held

    def cut(self, share: float) -> int:
        """Kills Redis, cuts bytes off its append-only file and starts it; returns how many.

        From (all there are) to the power of 0.4, mostly within one write, to half of them.
        """
        self.redis.kill()
        file = self._growing()
        size = file.stat().st_size
        least = min(size, self._floors.get(file.name, 0))
        gone = int((size - least) ** (0.4 + 0.6 * share) / 2)
        with file.open("r+b") as open_file:
            open_file.truncate(size - gone)
        self.redis.start()
        return gone

    @property
    def _data(self) -> Path:
        return self._folder / "redis"

    def _files(self) -> dict[str, int]:
        """Sizes of the parts of the append-only file."""
        found = [path for top in self._data.glob(AOF) for path in ([top] if top.is_file() else top.iterdir())]
        sizes: dict[str, int] = {}
        for path in found:
            try:
                sizes[path.name] = path.stat().st_size
            except FileNotFoundError:
                continue
        return sizes

    def _growing(self) -> Path:
        """The file that Redis appends to."""
        whole = self._data / "appendonly.aof"
        parts = [line.split() for line in self._manifest()]
        newest = [words[1] for words in parts if words[5] == "i"]
        if newest:
            return self._data / "appendonlydir" / newest[-1]
        if not whole.is_file():
            raise OperatorError(f"chaos: no append-only file in {self._data}")
        return whole

    def _manifest(self) -> list[str]:
        file = self._data / "appendonlydir" / "appendonly.aof.manifest"
        return file.read_text().splitlines() if file.is_file() else []


def _copy_aof(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for each in source.glob(AOF):
        copy: Mapping[bool, object] = {True: shutil.copytree, False: shutil.copy2}
        copy[each.is_dir()](each, target / each.name)  # type: ignore[operator]
