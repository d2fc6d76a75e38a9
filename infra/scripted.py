"""The part of the simulator that knows the truth: scripted events, bots, and regret."""

import logging
from collections.abc import Iterator

import numpy as np

from infra.attacks.bots import Account
from infra.injecting import Wishes
from infra.truth import Truth
from infra.viewers import Happening, Happenings, Population
from streams.events import Event, Item, RankReply
from streams.metrics import TRAFFIC_TRUE_CLICKS, TRAFFIC_TRUE_PLACES

__all__ = ["Script"]

log = logging.getLogger(__name__)

LOOK_MS = 250  # pause between two looks for wishes
COMPARE_MS = 100  # pause between two slates that are held against the best: so many cost little
BOTS = 20  # accounts of one attack
CLICKS_PER_S = 3.0  # of each
MOST_MS = 5_000  # that a late look makes up for


class Script:
    """What happens in one world by request. Not thread safe."""

    def __init__(self, population: Population, wishes: Wishes, truth: Truth | None = None) -> None:
        self._population, self._wishes, self._truth = population, wishes, truth
        self._happenings = Happenings(population)
        self._looked_ms = self._compared_ms = 0
        self._bots: list[Account] = []

    @property
    def nobody_asks(self) -> bool:
        """True during an outage."""
        return self._happenings.goes_on("outage")

    def published(self, item: Item) -> Item:
        """The item as the system gets to see it."""
        return self._happenings.published(item)

    def tick(self, now_ms: int) -> tuple[list[Item], list[Event]]:
        """Begins what is wished for and ends what is over: items to publish, and what bots did since."""
        if now_ms - self._looked_ms < LOOK_MS:
            return [], []
        since_ms, self._looked_ms = self._looked_ms, now_ms
        items = self._happenings.due(now_ms)
        if not self._happenings.goes_on("bot-attack"):
            self._bots = []
        clicked = list(self._clicked(max(since_ms, now_ms - MOST_MS), now_ms))
        for happening in self._wishes.take(lambda: now_ms):
            log.info("%s begins, for %d ms", happening.name, happening.for_ms)
            items += self._happenings.begin(happening)
            if happening.name == "bot-attack":
                self._bots = self._bots_of(happening)
        return items, clicked

    def _bots_of(self, happening: Happening) -> list[Account]:
        """Accounts of one attack, each with a session of its own."""
        items = self._population.catalogue()
        names = [f"bot-{happening.from_ms:x}-{n}" for n in range(max(1, round(BOTS * happening.size)))]
        return [
            Account(name, name, np.random.default_rng((happening.from_ms, number)), items)
            for number, name in enumerate(names)
        ]

    def _clicked(self, since_ms: int, now_ms: int) -> Iterator[Event]:
        """What the bots opened in between, account by account."""
        for bot in self._bots:
            for _ in range(int(bot.rng.poisson(CLICKS_PER_S * (now_ms - since_ms) / 1_000))):
                yield from bot.opened(bot.rng.uniform(since_ms, now_ms), bot.any_item())

    def compare(self, reply: RankReply, now_ms: int) -> None:
        """Holds up to ten slates a second against the best there was, searches left out: the truth, which
        the system never sees."""
        if now_ms - self._compared_ms < COMPARE_MS or not reply.items:
            return
        if self._population.searches(reply.request_id):
            return
        self._compared_ms = now_ms
        shown = [place.item_id for place in reply.items]
        chances = self._population.true_click(reply.user_id, shown, now_ms)
        TRAFFIC_TRUE_CLICKS.labels("shown").inc(float(chances.sum()))
        best = self._population.best_clicks(reply.user_id, len(shown), now_ms)
        TRAFFIC_TRUE_CLICKS.labels("best").inc(best)
        TRAFFIC_TRUE_PLACES.inc(len(shown))
        if self._truth is not None:
            self._truth.note(now_ms, len(shown), float(chances.sum()), best)
