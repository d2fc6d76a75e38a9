"""`streamrec sim inject` against traffic that runs: every event, seen on the topics, and in the truth."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

import pytest
from typer.testing import CliRunner

from infra.cli import app
from infra.traffic import TrafficSettings, run
from streams.codec import decode
from streams.events import CLICKS, ITEMS, MAX_MS, Click, Item, RankRequest
from streams.kafka import read_all
from streams.settings import Settings
from tests.answering import StandIn
from tests.conftest import MakeSettings
from tests.in_thread import in_thread
from tests.waiting import eventually

FAST = TrafficSettings(seed=3, rate=100, viewers=50, items=100, searches=0.0, timeout_ms=1_000)


class Running:
    """Traffic in a thread on the embedded broker, answered by a stand-in; commands find it by its folder."""

    def __init__(self, settings: Settings, scorer: StandIn) -> None:
        self.settings, self.scorer = settings, scorer

    def command(self, *words: str) -> str:
        done = CliRunner().invoke(
            app, ["sim", *words], env={"STREAMREC_STATE": str(self.settings.state)}, catch_exceptions=False
        )
        assert done.exit_code == 0, done.output
        return done.output

    def inject(self, event: str, for_s: float = 1.0) -> None:
        assert f"{event} begins" in self.command("inject", event, "--for", str(for_s))

    def durations(self) -> list[list[int]]:
        """Of each item all durations that were published, oldest first."""
        found: dict[str, list[int]] = {}
        for message in read_all(self.settings, ITEMS):
            for item in decode(ITEMS, message.key, message.value, MAX_MS).records if message.value else ():
                if isinstance(item, Item):
                    found.setdefault(item.item_id, []).append(item.duration_ms or 0)
        return list(found.values())

    def clickers(self) -> set[str]:
        found = [decode(CLICKS, m.key, m.value, MAX_MS).records for m in read_all(self.settings, CLICKS)]
        return {click.user_id for clicks in found for click in clicks if isinstance(click, Click)}

    def happened(self) -> list[str]:
        log = self.settings.state / "sim" / "happenings.jsonl"
        return [json.loads(line)["name"] for line in log.read_text().splitlines()]


@pytest.fixture
def running(make_settings: MakeSettings, embedded_kafka: str) -> Iterator[Running]:
    with _running(make_settings(kafka=embedded_kafka)) as made:
        yield made


@contextmanager
def _running(settings: Settings) -> Iterator[Running]:
    with StandIn(settings, by_chance) as scorer:
        traffic = in_thread("traffic", lambda health, stop: run(settings, health, stop, FAST), ready=False)
        with traffic:
            eventually(lambda: len(scorer.asked) > 20)
            yield Running(settings, scorer)


def test_every_event_is_seen_where_it_should_be_and_ends(running: Running, tmp_path: Path) -> None:
    items = len(running.scorer.items)
    running.inject("broken-sensor")
    eventually(lambda: sum(len(d) > 1 and d[1] == 60 * d[0] for d in running.durations()) >= 100)
    eventually(lambda: sum(len(d) > 2 and d[2] == d[0] for d in running.durations()) >= 100, 20, "its end")
    running.inject("catalogue-flood")
    eventually(lambda: len(running.scorer.items) >= 1.5 * items)
    running.inject("bot-attack", 2.0)
    eventually(lambda: sum(user.startswith("bot-") for user in running.clickers()) > 10)
    running.inject("viral-item")
    running.inject("taste-drift")

    running.inject("outage", 1.5)
    eventually(lambda: quiet(running), 10, "an outage")
    before = len(running.scorer.asked)
    eventually(lambda: len(running.scorer.asked) > before + 20, 20, "its end")

    names = ["broken-sensor", "catalogue-flood", "bot-attack", "viral-item", "taste-drift", "outage"]
    assert running.happened() == names
    running.command("truth", "--json", str(tmp_path / "truth.json"))
    told = json.loads((tmp_path / "truth.json").read_text())
    assert [span["event"] for span in told] == [name for name in names for _ in range(3)]
    assert any(span["slates"] > 0 and 0 <= span["true_ctr"] <= span["best_ctr"] <= 1 for span in told)


def quiet(running: Running) -> bool:
    """True if nobody asked for a while in which some 30 would have."""
    before = len(running.scorer.asked)
    time.sleep(0.3)  # of the world, not a wait for something
    return len(running.scorer.asked) == before


def by_chance(request: RankRequest, item_id: str) -> float:
    return crc32(f"{request.request_id}{item_id}".encode()) / 2**32
