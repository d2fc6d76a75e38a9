"""`python -m infra.chaos.doomed`: the role `features` as it always is, but on SIGUSR1 it reads from a
file at which write to Redis it is to die, and then kills itself there with SIGKILL.

Nothing of the role is changed. What stands between it and Redis is a pass-through that counts.
"""

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

import streams.store.connect as opening
from streams.store.flights import Call, Command, Flights, Script, Values

__all__ = ["DEATH", "FATE", "Death", "DoomedFlights", "Fate"]

FATE = "STREAMREC_CHAOS_FATE"  # the file that tells when to die
DEATH = ".died"  # at the end of its name: the file that tells where it died


class Fate(msgspec.Struct, frozen=True):
    """Dies in the `flight`-th write from now, after a `share` of its shards, or once a batch is
    written whole (`whole`)."""

    flight: int
    share: float
    whole: bool


class Death(msgspec.Struct, frozen=True):
    """Where it died: so many of a flight's shards were written, users' or items'."""

    written: int
    shards: int
    of: str


class DoomedFlights:
    """Flights that end the process at one of its writes. All else is passed through."""

    def __init__(self, inner: Flights, fate: Path) -> None:
        self._inner, self._file = inner, fate
        self.connections = inner.connections
        self._fate: Fate | None = None

    def arm(self) -> None:
        """Reads the fate."""
        self._fate = msgspec.json.decode(self._file.read_bytes(), type=Fate)

    def scripts(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        """Writes, or writes a part and dies."""
        fate = self._fate
        if fate is None or all(len(call.keys) == 1 for call in calls):  # fences of idle shards alone
            return self._inner.scripts(script, calls)
        users = any(call.keys[0].startswith("{u") for call in calls)
        now = fate.flight <= 1
        if now and fate.whole and not users:
            self._inner.scripts(script, calls)
            self._die(Death(len(calls), len(calls), "items"))
        if now and not fate.whole and len(calls) > 1:
            most = len(calls) if users else len(calls) - 1  # after all users' come the items'
            written = 1 + int(fate.share * most)
            self._inner.scripts(script, calls[:written])
            self._die(Death(written, len(calls), "users" if users else "items"))
        self._fate = msgspec.structs.replace(fate, flight=fate.flight - 1)
        return self._inner.scripts(script, calls)

    def _die(self, death: Death) -> None:
        Path(f"{self._file}{DEATH}").write_bytes(msgspec.json.encode(death))
        os.kill(os.getpid(), signal.SIGKILL)

    def run(self, *command: Any) -> Any:
        """As the inner one."""
        return self._inner.run(*command)

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """As the inner one."""
        return self._inner.mget(keys)

    def begin_mget(self, keys: Sequence[str]) -> Values:
        """As the inner one."""
        return self._inner.begin_mget(keys)

    def flight(self, commands: Sequence[Command]) -> list[Any]:
        """As the inner one."""
        return self._inner.flight(commands)

    def scan(self, pattern: str) -> Iterator[bytes]:
        """As the inner one."""
        return self._inner.scan(pattern)

    def policies(self) -> dict[str, str]:
        """As the inner one."""
        return self._inner.policies()

    def masters(self) -> Sequence[tuple[str, int]]:
        """As asked."""
        return self._inner.masters()

    def ping(self) -> None:
        """As the inner one."""
        self._inner.ping()

    def close(self) -> None:
        """As the inner one."""
        self._inner.close()


def main() -> None:
    """Runs the role."""
    from infra.process_edge import in_process
    from infra.roles import run_role
    from streams.settings import Settings, read_settings

    fate = Path(os.environ[FATE])
    opened: list[DoomedFlights] = []
    open_plainly = opening.open_flights

    def open_doomed(settings: Settings, *timeout_s: float) -> Flights:
        flights = DoomedFlights(open_plainly(settings, *timeout_s), fate)
        opened.append(flights)
        return flights

    opening.open_flights = open_doomed  # type: ignore[assignment]

    def arm(*_: object) -> None:
        for flights in opened:
            flights.arm()

    signal.signal(signal.SIGUSR1, arm)
    settings = read_settings()
    in_process("features", settings, lambda stop: run_role("features", settings, stop))


if __name__ == "__main__":
    main()
