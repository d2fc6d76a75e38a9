"""What a rate is at each hour of the day (UTC), kept over restarts of the monitor."""

from statistics import median

import msgspec

from streams.events import DAY_MS

__all__ = ["Season"]

SEASON_DAYS = 14
LEAST_DAYS = 2  # of the same hour before it is a baseline
HOUR_MS = 3_600_000


class Season(msgspec.Struct):
    """The median over up to 14 earlier days; `hours` holds rates by hour of the day and by day."""

    hours: dict[int, dict[int, float]] = {}

    def usual(self, ts_ms: int) -> float | None:
        """The baseline of that hour from the days before; None with fewer than two of them."""
        day, hour = divmod(ts_ms, DAY_MS)
        days = self.hours.get(hour // HOUR_MS, {})
        earlier = [value for known, value in days.items() if known < day]
        return median(earlier) if len(earlier) >= LEAST_DAYS else None

    def add(self, ts_ms: int, value: float) -> None:
        """Notes the rate of a window; of several in one hour the latest stands."""
        day, hour = divmod(ts_ms, DAY_MS)
        days = self.hours.setdefault(hour // HOUR_MS, {})
        days[day] = value
        for old in sorted(days)[:-SEASON_DAYS]:
            del days[old]
