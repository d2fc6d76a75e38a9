"""The order in which a worker takes messages: each offset once, and no gap believed unchecked."""

import logging
from collections.abc import Mapping, Sequence

from streams.edge.handler import Rewind
from streams.messages import Message, Source
from streams.metrics import LOST_OFFSETS

__all__ = ["Order", "within"]

log = logging.getLogger(__name__)

LOOKS = 3  # at the same place with more to come, after which a partition stands still


class Order:
    """What comes next in each partition. `expected` is set where reading starts."""

    def __init__(self) -> None:
        self.expected: dict[Source, int] = {}
        self._suspect: dict[Source, tuple[int, int]] = {}
        self._gappy: set[Source] = set()
        self._short: set[Source] = set()
        self._waits: dict[Source, tuple[int, int]] = {}  # for which offset, at how many looks
        self._tried: dict[Source, int] = {}  # offsets that a new reader did not bring either

    def take(self, messages: Sequence[Message]) -> list[Message]:
        """Messages to handle; what is not ours or was handled before is left out.

        Raises:
            Rewind: offsets are missing. Once; if the same gap is found again, Kafka has no such
                records (markers of transactions) and this partition's gaps are believed from then on.
        """
        batch: list[Message] = []
        for message in messages:
            source, expected = message.source, self.expected.get(message.source)
            if expected is None or message.offset < expected:
                continue
            if message.offset > expected and source not in self._gappy:
                gap = (expected, message.offset)
                if self._suspect.get(source) != gap:
                    self._suspect[source] = gap
                    raise Rewind({source: expected} | _first_offsets(batch))
                self._gappy.add(source)
            self.expected[source] = message.offset + 1
            batch.append(message)
        return batch

    def check_ends(self, ends: Mapping[Source, int]) -> None:
        """Compares where partitions end with what comes next in them.

        Raises:
            Rewind: one ended before that two times running. Its topic was made anew under us, or its
                log was cut; whoever is assigned now will be told where to read.
        """
        short = {source for source, end in ends.items() if end < self.expected.get(source, 0)}
        again, self._short = short & self._short, short
        if again:
            self._short = set()
            log.warning(
                "another log than was read before: %s", ", ".join(f"{s.topic}/{s.partition}" for s in again)
            )
            raise Rewind({})

    def check_moves(self, ends: Mapping[Source, int]) -> None:
        """Compares where partitions end with what comes next in them, while nothing is being handled.

        A fetch that a rebalance gives up may take its records along: the next ones show a gap, and where
        none follow, this shows it.

        Raises:
            Rewind: one has more, and nothing came for some looks. Once for an offset: what a new reader does
                not bring either is none (a marker of a transaction).
        """
        still = []
        for source, end in ends.items():
            at = self.expected.get(source, -1)
            before, looks = self._waits.get(source, (at, 0))
            looks = looks + 1 if before == at < end else 0
            self._waits[source] = (at, looks)
            if looks >= LOOKS and self._tried.get(source) != at:
                still.append(source)
                self._tried[source] = at
        if still:
            self._waits.clear()
            log.warning(
                "nothing comes of what there is: %s", ", ".join(f"{s.topic}/{s.partition}" for s in still)
            )
            raise Rewind({})


def _first_offsets(messages: Sequence[Message]) -> dict[Source, int]:
    first: dict[Source, int] = {}
    for message in messages:
        first.setdefault(message.source, message.offset)
    return first


def within(source: Source, wanted: int | None, earliest: int, latest: int) -> int:
    """Where to read from, of what Kafka still holds. What is missing is said and counted."""
    name = f"{source.topic}/{source.partition}"
    if wanted is None:
        return earliest
    if wanted < earliest:
        log.error("%s: Kafka no longer holds offsets %d to %d: they are lost", name, wanted, earliest - 1)
        LOST_OFFSETS.inc(earliest - wanted)
        return earliest
    if wanted > latest:
        log.error("%s: the log ends at %d, before %d which was handled: it was cut", name, latest, wanted)
        LOST_OFFSETS.inc(wanted - latest)
        return latest
    return wanted
