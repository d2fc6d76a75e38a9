"""Under what conditions figures were measured."""

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import msgspec

from infra.kafka.apache import VERSION as KAFKA
from infra.redis_server import redis_binary

__all__ = ["Conditions", "conditions"]

LIBRARIES = ("faust-streaming", "aiokafka", "confluent-kafka", "redis", "msgspec", "numpy")


class Conditions(msgspec.Struct, frozen=True):
    """The machine and the versions."""

    cores: int
    machine: str
    python: str
    kafka: str
    redis: str
    libraries: dict[str, str]

    def lines(self) -> Sequence[str]:
        """For people."""
        libraries = ", ".join(f"{name} {at}" for name, at in self.libraries.items())
        return (
            f"{self.cores} cores ({self.machine}) shared by the reader, Kafka, Redis and what measures",
            f"Python {self.python}, Apache Kafka {self.kafka}, Redis {self.redis}",
            libraries,
        )


def conditions() -> Conditions:
    """Those of this machine."""
    said = subprocess.run([redis_binary(), "--version"], capture_output=True, text=True, check=False).stdout
    redis = next((word[2:] for word in said.split() if word.startswith("v=")), "?")
    return Conditions(
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        machine=platform.machine(),
        python=platform.python_version(),
        kafka=KAFKA,
        redis=redis,
        libraries={name: _version(name) for name in LIBRARIES},
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"
