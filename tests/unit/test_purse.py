"""Campaigns' impressions: capped a day over all scorers, evenly over the day."""

import pytest

from models.serving.slates.purse import Purse
from streams.errors import StoreUnavailable
from streams.events import DAY_MS, Sponsored
from streams.store import MemoryStore

NOON = 19_000 * DAY_MS + DAY_MS // 2
LATE = 19_000 * DAY_MS + DAY_MS - 1


def offer(daily: int) -> Sponsored:
    return Sponsored(campaign_id="c1", bid_micros=1_000, daily_impressions=daily)


def shown(purses: list[Purse], daily: int, now_ms: int, tries: int) -> int:
    """Impressions that purses allow when each is asked again and again."""
    count = 0
    for _ in range(tries):
        for purse in purses:
            if purse.may_show(offer(daily), now_ms):
                purse.spend("c1", now_ms)
                count += 1
            purse.refill()
    return count


@pytest.mark.parametrize("daily", [0, 1, 7, 5_000])
def test_all_scorers_together_show_no_more_than_the_days_impressions(daily):
    store = MemoryStore()
    purses = [Purse(store) for _ in range(3)]
    assert shown(purses, daily, LATE, 2_000) == daily
    assert shown(purses, daily, LATE + 1 + DAY_MS - 1, 2_000) == daily  # the next day


def test_by_noon_a_campaign_has_shown_half_and_an_hours_worth():
    assert shown([Purse(MemoryStore())], 2_400, NOON, 3_000) == 1_300


def test_what_was_leased_and_not_shown_is_given_back():
    store = MemoryStore()
    first, second = Purse(store), Purse(store)
    assert not first.may_show(offer(3), LATE)
    first.refill()
    assert first.may_show(offer(3), LATE)
    first.give_back()
    assert not first.may_show(offer(3), LATE)
    assert shown([second], 3, LATE, 10) == 3


def test_without_redis_nothing_is_sold_beyond_what_is_at_hand():
    class Away(MemoryStore):
        def lease(self, *_: object) -> int:
            raise StoreUnavailable("Redis: gone")

    purse = Purse(Away())
    assert not purse.may_show(offer(9), NOON)
    with pytest.raises(StoreUnavailable):
        purse.refill()
    assert not purse.may_show(offer(9), NOON)
