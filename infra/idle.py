"""A role that is declared but has nothing to do yet: it only says that it is well."""

import threading

from streams.edge.health import Health
from streams.settings import Settings


def run(settings: Settings, health: Health, stop: threading.Event) -> None:  # noqa: ARG001
    """Waits until `stop` is set."""
    health.set("idle", True)
    stop.wait()
