"""Workers that do nothing, to set a role beside: `python -m infra.benchmarks.noop_worker agent|handler`.

`agent` is a plain Faust agent as its guide writes one, with the settings of our roles: what Faust takes by
itself. `handler` is a handler that looks at nothing on the edge of our roles: what that edge takes. Both read
the event topics that the settings name, until SIGTERM, and note how many messages they have had.
"""

import asyncio
import sys
import tempfile
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import faust

from streams.edge.health import Health
from streams.edge.reader import options_of
from streams.events import EVENT_TOPICS, Topic
from streams.messages import Message, Source
from streams.settings import Settings
from streams.store.connect import connect

__all__ = ["ROLE", "Nothing", "run_agent", "run_handler"]

ROLE = "noop"
NOTE_S = 0.05


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


def run_handler(settings: Settings, stop: threading.Event) -> None:
    """Reads until `stop`, on the roles' edge."""
    from streams.edge.worker import run_worker

    run_worker(settings, Health(ROLE), stop, Nothing())


def run_agent(settings: Settings, stop: threading.Event) -> None:
    """Reads until `stop`, by a Faust agent."""
    asyncio.run(_live(settings, stop))


async def _live(settings: Settings, stop: threading.Event) -> None:
    read = 0

    async def agent(stream: Any) -> None:
        nonlocal read
        async for _ in stream:
            read += 1

    store = connect(settings)
    with tempfile.TemporaryDirectory() as scratch:
        app = faust.App(**options_of(settings, ROLE, scratch), stream_buffer_maxsize=4_096)
        names = [settings.topic_prefix + topic.name for topic in EVENT_TOPICS]
        topic = app.topic(
            *names, value_type=bytes, key_type=bytes, value_serializer="raw", key_serializer="raw"
        )
        app.agent(topic, concurrency=1, name=ROLE)(agent)
        app.finalize()
        await app.start()
        while not stop.is_set():
            await asyncio.sleep(NOTE_S)
            store.put_progress(ROLE, {Source("all", 0): read})
        await app.stop()
    store.close()


def _main() -> None:
    from infra.process_edge import in_process
    from streams.settings import read_settings

    settings, run = read_settings(), {"agent": run_agent, "handler": run_handler}[sys.argv[1]]
    in_process(ROLE, settings, lambda stop: run(settings, stop))


if __name__ == "__main__":
    _main()
