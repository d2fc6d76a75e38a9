"""What the roles say about themselves over /metrics and /readyz, added up over restarts."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Labels", "Probe", "Sums", "parse", "probe", "quantile_ms"]

Labels = tuple[tuple[str, str], ...]
Series = dict[tuple[str, Labels], float]


class Probe(msgspec.Struct, frozen=True):
    """One look at a process: is it ready, what is it waiting for, and its series (None: no answer)."""

    ready: bool
    detail: str
    series: Series | None


def parse(text: str) -> Series:
    """Every sample of a Prometheus text page by name and labels.

    >>> parse('streamrec_a_total{topic="x"} 3.5\\n')
    {('streamrec_a_total', (('topic', 'x'),)): 3.5}
    """
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("streamrec_")
    }


def probe(host: str, port: int, timeout_s: float = 2.0) -> Probe:
    """Asks a process for /readyz and /metrics; what does not answer is not ready."""
    url = f"http://{host}:{port}"
    try:
        ready, detail = _readiness(url, timeout_s)
        with urllib.request.urlopen(f"{url}/metrics", timeout=timeout_s) as page:  # noqa: S310
            return Probe(ready, detail, parse(page.read().decode()))
    except (OSError, ValueError) as error:
        return Probe(False, f"no answer: {error}", None)


def _readiness(url: str, timeout_s: float) -> tuple[bool, str]:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=timeout_s) as page:  # noqa: S310
            return True, _waiting_for(json.loads(page.read()))
    except urllib.error.HTTPError as error:
        return False, _waiting_for(json.loads(error.read()))


def _waiting_for(report: Mapping[str, Any]) -> str:
    """The needs of a health report that are not met, or why it failed."""
    if report.get("failed"):
        return str(report["failed"])
    needs = report.get("needs", {})
    return ", ".join(f"{need}: {word}" for need, word in needs.items() if not word.startswith("ok"))


class Sums:
    """Counters added up over processes and their restarts, as Prometheus' `increase` would.

    >>> sums = Sums()
    >>> sums.update("a", 1, {("x_total", ()): 5.0})
    >>> sums.update("a", 2, {("x_total", ()): 2.0})
    >>> sums.total("x_total")
    7.0
    """

    def __init__(self) -> None:
        self._before: Series = {}
        self._now: dict[str, tuple[int | None, Series]] = {}

    def update(self, process: str, pid: int | None, series: Series) -> None:
        """Takes the newest page of a process; a new `pid` starts its counters at nought (None: the same)."""
        old_pid, old = self._now.get(process, (pid, {}))
        pid = old_pid if pid is None else pid
        if old_pid != pid:
            for key, value in old.items():
                if key[0].endswith(("_total", "_count", "_sum", "_bucket")):
                    self._before[key] = self._before.get(key, 0.0) + value
        self._now[process] = (pid, series)

    def _all(self) -> Iterable[tuple[tuple[str, Labels], float]]:
        yield from self._before.items()
        for _, series in self._now.values():
            yield from series.items()

    def total(self, name: str, **labels: str) -> float:
        """Sum of all samples of that name that carry these labels."""
        wanted = set(labels.items())
        return sum(value for (found, has), value in self._all() if found == name and wanted <= set(has))

    def by(self, name: str, label: str) -> dict[str, float]:
        """Sums of the samples of that name by the value of one label."""
        sums: dict[str, float] = {}
        for (found, has), value in self._all():
            if found == name:
                key = dict(has).get(label, "")
                sums[key] = sums.get(key, 0.0) + value
        return sums

    def buckets(self, name: str) -> dict[float, float]:
        """Cumulated counts of a histogram in seconds, by upper bound."""
        return {float(bound): count for bound, count in self.by(f"{name}_bucket", "le").items()}

    def gauges(self, name: str) -> dict[str, Series]:
        """The newest samples of a gauge or info, by process."""
        return {
            process: {key: value for key, value in series.items() if key[0] == name}
            for process, (_, series) in self._now.items()
        }


def quantile_ms(q: float, now: Mapping[float, float], then: Mapping[float, float]) -> float | None:
    """Quantile `q` in milliseconds of what a histogram gained between two looks; None if nothing.

    Linear within a bucket; the last bound stands for everything beyond it.

    >>> quantile_ms(0.5, {0.01: 5.0, 0.02: 10.0, float("inf"): 10.0}, {})
    10.0
    """
    bounds = sorted(now)
    counts = [now[bound] - then.get(bound, 0.0) for bound in bounds]
    if not counts or counts[-1] <= 0:
        return None
    rank, lower, below = q * counts[-1], 0.0, 0.0
    for bound, count in zip(bounds, counts, strict=True):
        if count >= rank and count > below:
            if bound == float("inf"):
                return lower * 1_000
            return round((lower + (bound - lower) * (rank - below) / (count - below)) * 1_000, 3)
        lower, below = bound, count
    return lower * 1_000
