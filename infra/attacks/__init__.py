"""Attacks on a recommender among honest viewers, and how many of them the detector finds.

The limits of `streams.trust` are older than this package and are not tuned on it.
"""

from infra.attacks.traffic import Traffic, make_traffic
from infra.attacks.trial import FACTORS, Point, Trial, try_traffic

__all__ = ["FACTORS", "Point", "Traffic", "Trial", "make_traffic", "try_traffic"]
