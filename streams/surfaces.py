"""What may be set for one surface: where candidates come from, what counts, what may stand there."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from streams.events import Item

__all__ = ["ANYTHING", "NO_RULES", "QUOTAS", "Eligible", "Quotas", "Ratio", "Source", "Surface", "Weights"]

Ratio = Annotated[float, Field(ge=0, le=1)]
Source = Literal["co_watch", "similar", "followed", "trending", "fresh", "explore"]
Quotas = dict[Source, Ratio]
Weights = dict[Literal["click", "long_view", "completion"], Annotated[float, Field(ge=0)]]  # of objectives

QUOTAS: Quotas = {  # of the candidates; popular fills what is left
    "co_watch": 0.15,
    "similar": 0.35,
    "followed": 0.1,
    "trending": 0.15,
    "fresh": 0.1,
    "explore": 0.05,
}


class Eligible(BaseModel):
    """Which items may stand on a surface. What is not known of an item does not keep it away."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    categories: tuple[str, ...] = ()  # these alone; empty: all
    without_categories: tuple[str, ...] = ()
    max_age_ms: int | None = Field(None, gt=0)
    min_duration_ms: int = Field(0, ge=0)
    max_duration_ms: int | None = Field(None, gt=0)
    min_quality: Ratio = 0.0

    def admits(self, item: Item, now_ms: int) -> bool:
        """True if the item may stand there."""
        known, length, quality = item.category is not None, item.duration_ms, item.quality
        return (
            not (known and self.categories and item.category not in self.categories)
            and not (known and item.category in self.without_categories)
            and (self.max_age_ms is None or now_ms - item.published_ts_ms <= self.max_age_ms)
            and (not length or length >= self.min_duration_ms)
            and (not length or self.max_duration_ms is None or length <= self.max_duration_ms)
            and (quality is None or quality >= self.min_quality)
        )


class Surface(Eligible):
    """One surface's own settings; what is not set is as for all.

    `popularity` is the balance: the score is multiplied by how often an item is shown, over the mean of
    the candidates, to this power. 0 leaves the model's own, above it what many saw rises, below it the
    long tail does.
    """

    quotas: Quotas = {}
    weights: Weights = {}
    popularity: float = Field(0.0, ge=-1, le=1)

    @property
    def rules(self) -> Eligible:
        """The rules alone."""
        return Eligible(**{name: getattr(self, name) for name in Eligible.model_fields})


ANYTHING = Eligible()
NO_RULES = Surface()
