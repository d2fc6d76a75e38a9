"""Live traffic: simulated viewers who ask over Kafka and answer the slates that really come back."""

import asyncio
import logging
import re
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from tenacity import retry, retry_if_exception_type, wait_exponential

from infra.injecting import Wishes
from infra.scripted import Script
from infra.truth import Truth
from infra.viewers import KUAIRAND, Habits, Population
from streams.edge.health import Health
from streams.errors import KafkaUnavailable, OperatorError, RankError
from streams.events import (
    CLICKS,
    FEEDBACK,
    IMPRESSIONS,
    ITEMS,
    WATCHES,
    Click,
    Event,
    Impression,
    Item,
    RankReply,
    RankRequest,
    Topic,
    Watch,
)
from streams.kafka import AsyncRankClient, Publisher, read_all
from streams.metrics import (
    RETRIES,
    TRAFFIC_EVENTS,
    TRAFFIC_REPLIES,
    TRAFFIC_REQUESTS,
    TRAFFIC_SECONDS,
)
from streams.settings import Settings

__all__ = ["TrafficSettings", "read_traffic_settings", "run"]

log = logging.getLogger(__name__)

OURS = re.compile(rb"i\d{6}")  # item ids of the simulated catalogue
BEHIND_S = 1.0  # further behind than this, the schedule starts anew instead of bursting
OK = "ok"


class TrafficSettings(BaseSettings):
    """What the simulated viewers do; the environment variable is `STREAMREC_SIM_` and the name."""

    model_config = SettingsConfigDict(env_prefix="STREAMREC_SIM_", frozen=True, extra="ignore")

    seed: int = Field(1, ge=0, description="of tastes, items and answers")
    rate: float = Field(20.0, gt=0, le=10_000, description="requests a second")
    people: Literal["small", "kuairand"] = Field("small", description="the shape of the world")
    viewers: int = Field(300, ge=1, le=1_000_000)
    items: int = Field(1_000, ge=10, le=1_000_000, description="in the catalogue at the start")
    searches: float = Field(0.1, ge=0, le=1, description="share of requests that search, of the small world")
    timeout_ms: int = Field(2_000, ge=10, description="how long a viewer waits for a slate")
    shift_after_s: float | None = Field(None, ge=0, description="then tastes and items change")


def read_traffic_settings(**overrides: Any) -> TrafficSettings:
    """Reads STREAMREC_SIM_*, with `overrides` that are not None on top.

    Raises:
        OperatorError: one line naming the setting.
    """
    try:
        return TrafficSettings(**{k: v for k, v in overrides.items() if v is not None})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = "STREAMREC_SIM_" + str(first["loc"][0]).upper()
        raise OperatorError(f"{name}: {first['msg']}, got {first['input']!r}") from None


def run(
    settings: Settings, health: Health, stop: threading.Event, options: TrafficSettings | None = None
) -> None:
    """Sends traffic until `stop` is set, then waits for what is in flight.

    Raises:
        OperatorError: a STREAMREC_SIM_* setting is wrong.
    """
    options = options or read_traffic_settings()
    for need in ("kafka", "scorer"):
        health.set(need, False, "not yet")
    run_id = f"{time.time_ns() // 1_000_000:x}{uuid.uuid4().hex[:4]}"
    habits = habits_of(options)
    population = Population(options.seed, _now_ms(), habits, run_id)
    with Publisher(settings) as publisher:
        if not _publish_catalogue(settings, publisher, population, stop):
            return
        health.set("kafka", True)
        asyncio.run(_Traffic(settings, options, population, publisher).drive(health, stop))


def habits_of(options: TrafficSettings) -> Habits:
    """The world that is wished for; viewers and items as set, or as its shape has them."""
    if options.people == "small":
        return Habits(viewers=options.viewers, items=options.items, search_share=options.searches)
    given = {
        name: getattr(options, name) for name in ("viewers", "items") if name in options.model_fields_set
    }
    return msgspec.structs.replace(KUAIRAND, **given)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _publish_catalogue(
    settings: Settings, publisher: Publisher, population: Population, stop: threading.Event
) -> bool:
    """Publishes every item, and takes back what an earlier run of the simulator left; False when stopped."""

    def pause(seconds: float) -> None:
        stop.wait(seconds)

    @retry(
        retry=retry_if_exception_type(KafkaUnavailable),
        wait=wait_exponential(multiplier=0.1, max=2.0),
        stop=lambda _: stop.is_set(),
        before_sleep=lambda _: RETRIES.labels("kafka").inc(),
        retry_error_callback=lambda _: False,
        sleep=pause,
    )
    def publish() -> bool:
        items = population.catalogue()
        known = {item.item_id.encode() for item in items}
        old = {m.key for m in read_all(settings, ITEMS) if m.key and m.value and OURS.fullmatch(m.key)}
        for key in sorted(old - known):
            publisher.send_raw(ITEMS.name, key, None)
        _publish(publisher, items)
        publisher.flush()
        return True

    return bool(publish())


def _publish(publisher: Publisher, items: Iterable[Item]) -> None:
    now = _now_ms()
    for item in items:
        publisher.send(ITEMS, msgspec.structs.replace(item, updated_ts_ms=now))
        TRAFFIC_EVENTS.labels(ITEMS.name).inc()


def _topic(event: Event) -> Topic:
    kinds = {Impression: IMPRESSIONS, Click: CLICKS, Watch: WATCHES}
    return kinds.get(type(event), FEEDBACK)


def send_events(publisher: Publisher, events: Sequence[Event]) -> None:
    """Produces one user's events, those of a topic as one message, and counts them."""
    batches: dict[str, tuple[Topic, list[Event]]] = {}
    for event in events:
        topic = _topic(event)
        batches.setdefault(topic.name, (topic, []))[1].append(event)
    for topic, batch in batches.values():
        publisher.send(topic, batch)
        TRAFFIC_EVENTS.labels(topic.name).inc(len(batch))


class _Traffic:
    """One run: a steady rate of requests, whatever becomes of the ones before (an open loop)."""

    def __init__(
        self, settings: Settings, options: TrafficSettings, population: Population, publisher: Publisher
    ) -> None:
        self._settings = settings
        self._options = options
        self._population = population
        self._publisher = publisher
        self._flying: set[asyncio.Task[None]] = set()
        self._shift_at: float | None = None
        self._failure: BaseException | None = None
        self._script = Script(population, Wishes(settings.state), Truth(settings.state))

    async def drive(self, health: Health, stop: threading.Event) -> None:
        """Asks until `stop`, then lets what is in flight land."""
        async with AsyncRankClient(self._settings) as client:
            if not await self._somebody_answers(client, stop):
                return
            health.set("scorer", True)
            due = time.monotonic()
            if self._options.shift_after_s is not None:
                self._shift_at = due + self._options.shift_after_s
            while not stop.is_set() and self._failure is None:
                self._live()
                if not self._script.nobody_asks:
                    self._launch(client)
                pace = self._options.rate * self._population.busy(_now_ms())
                due = max(due + 1 / pace, time.monotonic() - BEHIND_S)
                await self._until(due, stop)
            if self._flying:
                await asyncio.wait(self._flying)
        if self._failure is not None:
            raise self._failure
        await asyncio.to_thread(self._publisher.flush)

    async def _until(self, due: float, stop: threading.Event) -> None:
        while not stop.is_set() and (left := due - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.1))

    async def _somebody_answers(self, client: AsyncRankClient, stop: threading.Event) -> bool:
        """Repeats the first request until a scorer answers it; counts it once. False when stopped."""
        request = self._population.next_request(_now_ms())
        while not stop.is_set():
            try:
                reply = await client.rank(
                    msgspec.structs.replace(request, ts_ms=_now_ms()), self._options.timeout_ms
                )
            except (RankError, KafkaUnavailable) as error:
                log.info("no scorer yet: %s", error)
                await self._until(time.monotonic() + 0.2, stop)
                continue
            TRAFFIC_REQUESTS.inc()
            TRAFFIC_REPLIES.labels(OK).inc()
            await self._answer(reply)
            return True
        return False

    def _live(self) -> None:
        """Lets items be born, and the planted shift happen when its time has come."""
        now = _now_ms()
        born = self._population.born(now)
        if self._shift_at is not None and time.monotonic() >= self._shift_at:
            self._shift_at = None
            born += self._population.shift(now)
            log.info("shifted: tastes turned, %d new items", len(born))
        items, events = self._script.tick(now)
        for event in events:
            send_events(self._publisher, [event])
        born += items
        if born:
            _publish(self._publisher, map(self._script.published, born))

    def _launch(self, client: AsyncRankClient) -> None:
        request = self._population.next_request(_now_ms())
        task = asyncio.get_running_loop().create_task(self._ask(client, request))
        self._flying.add(task)
        task.add_done_callback(self._landed)

    def _landed(self, task: "asyncio.Task[None]") -> None:
        self._flying.discard(task)
        if not task.cancelled():
            self._failure = self._failure or task.exception()

    async def _ask(self, client: AsyncRankClient, request: RankRequest) -> None:
        TRAFFIC_REQUESTS.inc()
        began = time.perf_counter()
        try:
            reply = await client.rank(request, self._options.timeout_ms)
        except RankError as error:
            TRAFFIC_REPLIES.labels(error.code).inc()
            return
        except KafkaUnavailable as error:
            log.warning("%s", error)
            TRAFFIC_REPLIES.labels("KAFKA").inc()
            return
        TRAFFIC_SECONDS.observe(time.perf_counter() - began)
        TRAFFIC_REPLIES.labels(OK).inc()
        await self._answer(reply)

    async def _answer(self, reply: RankReply) -> None:
        """What the viewer does, told once it is over, so that no event lies in the future."""
        self._script.compare(reply, _now_ms())
        events = self._population.answer(reply, _now_ms())
        if not events:
            return
        await asyncio.sleep(max(0.0, (max(e.ts_ms for e in events) - _now_ms()) / 1_000))
        try:
            send_events(self._publisher, events)
        except KafkaUnavailable as error:
            log.warning("%d events not sent: %s", len(events), error)
