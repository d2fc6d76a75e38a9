"""Where events go that are not folded."""

from typing import Protocol

from streams.facts.facts import Dead, Fact
from streams.trust.limits import Verdict

__all__ = ["Forgets", "Rejects"]


class Rejects(Protocol):
    """Keeps what is not folded. What is given is kept at least once after `flush`."""

    def dead(self, dead: Dead) -> None:
        """Keeps a record that could not be read."""

    def late(self, fact: Fact) -> None:
        """Keeps an event that came too late."""

    def flagged(self, fact: Fact, verdict: Verdict) -> None:
        """Tells of an event that does not teach."""

    def flush(self) -> None:
        """Returns when all of it is kept."""


class Forgets:
    """Rejects that go nowhere; they are counted in the ledger all the same."""

    def dead(self, dead: Dead) -> None:
        """Drops it."""

    def late(self, fact: Fact) -> None:
        """Drops it."""

    def flagged(self, fact: Fact, verdict: Verdict) -> None:
        """Drops it."""

    def flush(self) -> None:
        """Returns at once."""
