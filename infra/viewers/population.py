"""Who asks, what they look at, and what they click, watch, like and hide.

The same seed gives the same world and the same requests. Each answer draws from its own generator,
seeded by the seed and the request's number: two policies that show the same slate get the same answer,
and the order in which slates come back changes nothing but the viewers' own state.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from infra.viewers.catalogue import Catalogue
from infra.viewers.habits import HOUR_MS, Habits
from infra.viewers.searches import Intent, intent_for, matching
from infra.viewers.words import DEVICES
from streams.events import Action, Click, Event, Feedback, Impression, Item, RankReply, RankRequest, Watch

__all__ = ["SEARCH", "SURFACE", "Population"]

SURFACE, SEARCH = "home", "search"  # where viewers ask

Floats = NDArray[np.float64]
MAX_OPEN = 20_000  # requests without an answer that are remembered
IN_MIND = 30  # items that come to the mind of who searches: one of them is wanted
WATCHED = 1_000  # added to an item's count of times seen when it was watched


class _Session(msgspec.Struct):
    viewer: int
    name: str
    left: int


class _Asked(msgspec.Struct, frozen=True):
    number: int
    viewer: int
    request: RankRequest
    intent: Intent | None = None


class Population:
    """Seeded viewers with hidden tastes over a living catalogue.

    Args:
        seed: of everything random.
        start_ms: the clock at the start; items older than that were published before it.
        run: goes into request, session and event ids, so that a restart makes new ones.
    """

    def __init__(self, seed: int, start_ms: int, habits: Habits | None = None, run: str = "r0") -> None:
        self.habits = habits = habits or Habits()
        self.run = run
        self._seed = seed
        self._rng = np.random.default_rng((seed, 2))  # viewers
        self._items = Catalogue(habits, np.random.default_rng((seed, 1)), start_ms)
        self._tastes = self._draw_tastes(habits.viewers)
        self._moods = np.zeros_like(self._tastes)
        self._clickiness = self._rng.normal(0, 0.3, habits.viewers)
        self._patience = self._rng.normal(0, 0.5, habits.viewers)
        self._activity = self._rng.pareto(3.0, habits.viewers) + 0.5
        if (spread := habits.activity_log_sd) is not None:
            self._activity = np.exp(spread * self._rng.normal(size=habits.viewers))
        self._activity /= self._activity.sum()
        self._fatigue = np.zeros((habits.viewers, len(self._items.centres)))
        self._seen: list[dict[int, int]] = [{} for _ in range(habits.viewers)]
        self._device = self._rng.choice(len(DEVICES), habits.viewers, p=(0.6, 0.1, 0.2, 0.1))
        self._asked: OrderedDict[str, _Asked] = OrderedDict()
        self._requests = self._sessions = 0
        self._online: list[_Session] = []
        self._fill_sessions()

    # --- the world -------------------------------------------------------------------------------

    def catalogue(self) -> list[Item]:
        """Every item published so far, oldest first."""
        return list(self._items.items)

    def born(self, now_ms: int) -> list[Item]:
        """Items born since the last call."""
        return self._items.born(now_ms)

    def shift(self, now_ms: int, clickiness: float = 0.8) -> list[Item]:
        """Turns every taste round and changes the mix of items; returns the new ones.

        The planted drift: CTR, watch time, durations and ages all move, clicks by so many logits besides.
        """
        self.turn_tastes()
        self._clickiness += clickiness
        return self._items.shift(now_ms)

    def turn_tastes(self) -> None:
        """Turns every taste round, all by the same rotation; items stay as they are."""
        turn, _ = np.linalg.qr(np.random.default_rng((self._seed, 3)).normal(size=(self.habits.latent,) * 2))
        self._tastes = self._tastes @ turn
        self._moods = self._moods @ turn

    def favourite(self) -> str:
        """An item that is new and not widely liked yet: one that may become so."""
        return self._items.items[-1].item_id

    def boost(self, item_id: str, logit: float) -> None:
        """Makes an item more appealing to everyone."""
        self._items.appeal[self._items.index[item_id]] += logit

    def flood(self, now_ms: int, count: int, appeal: float) -> list[Item]:
        """So many new items at once, more or less appealing by `appeal` logits."""
        return self._items.flood(now_ms, count, appeal)

    def busy(self, now_ms: int) -> float:
        """Requests now over the mean of the day, as viewers live it."""
        hours = self.habits.hours
        lived = self._items.lived_ms(now_ms) / HOUR_MS
        return hours[int(lived) % len(hours)] if hours else 1.0

    def _draw_tastes(self, count: int) -> Floats:
        """Each taste leans to three categories and a few creators' styles."""
        rng, items = self._rng, self._items
        picks = rng.integers(len(items.centres), size=(count, 3))
        lean = np.einsum("nk,nkl->nl", rng.dirichlet((2.0, 2.0, 2.0), count), items.centres[picks])
        fans = items.styles[rng.integers(len(items.styles), size=(count, 2))].mean(axis=1)
        noise = rng.normal(size=lean.shape) / np.sqrt(self.habits.latent)
        taste = lean + 0.45 * fans + 0.25 * noise
        return taste / np.linalg.norm(taste, axis=1, keepdims=True)

    # --- asking ----------------------------------------------------------------------------------

    def next_request(self, now_ms: int) -> RankRequest:
        """The next request of one of the viewers online."""
        place = int(self._rng.integers(len(self._online)))
        session = self._online[place]
        self._requests += 1
        intent = self._intent(session.viewer)
        request = RankRequest(
            request_id=f"{self.run}-{self._requests}",
            user_id=f"u{session.viewer:05d}",
            ts_ms=now_ms,
            session_id=session.name,
            surface=SURFACE if intent is None else SEARCH,
            query=None if intent is None else intent.query,
            limit=self.habits.limit,
            context={"device": DEVICES[self._device[session.viewer]]},
        )
        self._asked[request.request_id] = _Asked(self._requests, session.viewer, request, intent)
        if len(self._asked) > MAX_OPEN:
            self._asked.popitem(last=False)
        session.left -= 1
        if session.left <= 0:
            del self._online[place]
            self._fill_sessions()
        return request

    def _intent(self, viewer: int) -> Intent | None:
        """What the viewer searches for in this request, None for no search; chance of its own, so that all
        else stays the same."""
        h = self.habits
        if not h.search_share:
            return None
        rng = np.random.default_rng((self._seed, 5, self._requests))
        if rng.random() >= h.search_share:
            return None
        items = rng.integers(len(self._items.items), size=IN_MIND)
        wanted = items[int(np.argmax(self._affinity(viewer, items)))]
        return intent_for(self._items.items[wanted], rng, h.typo_share)

    def _fill_sessions(self) -> None:
        """Brings viewers online, each in a mood of its own and with tastes a little moved on."""
        h, rng = self.habits, self._rng
        busy = {s.viewer for s in self._online}
        while len(self._online) < max(1, int(h.viewers * h.online_share)):
            viewer = int(rng.choice(h.viewers, p=self._activity))
            if viewer in busy and len(busy) < h.viewers:
                continue
            busy.add(viewer)
            self._sessions += 1
            self._moods[viewer] = self._items.centres[rng.integers(len(self._items.centres))]
            noise = rng.normal(size=h.latent) / np.sqrt(h.latent)
            moved = (1 - h.taste_drift) * self._tastes[viewer] + h.taste_drift * noise
            self._tastes[viewer] = moved / np.linalg.norm(moved)
            left = int(rng.geometric(1 / h.session_requests))
            if h.session_log_sd is not None:
                left = max(1, round(h.session_requests * np.exp(h.session_log_sd * rng.normal())))
            self._online.append(_Session(viewer, f"{self.run}-s{self._sessions}", left))

    # --- answering -------------------------------------------------------------------------------

    def true_click(self, user_id: str, item_ids: Sequence[str], now_ms: int) -> Floats:
        """Chance [n] that the viewer would click each item now if they looked at it.

        For evaluation alone: it appears on no topic. An unknown item has none.
        """
        viewer = int(user_id[1:])
        known = np.array([self._items.index.get(i, -1) for i in item_ids], dtype=np.int64)
        return np.where(known >= 0, self._click_odds(viewer, known, now_ms), 0.0)

    def best_clicks(self, user_id: str, limit: int, now_ms: int) -> float:
        """Clicks expected of the best slate that there is for the viewer now, if they looked at all of it."""
        chance = self._click_odds(int(user_id[1:]), np.arange(len(self._items.items)), now_ms)
        return float(np.sort(chance)[-limit:].sum())

    def relevance(self, request_id: str, now_ms: int) -> dict[str, float]:
        """How relevant every item is to a search that was not answered yet, 0 to 1: how well it matches what
        is wanted, times the chance that the viewer would click it unasked, if they looked at it.

        For evaluation alone: it appears on no topic.

        Raises:
            KeyError: there is no such request, or it is no search.
        """
        asked = self._asked[request_id]
        if asked.intent is None:
            raise KeyError(request_id)
        match = self._matching(asked.intent, np.arange(len(self._items.items)))
        found = np.flatnonzero(match)
        worth = match[found] * self._click_odds(asked.viewer, found, now_ms)
        items = self._items.items
        return {items[i].item_id: float(each) for i, each in zip(found.tolist(), worth, strict=True)}

    def searches(self, request_id: str) -> bool:
        """True while a search waits for its answer."""
        asked = self._asked.get(request_id)
        return asked is not None and asked.intent is not None

    def _matching(self, intent: Intent, items: NDArray[np.int64]) -> Floats:
        return np.array([matching(intent, self._items.items[i]) for i in items.tolist()])

    def _affinity(self, viewer: int, items: NDArray[np.int64]) -> Floats:
        h = self.habits
        taste = (1 - h.mood_share) * self._tastes[viewer] + h.mood_share * self._moods[viewer]
        return self._items.latent[items] @ taste

    def _click_odds(
        self, viewer: int, items: NDArray[np.int64], now_ms: int, intent: Intent | None = None
    ) -> Floats:
        h, hidden = self.habits, self._items
        age = np.maximum(hidden.lived_ms(now_ms) - hidden.born_lived_ms[items], 0.0)
        kept = np.exp2(-age / h.appeal_half_life_ms)
        seen = np.array([self._seen[viewer].get(int(i), 0) for i in items])
        logit = h.click_bias + self._clickiness[viewer]
        logit = logit + h.taste_weight * self._affinity(viewer, items)
        logit = logit + hidden.appeal[items] * (0.5 + 0.5 * kept) + h.freshness_weight * kept
        logit = logit + h.daily_weight * hidden.daily_swing(now_ms) * hidden.length[items]
        logit = logit - h.fatigue_weight * self._fatigue[viewer, hidden.category[items]]
        logit = logit - h.seen_penalty * np.minimum(seen % WATCHED, 4)
        logit = logit - h.watched_penalty * (seen >= WATCHED)
        if intent is not None:
            match = self._matching(intent, items)
            logit = logit + h.hit_weight * match - h.miss_weight * (1.0 - match)
        return np.asarray(1 / (1 + np.exp(-logit)))

    def answer(self, reply: RankReply, now_ms: int) -> list[Event]:
        """What the viewer did with a slate, in the order it happened; empty for an error.

        Impressions are those places alone that the viewer looked at. Times lie in
        [now_ms, now_ms + dwell_ms].
        """
        asked = self._asked.pop(reply.request_id, None)
        slate = [i for i in reply.items if i.item_id in self._items.index]
        if asked is None or reply.error is not None or not slate:
            return []
        rng = np.random.default_rng((self._seed, 4, asked.number))
        ids = np.array([self._items.index[i.item_id] for i in slate], dtype=np.int64)
        chance = self._click_odds(asked.viewer, ids, now_ms, asked.intent)
        looked, clicked = self._look(rng, chance)
        events: list[Event] = []
        step = self.habits.dwell_ms / (3 * max(looked, 1))
        for k in range(looked):
            at = now_ms + int(3 * k * step)
            events += self._on_place(rng, asked, slate[k].item_id, k, at, bool(clicked[k]), int(step))
        self._remember(asked.viewer, ids[:looked], clicked[:looked])
        return events

    def _look(self, rng: np.random.Generator, chance: Floats) -> tuple[int, NDArray[np.bool_]]:
        """How many places were looked at, from the top, and which of them were clicked."""
        n = len(chance)
        draws = rng.random((3, self.habits.limit if n <= self.habits.limit else n))[:, :n]
        clicked = draws[0] < chance
        goes_on = (draws[1] < self.habits.looks_on) & ~(clicked & (draws[2] < self.habits.leaves_after_click))
        stops = np.flatnonzero(~goes_on)
        looked = int(stops[0]) + 1 if len(stops) else n
        return looked, clicked

    def _on_place(
        self,
        rng: np.random.Generator,
        asked: _Asked,
        item_id: str,
        place: int,
        at: int,
        clicked: bool,
        step: int,
    ) -> list[Event]:
        def facts(kind: str, ts_ms: int) -> dict[str, Any]:
            request = asked.request
            return {
                "event_id": f"{request.request_id}-{kind}{place}",
                "user_id": request.user_id,
                "ts_ms": ts_ms,
                "request_id": request.request_id,
                "session_id": request.session_id,
                "surface": request.surface,
                "query": request.query,
                "item_id": item_id,
            }

        i = self._items.index[item_id]
        love = float(self._affinity(asked.viewer, np.array([i]))[0])
        events: list[Event] = [Impression(**facts("i", at), position=place)]
        if not clicked:
            if rng.random() < 0.02 * (1 - love) ** 2:
                events.append(Feedback(**facts("h", at + step), action="hide"))
            return events
        events.append(Click(**facts("c", at + step), position=place))
        ratio = float(np.exp(rng.normal(self._patience[asked.viewer] + 1.6 * love - 0.9, 0.5)))
        duration = int(self._items.duration_ms[i])
        watched = min(duration, int(duration * ratio))
        events.append(Watch(**facts("w", at + 2 * step), watch_ms=watched, duration_ms=duration))
        for action, kind, chance in _REACTIONS:
            if rng.random() < chance * max(love, 0.0) * min(ratio, 1.0):
                events.append(Feedback(**facts(kind, at + 2 * step), action=action))
        return events

    def _remember(self, viewer: int, items: NDArray[np.int64], clicked: NDArray[np.bool_]) -> None:
        seen = self._seen[viewer]
        self._fatigue[viewer] *= self.habits.fatigue_kept
        for i, opened in zip(items.tolist(), clicked.tolist(), strict=True):
            seen[i] = max(seen.get(i, 0) + 1, WATCHED if opened else 0)
            self._fatigue[viewer, self._items.category[i]] += 1


_REACTIONS: tuple[tuple[Action, str, float], ...] = (
    ("like", "l", 0.25),
    ("share", "s", 0.05),
    ("follow", "f", 0.05),
)
