"""A worker that does nothing, on the same Faust edge as the roles: what reading alone costs.

`python -m infra.benchmarks.noop_worker` reads the event topics that the settings name, until SIGTERM.
"""

import threading
from collections.abc import Collection, Mapping, Sequence

from streams.edge.health import Health
from streams.events import EVENT_TOPICS, Topic
from streams.messages import Message, Source
from streams.settings import Settings

__all__ = ["ROLE", "Nothing", "run"]

ROLE = "noop"


class Nothing:
    """A handler that looks at no message. How far it has read is noted by the edge, as for any role."""

    role = ROLE
    topics: tuple[Topic, ...] = EVENT_TOPICS
    wait_s = 0.03

    def assigned(self, sources: Collection[Source]) -> Mapping[Source, int]:
        """From the beginning."""
        return dict.fromkeys(sources, 0)

    def handle(self, batch: Sequence[Message]) -> None:
        """Does nothing."""

    def tick(self) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


def run(settings: Settings, stop: threading.Event) -> None:
    """Reads until `stop`."""
    from streams.edge.worker import run_worker

    run_worker(settings, Health(ROLE), stop, Nothing())


def _main() -> None:
    from infra.process_edge import in_process
    from streams.settings import read_settings

    settings = read_settings()
    in_process(ROLE, settings, lambda stop: run(settings, stop))


if __name__ == "__main__":
    _main()
