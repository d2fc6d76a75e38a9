"""Are the users of each experiment split as declared? Watched as slates go out, and an alert where not. Pure.

Users are counted once, by hashes; where an experiment has more than fit, those above a limit on the hash go,
whatever their arm. The test holds at every look (see `always_valid`), so it is looked at all the time.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from monitors.experiments.always_valid import sample_ratio_evidence
from monitors.experiments.sums import arms_of
from monitors.experiments.verdict import SAMPLE_RATIO_ALPHA
from monitors.quality.returns import hashed
from monitors.reports import Outgoing
from streams.events import ALERTS, Alert, Record, Served

if TYPE_CHECKING:
    from models.serving.experiments import Experiment

__all__ = ["SplitWatch", "split_fingerprint"]

MAX_USERS = 200_000  # of an experiment
LOOK = 50  # slates between two looks
WELL_USERS = 1_000  # without evidence, before an alert of an earlier monitor ends


def split_fingerprint(namespace: str, experiment: str) -> str:
    """Of the alert on one experiment."""
    return f"{namespace}.experiment_split.{experiment}"


class _Users:
    """Users of one experiment by arm."""

    def __init__(self, experiment: "Experiment") -> None:
        self.shares = {name: arm.share for name, arm in experiment.arms.items()}
        self.arms: dict[str, set[int]] = {name: set() for name in self.shares}
        self._limit = (1 << 64) - 1

    def add(self, arm: str, user_id: str) -> None:
        name = hashed(user_id)
        if name > self._limit or arm not in self.arms:
            return
        self.arms[arm].add(name)
        while sum(map(len, self.arms.values())) > MAX_USERS:
            self._limit //= 2
            self.arms = {a: {u for u in users if u <= self._limit} for a, users in self.arms.items()}

    def counts(self) -> dict[str, int]:
        return {arm: len(users) for arm, users in self.arms.items()}


class SplitWatch:
    """Turns slates into alerts on experiments whose users are not split as declared."""

    def __init__(self, namespace: str, experiments: "Iterable[Experiment]") -> None:
        self._namespace = namespace
        self._users = {each.name: _Users(each) for each in experiments}
        self._firing: set[str] = set()  # experiments
        self._slates = 0

    def take(self, record: Record, now_ms: int) -> list[Outgoing]:
        """Takes a slate or an alert in; returns the alerts to write. `now_ms`: wall clock."""
        if isinstance(record, Alert):
            self._note(record)
        if not isinstance(record, Served) or not self._users:
            return []
        for experiment, arm in arms_of(record.variants):
            if experiment in self._users:
                self._users[experiment].add(arm, record.user_id)
        self._slates += 1
        return [] if self._slates % LOOK else self._look(now_ms)

    def _note(self, alert: Alert) -> None:
        name = alert.fingerprint.removeprefix(split_fingerprint(self._namespace, ""))
        if name != alert.fingerprint:
            (self._firing.add if alert.status == "firing" else self._firing.discard)(name)

    def _look(self, now_ms: int) -> list[Outgoing]:
        news: list[Outgoing] = []
        for name, users in self._users.items():
            counts = users.counts()
            evidence = sample_ratio_evidence(counts, users.shares)
            fires = evidence >= 1 / SAMPLE_RATIO_ALPHA
            well = evidence < 1.0 and sum(counts.values()) >= WELL_USERS
            if (fires and name not in self._firing) or (well and name in self._firing):
                alert = self._alert(name, fires, users, now_ms)
                self._note(alert)
                news.append((ALERTS, alert))
        return news

    def _alert(self, name: str, fires: bool, users: _Users, now_ms: int) -> Alert:
        total = max(sum(users.counts().values()), 1)
        split = ", ".join(
            f"{arm} {count / total:.1%} instead of {users.shares[arm]:.1%}"
            for arm, count in users.counts().items()
        )
        summary = f"experiment {name}: its users are split as declared"
        if fires:
            summary = (
                f"experiment {name}: of {total:,} users {split}; do not trust its verdicts, look for what "
                "loses users of one arm"
            )
        return Alert(
            fingerprint=split_fingerprint(self._namespace, name),
            ts_ms=now_ms,
            status="firing" if fires else "resolved",
            severity="warning",
            summary=summary,
            labels={"alertname": "experiment_split", "namespace": self._namespace, "experiment": name},
        )
