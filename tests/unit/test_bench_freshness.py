"""What `bench freshness` measures, on a system that answers at once."""

from infra.benchmarks import freshness as bench
from infra.benchmarks.freshness import measure_freshness
from streams.events import CLICKS, RankedItem, RankReply, RankRequest, Record, ServedBy, Topic


class System:
    """Shows a click after `late` more questions, and newer weights after as many again."""

    def __init__(self, late: int, version: str | None = "v1-") -> None:
        self.late, self.version = late, version
        self.clicked: dict[str, str] = {}
        self.asked: dict[str, int] = {}
        self.learned = 0

    def send(self, topic: Topic, record: Record) -> None:
        if topic is CLICKS:
            self.clicked[record.user_id] = record.item_id
            self.asked[record.user_id] = 0

    def flush(self, timeout_s: float = 10.0) -> None:
        """Everything is there."""

    def rank(self, request: RankRequest, timeout_ms: int = 1_000) -> RankReply:
        order = list(request.candidates or ())
        if request.user_id in self.clicked:
            self.asked[request.user_id] += 1
            if self.asked[request.user_id] > self.late:
                order.remove(self.clicked[request.user_id])
                order.append(self.clicked[request.user_id])
            if self.asked[request.user_id] == 2 * self.late + 2:
                self.learned += 1
        items = tuple(
            RankedItem(item_id=i, position=n, score=0.0, source="given") for n, i in enumerate(order)
        )
        online = f"{self.version}{self.learned}" if self.version else None
        model = ServedBy(ranker="v1", online=online)
        return RankReply(request_id=request.request_id, user_id=request.user_id, items=items, model=model)


def test_a_click_is_timed_until_the_ranking_and_the_weights_show_it(monkeypatch) -> None:
    monkeypatch.setattr(bench, "QUIET_S", 0.01)
    system = System(late=2)
    found = measure_freshness(system, system, 5, "r")
    assert (found.features_missed, found.weights_missed, found.quiet) == (0, 0, True)
    assert found.features_p99_ms is not None
    assert found.weights_p99_ms is not None
    assert system.learned == 5


def test_what_never_shows_is_told_as_missed_and_not_as_fast(monkeypatch) -> None:
    monkeypatch.setattr(bench, "QUIET_S", 0.01)
    monkeypatch.setattr(bench, "GIVE_UP_S", 0.01)
    system = System(late=10**9, version=None)
    found = measure_freshness(system, system, 3, "r")
    assert (found.features_p50_ms, found.features_p99_ms, found.features_missed) == (None, None, 3)
    assert (found.quiet, found.weights_p50_ms) == (False, None)
