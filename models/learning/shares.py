"""Prequential quality of a head whose labels are shares in [0, 1]: how far off, how well ordered, how biased.

A share has no AUC; its concordance says the same of it, and over labels of 0 and 1 is the AUC.
"""

import math
from collections.abc import Mapping

import numpy as np

from models.evaluate import concordance, rmse
from models.learning.prequential import Day, Figures, Floats, Prequential, Scored, losses, rounded

__all__ = ["PrequentialShare"]

SHARES_TOLD = ("online", "ranker")  # popularity is no share: it is compared by order alone


class PrequentialShare(Prequential):
    """The same as `Prequential`, with RMSE, concordance and bias (told less true) in place of AUC."""

    def _tell(self, day: Day, scored: Scored) -> None:
        if math.isfinite(scored.online):
            off = scored.online - float(scored.label)
            day.squares += off * off
            day.over += off

    def _figures(self, labels: Floats, scores: Mapping[str, Floats]) -> Figures:
        found: Figures = {
            f"{name}_concordance": rounded(concordance(labels, x)) for name, x in scores.items()
        }
        for name in SHARES_TOLD:
            if name in scores:
                known = np.isfinite(scores[name])
                found[f"{name}_rmse"] = rounded(rmse(labels[known], scores[name][known]))
                found[f"{name}_bias"] = rounded(_mean(scores[name][known] - labels[known]))
        return found

    def _summary(self, days: list[Day]) -> Figures:
        rows = sum(day.rows for day in days)
        squares, over = (sum(getattr(day, name) for day in days) for name in ("squares", "over"))
        return losses(days) | {
            "online_rmse": rounded(math.sqrt(squares / rows)) if rows else None,
            "online_bias": rounded(over / rows) if rows else None,
        }


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else math.nan
