"""The summary of one run: what happened, in numbers that agree with each other, and the verdict."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from infra.local.readings import auc, ctr, look
from infra.local.scrape import Sums, quantile_ms
from infra.local.supervisor import Life
from streams.errors import OperatorError
from streams.store import Outcomes

__all__ = ["RoleSummary", "Run", "Summary", "judge", "require_writable", "summarise", "write"]


UNANSWERED = ("TIMEOUT", "KAFKA")  # outcomes of a request that no reply came to


class RoleSummary(msgspec.Struct, frozen=True):
    """How one role fared; `ready_s` counts from its first start."""

    healthy: bool
    restarts: int
    ready_s: float | None
    max_rss_mib: float
    cpu_s: float
    faults: tuple[str, ...]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that `up --json` writes. Latencies are as the asking side measured them."""

    ok: bool
    problems: tuple[str, ...]
    kafka: str
    redis: str
    traffic: str
    seconds: float
    start_s: float | None  # from the command to the first moment with every role ready
    events_in: int
    events_applied: int
    repeats: int
    late: int
    dead_letters: int
    requests: int
    replies: int
    errors: int
    latency_ms: dict[str, float | None]
    ctr: float | None
    online_auc: float | None
    models: tuple[dict[str, str], ...]
    max_lag: int
    restarts: dict[str, int]
    roles: dict[str, RoleSummary]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What the stack knows when everything has stopped."""

    kafka: str
    redis: str
    traffic: str
    seconds: float
    start_s: float | None
    ledger: Outcomes
    sums: Sums
    models: Sequence[dict[str, str]]
    max_lag: int
    lives: Mapping[str, Life]
    usage: Mapping[str, tuple[float, float]]  # role -> (max RSS in MiB, CPU seconds)
    problems: Sequence[str] = ()


def summarise(run: Run) -> Summary:
    """The summary and its verdict."""
    replies = {k: int(v) for k, v in run.sums.by("streamrec_traffic_replies_total", "outcome").items()}
    requests = int(run.sums.total("streamrec_traffic_requests_total"))
    answered = sum(count for outcome, count in replies.items() if outcome not in UNANSWERED)
    end = look(run.sums, 0.0)
    problems = [*run.problems, *judge(run.lives, requests, answered)]
    return Summary(
        ok=not problems,
        problems=tuple(problems),
        kafka=run.kafka,
        redis=run.redis,
        traffic=run.traffic,
        seconds=round(run.seconds, 1),
        start_s=None if run.start_s is None else round(run.start_s, 1),
        events_in=run.ledger.records,
        events_applied=run.ledger.folded,
        repeats=run.ledger.repeats,
        late=run.ledger.late,
        dead_letters=run.ledger.dead,
        requests=requests,
        replies=answered,
        errors=answered - replies.get("ok", 0),
        latency_ms={f"p{q}": quantile_ms(q / 100, end.latency, {}) for q in (50, 99)},
        ctr=None if (rate := ctr(end)) is None else round(rate, 5),
        online_auc=auc(run.sums),
        models=tuple(run.models),
        max_lag=run.max_lag,
        restarts={name: life.restarts for name, life in run.lives.items() if life.restarts},
        roles={name: _role(life, *run.usage.get(name, (0.0, 0.0))) for name, life in run.lives.items()},
    )


def _role(life: Life, rss: float, cpu: float) -> RoleSummary:
    known = life.ready_s is not None and life.born_s is not None
    ready_s = round(life.ready_s - life.born_s, 1) if known else None  # type: ignore[operator]
    return RoleSummary(life.healthy, life.restarts, ready_s, round(rss, 1), round(cpu, 1), life.faults)


def judge(lives: Mapping[str, Life], requests: int, replies: int) -> list[str]:
    """What was not as it should be, one line each; empty if all is well."""
    problems = [f"{name}: {said}" for name, life in lives.items() if (said := _fault(life))]
    if requests != replies:
        problems.append(f"requests: {requests} sent, {replies} answered")
    return problems


def _fault(life: Life) -> str:
    parts = [f"crash loop, {life.restarts} restarts"] if life.crash_loop else []
    if life.restarts and not life.crash_loop:
        parts = [f"restarted {life.restarts} times" if life.restarts > 1 else "restarted once"]
    if life.ready_s is None:
        parts.append("never became ready")
    return "; ".join([*parts, *life.faults[-1:]])


def require_writable(path: Path, option: str) -> None:
    """Does nothing if what an option asks for can be written there.

    Raises:
        OperatorError: the folder does not exist.
    """
    if not path.absolute().parent.is_dir():
        raise OperatorError(f"{option}: no such folder: {path.absolute().parent}")


def write(summary: Summary, path: Path) -> None:
    """Writes the summary as JSON, whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    part.replace(path)
