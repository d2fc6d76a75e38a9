"""A made-up log whose tastes move: what viewers like changes by the hour, and nobody says so.

The log odds of a long view are the sum of what a viewer thinks of a category (fixed), of how every viewer
feels about the category now, of how the item is doing now, and of a base. The last two are
Ornstein-Uhlenbeck processes: they wander with a half-life of some hours around nothing. Items come and go.
"""

import msgspec
import numpy as np

from infra.formats.log import Log
from infra.formats.pages import Row, digest_of, items_of, log_of
from streams.events import Item

__all__ = ["World", "drifting_log"]

MINUTE_MS = 60_000
START_MS = 1_700_006_400_000  # midnight, UTC


class World(msgspec.Struct, frozen=True):
    """How large it is, and how fast it moves; log odds and hours."""

    days: int = 8
    pages_a_day: int = 1_500
    page: int = 5
    users: int = 400
    items: int = 600
    categories: int = 20
    mood: float = 1.2  # deviation of what everybody feels about a category
    mood_half_life_h: float = 5.0
    form: float = 0.8  # deviation of how an item is doing
    form_half_life_h: float = 3.0
    taste: float = 0.7
    life_h: float = 48.0  # of an item, on average


def drifting_log(seed: int, world: World = World()) -> Log:  # noqa: B008
    """The log of a world; the same seed gives the same log."""
    random = np.random.default_rng(seed)
    category = random.integers(0, world.categories, world.items)
    taste = random.normal(0, world.taste, (world.users, world.categories))
    mood, form = np.zeros(world.categories), np.zeros(world.items)
    born, minutes = np.zeros(world.items, np.int64), world.days * 1_440
    asked = random.poisson(world.pages_a_day / 1_440, minutes)
    rows, items = list[Row](), list[Item]()
    for n in range(world.items):
        items.append(_item(n, 0, category[n]))
    for minute in range(minutes):
        mood = _moved(random, mood, world.mood, world.mood_half_life_h)
        form = _moved(random, form, world.form, world.form_half_life_h)
        for n in np.flatnonzero(random.random(world.items) < 1 / (60 * world.life_h)).tolist():
            born[n], form[n] = minute, random.normal(0, world.form)
            category[n] = random.integers(0, world.categories)
            items.append(_item(n, minute, category[n]))
        for user in random.choice(world.users, asked[minute], replace=False).tolist():
            at_ms = START_MS + minute * MINUTE_MS + int(random.integers(0, MINUTE_MS))
            for n in random.choice(world.items, world.page, replace=False).tolist():
                odds = taste[user, category[n]] + mood[category[n]] + form[n] - 0.4
                long_view = bool(random.random() < 1 / (1 + np.exp(-odds)))
                rows.append(_row(user, _name(n, int(born[n])), at_ms, long_view))
    return log_of(f"drifting:{seed}", rows, items_of(items))


def _moved(random: np.random.Generator, now: np.ndarray, deviation: float, half_life_h: float) -> np.ndarray:
    """A minute later."""
    kept = 0.5 ** (1 / (60 * half_life_h))
    return now * kept + random.normal(0, deviation * (1 - kept**2) ** 0.5, len(now))


def _name(n: int, born: int) -> str:
    return f"i{n}-{born}"


def _item(n: int, minute: int, category: int) -> Item:
    at_ms = START_MS + minute * MINUTE_MS
    return Item(item_id=_name(n, minute), published_ts_ms=at_ms, category=f"c{category}", duration_ms=20_000)


def _row(user: int, item_id: str, at_ms: int, long_view: bool) -> Row:
    return Row(
        user_id=f"u{user}",
        item_id=item_id,
        ts_ms=at_ms,
        click=long_view,
        long_view=long_view,
        watch_ms=15_000 if long_view else 1_500,
        duration_ms=20_000,
        actions=(),
        digest=digest_of(f"{user} {item_id} {at_ms}"),
    )
