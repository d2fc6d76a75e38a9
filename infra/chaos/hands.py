"""Does one fault of a plan to real processes, at a moment with messages in flight."""

import time
from collections.abc import Callable

import msgspec

from infra.chaos.crew import Crew, until
from infra.chaos.doomed import Fate
from infra.chaos.gauge import Gauge
from infra.chaos.plan import IN_THE_WRITE, Fault, Kind
from infra.chaos.sender import Sender
from infra.chaos.servers import Servers
from streams.events import EVENT_TOPICS, TOPICS, Topic
from streams.kafka import create_topics, delete_topic, read_all
from streams.messages import Message
from streams.settings import Settings

__all__ = ["RECOVER_S", "Done", "Hands"]

RECOVER_S = 120.0
DIE_S = 30.0
MOVE_S = 40.0


class Done(msgspec.Struct, frozen=True):
    """A fault that was done.

    Attributes:
        at_s: when, since the start.
        in_flight: messages with the broker that were not folded then.
        recovered_s: from the fault until everything written before it was folded in every shard; for a
            stopped worker without the time that it slept on after its partitions had moved.
        note: what was found only then.
    """

    number: int
    kind: Kind
    workers: int
    at_s: float
    in_flight: int
    recovered_s: float
    note: str


class Hands:
    """What does the faults. `past` gathers the messages of topics that are no more, by life."""

    def __init__(
        self,
        settings: Settings,
        servers: Servers,
        crew: Crew,
        sender: Sender,
        gauge: Gauge,
        frozen_s: float,
    ) -> None:
        self._settings, self._servers, self._crew = settings, servers, crew
        self._sender, self._gauge, self._frozen_s = sender, gauge, frozen_s
        self.past: list[list[Message]] = []
        self._at_s, self._in_flight, self._ends = 0.0, 0, gauge.ends()
        self._idle_s = 0.0  # of a recovery, what was only waited

    def do(self, fault: Fault) -> Done:
        """Does it; returns when the workers have recovered.

        Raises:
            OperatorError: they have not, or a process does not do as it should.
        """
        self._crew.resize(fault.workers)
        self._await_ready()
        self._idle_s = 0.0
        note = self._fault(fault.kind)(fault)
        until(lambda: self._gauge.reached(self._ends), RECOVER_S, f"recovery from {fault}")
        landed = fault.kind not in IN_THE_WRITE or note
        return Done(
            number=fault.number,
            kind=fault.kind if landed else Kind.KILL,
            workers=fault.workers,
            at_s=round(self._at_s, 2),
            in_flight=self._in_flight,
            recovered_s=round(self._gauge.now_s - self._at_s - self._idle_s, 2),
            note=note,
        )

    def _fault(self, kind: Kind) -> Callable[[Fault], str]:
        return {
            Kind.BETWEEN_SHARDS: self._in_the_write,
            Kind.BEFORE_COMMIT: self._in_the_write,
            Kind.KILL: self._kill,
            Kind.REBALANCE: self._rebalance,
            Kind.FREEZE: self._freeze,
            Kind.BROKER: self._broker,
            Kind.REDIS: self._redis,
            Kind.OLDER: self._older,
            Kind.OLDER_ASSIGNED: self._older,
            Kind.CUT: self._cut,
            Kind.CUT_ASSIGNED: self._cut,
            Kind.TOPIC: self._topic,
        }[kind]

    def _await_lag(self, fault: Fault) -> None:
        """Sends a burst and returns at some moment with messages in flight."""
        self._sender.burst(fault.burst)
        time.sleep(fault.delay_s)
        again = time.monotonic() + 1.0
        self._struck()
        while not self._in_flight:
            if time.monotonic() > again:
                again += 1.0
                self._sender.burst(fault.burst)
            self._struck()

    def _struck(self) -> None:
        """Notes the moment of the fault."""
        self._ends = self._gauge.ends(*EVENT_TOPICS)
        self._at_s, self._in_flight = self._gauge.now_s, self._gauge.in_flight() or 0

    # --- workers ----------------------------------------------------------------------------------

    def _in_the_write(self, fault: Fault) -> str:
        worker = self._crew.pick(fault.share)
        worker.arm(Fate(fault.flight, fault.share, fault.kind is Kind.BEFORE_COMMIT))
        self._sender.burst(fault.burst)
        again = time.monotonic() + 1.0
        give_up = time.monotonic() + DIE_S
        while worker.running and time.monotonic() < give_up:
            time.sleep(0.002)
            if time.monotonic() > again:
                again += 1.0
                self._sender.burst(fault.burst)
        death = worker.death()
        if death is None:
            self._crew.all_alive()
        self._struck()
        worker.kill()
        self._crew.replace(worker)
        return f"{death.written} of {death.shards} shards of {death.of} written" if death else ""

    def _kill(self, fault: Fault) -> str:
        worker = self._crew.pick(fault.share)
        self._await_lag(fault)
        worker.kill()
        self._crew.replace(worker)
        return ""

    def _rebalance(self, fault: Fault) -> str:
        self._await_lag(fault)
        began = self._gauge.now_s, self._in_flight
        self._crew.resize(3)
        self._await_ready()
        self._await_lag(fault)
        self._crew.resize(1)
        self._at_s, self._in_flight = began[0], min(began[1], self._in_flight)
        return ""

    def _await_ready(self) -> None:
        until(self._all_ready, MOVE_S, "every worker to be ready:", 0.05, self._crew.waits_for)

    def _all_ready(self) -> bool:
        self._crew.all_alive()
        return not self._crew.waits_for()

    def _freeze(self, fault: Fault) -> str:
        worker = self._crew.pick(fault.share)
        self._await_lag(fault)
        worker.freeze()
        at_s, in_flight = self._at_s, self._in_flight
        self._sender.burst(fault.burst)  # to every partition, its own too
        until(lambda: self._gauge.in_flight() == 0, MOVE_S, "another worker to take over")
        moved_s = self._gauge.now_s - at_s
        self._idle_s = max(0.0, self._frozen_s - moved_s)
        time.sleep(self._idle_s)
        self._await_lag(fault)
        worker.wake()
        woken_s = self._gauge.now_s
        self._await_ready()
        self._at_s, self._in_flight = at_s, min(in_flight, self._in_flight)
        return f"partitions moved after {moved_s:.1f} s, woken after {woken_s - at_s:.1f} s"

    # --- servers ----------------------------------------------------------------------------------

    def _broker(self, fault: Fault) -> str:
        self._await_lag(fault)
        self._servers.restart_kafka(fault.share)
        return f"down for {self._gauge.now_s - self._at_s:.1f} s"

    def _redis(self, fault: Fault) -> str:
        self._await_lag(fault)
        self._servers.restart_redis(fault.share)
        return f"down for {self._gauge.now_s - self._at_s:.1f} s"

    def _older(self, fault: Fault) -> str:
        held, back = self._assigned_anew(fault, fault.kind is Kind.OLDER_ASSIGNED, self._servers.put_back)
        return f"about {back:,} records back, {held:,} bytes left"

    def _cut(self, fault: Fault) -> str:
        gone, back = self._assigned_anew(fault, fault.kind is Kind.CUT_ASSIGNED, self._servers.cut)
        return f"about {back:,} records back, {gone:,} bytes cut off"

    def _assigned_anew(self, fault: Fault, anew: bool, work: Callable[[float], int]) -> tuple[int, int]:
        """Does `work` while the workers stay, or while there are none; returns what it gave, and how
        many records fewer the ledger then holds."""
        self._await_lag(fault)
        if anew:
            self._crew.kill_all()
        before = self._gauge.records()
        size = work(fault.share)
        back = before - self._gauge.records()
        if anew:
            self._crew.resize(fault.workers)
        return size, back

    def _topic(self, fault: Fault) -> str:
        """Everything on the topic is folded first: what is then deleted nobody can fold.

        In half the cases the workers sleep through it, and find another topic under the same name.
        """
        topic = TOPICS[fault.topic]
        self._sender.hold(topic.name)
        self._all_of(topic)
        old = list(read_all(self._settings, topic))
        self.past.append(old)
        self._await_lag(fault)
        asleep = self._crew.workers if fault.share < 0.5 else []
        for worker in asleep:
            worker.freeze()
        delete_topic(self._settings, topic)
        create_topics(self._settings, (topic,))
        for worker in asleep:
            worker.wake()
        self._servers.start_anew()
        self._gauge.forget(topic)
        self._sender.release()
        self._sender.burst(fault.burst)
        time.sleep(fault.delay_s)
        self._ends = self._gauge.ends(*EVENT_TOPICS)
        return f"{topic.name}, {len(old):,} messages{', unseen' * bool(asleep)}"

    def _all_of(self, topic: Topic) -> None:
        """Returns once what is now on a topic is folded in every shard."""
        ends = self._gauge.ends(topic)
        until(lambda: self._gauge.reached(ends), RECOVER_S, f"{topic.name} to be folded", 0.05)
