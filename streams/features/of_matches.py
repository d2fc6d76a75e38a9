"""Features of a candidate beside the request's query: how much of it stands in the candidate's record."""

import math
from operator import attrgetter

from streams.features.asked import Asked
from streams.features.declare import Feature
from streams.features.layout import Floats
from streams.features.matching import NEAR

__all__ = ["FEATURES"]


def _share(name: str, field: str, where: str) -> Feature:
    of = attrgetter(field)

    def value(asked: Asked) -> Floats | float:
        return math.nan if asked.matched is None else of(asked.matched)

    return Feature(
        name=name,
        scope="match",
        kind="share",
        description=f"of the query's words found in {where}, a typo worth {NEAR}; missing: no query",
        default=None,
        value=value,
    )


FEATURES: tuple[Feature, ...] = (
    _share("match_title", "title", "the title"),
    _share("match_about", "about", "category, creator and tags"),
)
