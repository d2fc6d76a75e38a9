"""What a surface asks for, made ready for the funnel."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.serving.candidates.shelf import Shelf
from streams.events import HEADS
from streams.settings import Settings
from streams.surfaces import Eligible, Source

__all__ = ["Aim"]

Floats = npt.NDArray[np.floating]


class Aim(NamedTuple):
    """The worth of each objective [HEADS], how much popularity counts beside it,
    where candidates come from, and which may come."""

    value: Floats
    popularity: float
    quotas: dict[Source, float]
    eligible: Eligible

    @classmethod
    def of(cls, settings: Settings, surface: str, searching: bool = False) -> "Aim":
        """Of a surface under these settings, with a query or without; "" is any that has none of its own."""
        own = settings.of_surface(surface)
        value = {head: getattr(settings, f"{head}_weight") for head in HEADS}
        if searching:  # what is sought is what is clicked, long or short
            value |= {head: settings.query_watch_ratio * value[head] for head in HEADS if head != "click"}
        value |= {str(head): weight for head, weight in own.weights.items()}
        quotas = {**settings.quotas, **own.quotas}
        return cls(np.array([value[head] for head in HEADS]), own.popularity, quotas, own.rules)

    def leaning(self, shelf: Shelf, item_ids: Sequence[str]) -> Floats:
        """What scores are multiplied by so that what is shown much, or little, comes before, [n]."""
        shown = shelf.impressions_of(item_ids) + 1.0
        return np.asarray((shown / max(shown.mean(), 1.0)) ** self.popularity)
