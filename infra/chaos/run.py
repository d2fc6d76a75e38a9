"""One run: servers, workers and load, fault after fault, and the comparison at the end."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from infra.chaos.crew import Crew, until
from infra.chaos.gauge import Gauge
from infra.chaos.hands import RECOVER_S, Done, Hands
from infra.chaos.load import Load, made_items
from infra.chaos.plan import Fault
from infra.chaos.report import Report
from infra.chaos.sender import Sender
from infra.chaos.servers import Servers
from infra.chaos.verdict import judge
from infra.formats.log import Log
from streams.codec import decode
from streams.events import EVENT_TOPICS, ITEMS, MAX_MS, Item
from streams.kafka import Publisher, create_topics
from streams.settings import Settings
from streams.store.connect import connect

__all__ = ["Options", "run_chaos"]

PARTITIONS = 6  # the same share for one, two and three workers, since one without any is never ready
COPY_EVERY = 3  # faults between two copies of Redis's data


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to run. `frozen_s` is how long a stopped worker stays stopped, at the least."""

    seed: int
    per_second: float = 150.0
    frozen_s: float = 20.0


def run_chaos(
    folder: Path,
    faults: Sequence[Fault],
    options: Options,
    log: Log | None = None,
    on_fault: Callable[[Done], None] = lambda _: None,
) -> Report:
    """Does the faults to real processes whose data are in `folder`, an empty one.

    Raises:
        OperatorError: a tool is missing, a worker ended by itself, or there was no recovery.
    """
    began = time.monotonic()
    with Servers(folder) as servers:
        settings = Settings(
            kafka=servers.kafka.bootstrap,
            redis=servers.redis.url,
            kafka_security="PLAINTEXT",
            namespace="chaos",
            topic_prefix="chaos.",
            partitions=PARTITIONS,
            state=folder / "state",
            http_port=0,
        )
        create_topics(settings, (*EVENT_TOPICS, ITEMS))
        items = _publish_items(settings, log)
        crew = Crew(settings, folder)
        load = iter(Load(options.seed, PARTITIONS, log))
        try:
            with Publisher(settings) as publisher:
                sender = Sender(publisher, load, options.per_second)
                with Gauge(settings, sender) as gauge:
                    hands = Hands(settings, servers, crew, sender, gauge, options.frozen_s)
                    with sender:
                        done = _do_all(servers, hands, faults, on_fault)
                    ends = gauge.ends(*EVENT_TOPICS)
                    until(lambda: gauge.reached(ends), RECOVER_S, "everything to be folded", 0.05)
            crew.resize(0)
            store = connect(settings, timeout_s=60.0)
            verdict = judge(settings, store, hands.past, items)
            store.close()
        finally:
            crew.close()
    return Report(
        seed=options.seed,
        log=log.name if log else "made-up load alone",
        seconds=round(time.monotonic() - began, 1),
        messages=sender.sent,
        unconfirmed=sender.lost,
        faults=tuple(done),
        verdict=verdict,
        lag=tuple(gauge.points),
    )


def _do_all(
    servers: Servers, hands: Hands, faults: Sequence[Fault], on_fault: Callable[[Done], None]
) -> list[Done]:
    out = []
    for fault in faults:
        if fault.number % COPY_EVERY == 1:
            servers.copy()
        out.append(hands.do(fault))
        on_fault(out[-1])
    return out


def _publish_items(settings: Settings, log: Log | None) -> list[Item]:
    items = list(made_items())
    for entry in log.items if log else ():
        items += decode(ITEMS, entry.key, entry.value, MAX_MS).records
    with Publisher(settings) as publisher:
        for item in items:
            publisher.send(ITEMS, item)
        publisher.flush(60.0)
    return items
