"""River's half-space trees over users' conduct: what lies where hardly anybody was seen before."""

from river import anomaly

__all__ = ["Anomalies"]


class Anomalies:
    """Scores in [0, 1], high where few were; learned as it goes, so it is of this process and not kept.

    What it flags is kept as a fact with the event; nobody asks it twice.
    """

    def __init__(self, warm_up: int, seed: int = 7) -> None:
        names = ("acts_minute", "acts_hour", "acts_of_shown", "unseen", "watching", "spread")
        self._trees = anomaly.HalfSpaceTrees(
            n_trees=10, height=8, window_size=250, limits=dict.fromkeys(names, (0.0, 1.0)), seed=seed
        )
        self._warm_up, self._learned = warm_up, 0

    def score(self, numbers: dict[str, float]) -> float:
        """How unlike all others; 0 until enough was learned."""
        return float(self._trees.score_one(numbers)) if self._learned >= self._warm_up else 0.0

    def learn(self, numbers: dict[str, float]) -> None:
        """Takes one look at a user whom nothing speaks against."""
        self._trees.learn_one(numbers)
        self._learned += 1
