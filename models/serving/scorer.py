"""The role `scorer`: a loop over `rank.requests` around the funnel, and the threads that feed it."""

import gc
import logging
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from models.serving.budget import Guard
from models.serving.candidates.learned import Learned
from models.serving.candidates.shelves import Shelves
from models.serving.experiments import load_experiments
from models.serving.funnel import Funnel
from models.serving.plans import Plans
from models.serving.requests.desk import Desk
from models.serving.requests.reply_cache import ReplyCache
from models.serving.slates.purse import Purse
from models.serving.slot import ModelSlot
from models.serving.trace import Recorder
from streams.catalogue.catalogue import Catalogue
from streams.edge.health import Health
from streams.errors import KafkaUnavailable
from streams.events import FORGOTTEN, ITEMS, MODELS, REQUESTS
from streams.forgetting.forgotten import Forgetting
from streams.kafka import Follower, GroupReader, Publisher
from streams.messages import Message
from streams.settings import Settings
from streams.store import Store
from streams.store.connect import connect, connect_vectors, open_mirror

__all__ = ["SWITCH_S", "run", "settle_garbage"]

log = logging.getLogger(__name__)

AT_A_TIME = 16  # requests answered before it looks for new ones
CATCH_UP_S = 10.0  # for the catalogue and the champion, before the first request
CHECK_S = 1.0  # between two commits and looks at health
SETTLE_S = 3.0  # for the last answers to be delivered, at the end
WEIGHTS_S, SHELVES_S, PURSE_S = 0.15, 1.0, 0.05
LARGE = 50_000  # items, from which on the garbage collector is told to leave them alone
YOUNG = 20_000  # objects made since the garbage collector last looked
SWITCH_S = 0.001  # a request must not wait 5 ms, Python's default, for a thread that builds shelves


def settle_garbage() -> None:
    """Leaves what stands by now to itself: a walk over a million items is a pause that requests would feel.
    A request leaves a thousand objects behind, so the collector looks every dozen requests, not within each.
    """
    gc.freeze()
    gc.set_threshold(YOUNG, 10, 10)


class Chore(threading.Thread):
    """Calls `what` again and again until stopped; a failure is counted and logged once per burst."""

    def __init__(self, name: str, what: Callable[[], None], pause_s: float, guard: Guard) -> None:
        super().__init__(name=name, daemon=True)
        self._what = what
        self._pause_s = pause_s
        self._guard = guard
        self._halt = threading.Event()

    def run(self) -> None:
        """Works until `stop`."""
        while not self._halt.is_set():
            done = self._guard.attempt(self.name, lambda: (self._what(), True))
            self._halt.wait(self._pause_s if done else max(self._pause_s, 0.5))

    def stop(self) -> None:
        """Ends the thread and waits for it."""
        self._halt.set()
        if self.is_alive():
            self.join(10.0)


def run(settings: Settings, health: Health, stop: threading.Event) -> None:
    """Answers requests until `stop` is set.

    Raises:
        KafkaUnavailable: the broker is gone for good, or a topic cannot be followed any more.
    """
    for need in ("kafka", "redis", "catalogue"):
        health.set(need, False, "not yet")
    sys.setswitchinterval(SWITCH_S)
    with ExitStack() as closing:
        Scorer(settings, health, closing).serve(stop)


class Scorer:
    """The parts of the role, opened in their order; `closing` closes them in reverse."""

    def __init__(self, settings: Settings, health: Health, closing: ExitStack) -> None:
        self._health = health
        self._settings = settings
        # a request waits for Redis about as long as its budget; what runs beside may wait longer
        timeout_s = max(0.25, 2 * settings.latency_budget_ms / 1_000)
        mirror = open_mirror(settings, timeout_s) if settings.mirror_rows else None
        store, beside = connect(settings, timeout_s, mirror), connect(settings, mirror=mirror)
        if mirror is not None:
            closing.callback(mirror.close)
        closing.callback(store.close)
        closing.callback(beside.close)
        vectors = connect_vectors(settings)
        closing.callback(vectors.close)
        catalogue, self._guard = Catalogue(), Guard()
        slot, shelves = (
            ModelSlot(beside, provider=settings.provider, int8=settings.ranker_int8),
            Shelves(catalogue, beside, breathe=_breathe, learned=Learned(vectors, breathe=_breathe)),
        )
        wishes = Forgetting()
        self._replies = ReplyCache(store, self._guard, wishes)
        publisher = Publisher(settings, linger_ms=0, patient=False)
        closing.callback(publisher.close)
        purse, recorder = Purse(beside), Recorder(beside, settings.traces_per_s)
        closing.callback(lambda: self._guard.attempt("purse", purse.give_back, "redis"))
        plans = Plans(settings, load_experiments(settings.experiments))
        pinned = {version: ModelSlot(beside, pinned=version) for version in plans.models}
        funnel = Funnel(
            settings,
            catalogue,
            store,
            shelves,
            slot,
            plans=plans,
            pinned=pinned,
            purse=purse,
            recorder=recorder,
            guard=self._guard,
        )
        self._desk = Desk(settings, funnel, publisher, self._replies)

        def apply_item(message: Message) -> None:
            catalogue.apply(message)  # bad items are dead-lettered by the role `features`

        slots = (slot, *pinned.values())

        def apply_model(message: Message) -> None:
            for each in slots:
                each.apply(message)

        def refresh_models() -> None:
            for each in slots:
                each.refresh()

        self._items = Follower(settings, [ITEMS], apply_item)
        self._models = Follower(settings, [MODELS], apply_model)
        self._forgotten = Follower(settings, [FORGOTTEN], wishes.apply)
        for follower in self._followers:
            follower.start()
            closing.callback(follower.stop)
        self._chores = (
            Chore("weights", self._after_models(refresh_models), WEIGHTS_S, self._guard),
            Chore("shelves", self._refresh_with(beside, shelves), SHELVES_S, self._guard),
            Chore("purse", purse.refill, PURSE_S, self._guard),
            Chore("traces", recorder.write, recorder.pause_s, self._guard),
            Chore("replies", self._replies.write, 0.0, self._guard),
        )
        for chore in self._chores:
            closing.callback(chore.stop)

    def serve(self, stop: threading.Event) -> None:
        """Reads and answers until `stop`."""
        until = time.monotonic() + CATCH_UP_S
        for follower in self._followers:
            while not (stop.is_set() or follower.caught_up.wait(0.1)) and time.monotonic() < until:
                self._check_followers()
        for chore in self._chores:
            chore.start()  # not before: a shelf without items would be counted for nothing
        with GroupReader(self._settings, "scorer", [REQUESTS], start="latest", wait_ms=5) as reader:
            next_check = 0.0
            while not stop.is_set():
                self._desk.take(reader.poll(self._settings.max_waiting, 0.0 if self._desk.waiting else 0.1))
                self._desk.work(AT_A_TIME)
                if time.monotonic() >= next_check:
                    self._check(reader)
                    next_check = time.monotonic() + CHECK_S
            self._desk.work(self._desk.waiting)
            until = time.monotonic() + SETTLE_S
            while not self._committable and time.monotonic() < until:
                time.sleep(0.01)
            self._check(reader)

    def _check(self, reader: GroupReader) -> None:
        """Tells how things stand, and commits what was answered for good."""
        self._check_followers()
        assigned = bool(reader.assignment())
        self._health.set("kafka", assigned, "" if assigned else "no partitions assigned yet")
        caught_up = self._items.caught_up.is_set()
        self._health.set("catalogue", caught_up, "" if caught_up else "items are being read")
        if self._committable:
            try:
                reader.commit()
            except KafkaUnavailable as error:
                log.warning("not committed: %s", error)

    @property
    def _committable(self) -> bool:
        """True when all requests were answered for good: delivered, and kept for repeats if possible."""
        return self._desk.settled and (self._replies.written or self._guard.paused("redis"))

    @property
    def _followers(self) -> tuple[Follower, ...]:
        return self._items, self._models, self._forgotten

    def _check_followers(self) -> None:
        for follower in self._followers:
            if follower.error is not None:
                self._health.fail(f"{follower.name}: {follower.error}")
                raise KafkaUnavailable(f"{follower.name} ended: {follower.error}")

    def _after_models(self, refresh: Callable[[], None]) -> Callable[[], None]:
        """Refreshes once the topic was read to its end: older champions are not loaded on the way."""

        def call() -> None:
            if self._models.caught_up.is_set():
                refresh()

        return call

    def _refresh_with(self, store: Store, shelves: Shelves) -> Callable[[], None]:
        def call() -> None:
            try:
                store.ping()
                shelves.refresh()
                if not gc.get_freeze_count() and len(shelves.current) > LARGE:
                    settle_garbage()
            except Exception as error:
                self._health.set("redis", False, str(error))
                raise
            self._health.set("redis", True)

        return call


def _breathe() -> None:
    """Lets a thread that answers a request go on."""
    time.sleep(0)
