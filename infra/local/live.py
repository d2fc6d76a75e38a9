"""What a person sees while the system runs: a table each second, or a plain line."""

from collections.abc import Sequence

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from infra.local.readings import Drift, Numbers

__all__ = ["Picture", "RoleRow", "line", "sparkline", "table"]

SPARK = 7  # readings in a sparkline
BARS = "▁▂▃▄▅▆▇█"
STYLES = {"ready": "green", "starting": "yellow", "not ready": "yellow", "restarting": "bold red"}


class RoleRow(msgspec.Struct, frozen=True):
    """One role in the table; `cpu` is in percent of one core, `rss` in MiB."""

    name: str
    phase: str
    pid: int | None = None
    restarts: int = 0
    cpu: float = 0.0
    rss: float = 0.0
    note: str = ""


class Picture(msgspec.Struct, frozen=True):
    """Everything that is shown at one moment."""

    kafka: str
    redis: str
    traffic: str
    elapsed_s: float
    for_s: float | None
    numbers: Numbers
    roles: tuple[RoleRow, ...]
    doing: str = ""  # starting, stopping, or nothing but running
    hint: str = ""
    past: tuple[Numbers, ...] = ()  # the numbers of the pictures before, oldest first


def shown(value: float | None, form: str = "{:.0f}") -> str:
    """A number, or a dash where there is none yet.

    >>> shown(None), shown(0.12345, "{:.3f}")
    ('–', '0.123')
    """
    return "–" if value is None else form.format(value)


def sparkline(values: Sequence[float | None], width: int = SPARK) -> str:
    """The newest `width` values as bars between zero and the highest of them; a gap where there is none.

    >>> sparkline([0, 1, None, 4, 2])
    '▁▃ █▅'
    """
    newest = values[-width:]
    most = max((v for v in newest if v is not None), default=0.0) or 1.0
    return "".join(" " if v is None else BARS[round(max(v, 0.0) / most * (len(BARS) - 1))] for v in newest)


# name, field of Numbers, format
FIGURES = (
    ("events/s", "events_per_s", "{:.0f}"),
    ("requests/s", "requests_per_s", "{:.1f}"),
    ("errors", "errors", "{:.0%}"),
    ("p50 ms", "p50_ms", "{:.1f}"),
    ("p99 ms", "p99_ms", "{:.1f}"),
    ("CTR", "ctr", "{:.3f}"),
    ("online AUC", "auc", "{:.3f}"),
    ("lag", "lag", "{:.0f}"),
)


def _figures(n: Numbers) -> list[tuple[str, str]]:
    return [(name, shown(getattr(n, field), form)) for name, field, form in FIGURES]


def line(picture: Picture) -> str:
    """One plain line, for a log or a pipe."""
    unwell = [f"{row.name} {row.phase}" for row in picture.roles if row.phase != "ready"]
    ready = sum(row.phase == "ready" for row in picture.roles)
    figures = "  ".join(f"{name} {value}" for name, value in _figures(picture.numbers))
    figures += f"  model {picture.numbers.model or 'none yet'}"
    if picture.numbers.drift.raised:
        figures += f"  drift {', '.join(picture.numbers.drift.raised)}"
    roles = f"roles {ready}/{len(picture.roles)} ready" + (f" ({', '.join(unwell)})" if unwell else "")
    if picture.doing:
        return f"{picture.elapsed_s:5.0f} s  {picture.doing}  {roles}"
    return f"{picture.elapsed_s:5.0f} s  {figures}  {roles}"


def table(picture: Picture) -> RenderableType:
    """The live table."""
    left = "" if picture.for_s is None or picture.doing else f" of {picture.for_s:.0f}"
    doing = f"{picture.doing}, " if picture.doing else ""
    title = Text.assemble(("streamrec", "bold"), f"  {doing}{picture.elapsed_s:.0f}{left} s")
    title.append(f"\nKafka   {picture.kafka}\nRedis   {picture.redis}\nTraffic {picture.traffic}", "dim")
    title.append(f"\nModel   {picture.numbers.model or 'none yet'}", "dim")
    drift = picture.numbers.drift
    title.append(f"\nDrift   {_drift(drift)}", "bold red" if drift.raised else "dim")
    blank = Text("")
    parts: list[RenderableType] = [title, blank, _numbers(picture), blank, _roles(picture.roles)]
    if picture.hint:
        parts += [blank, Text(picture.hint, "dim")]
    return Group(*parts)


def _drift(drift: Drift) -> str:
    """What the monitor says, in words.

    >>> _drift(Drift(("item_duration_s", 0.95), ("item_duration_s",), 1))
    'item_duration_s drifted three windows in a row, highest PSI 0.95; retrainings asked for: 1'
    """
    asked = f"; retrainings asked for: {drift.asked}" if drift.asked else ""
    if drift.worst is None:
        return f"not judged yet{asked}"
    name, psi = drift.worst
    if not drift.raised:
        return f"none that asks; highest PSI {psi:.2f}, {name}{asked}"
    return f"{', '.join(drift.raised)} drifted three windows in a row, highest PSI {psi:.2f}{asked}"


def _numbers(picture: Picture) -> Table:
    grid = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    figures = _figures(picture.numbers)
    for name, _ in figures:
        grid.add_column(name, justify="left", no_wrap=True)
    grid.add_row(*(Text(value, "bold") for _, value in figures))
    past = [*picture.past, picture.numbers]
    grid.add_row(*(Text(sparkline([getattr(n, field) for n in past]), "cyan") for _, field, _ in FIGURES))
    return grid


def _roles(rows: tuple[RoleRow, ...]) -> Table:
    grid = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    for name in ("role", "health"):
        grid.add_column(name, no_wrap=True)
    for name in ("pid", "restarts", "cpu %", "MiB"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("", style="dim")  # the one that gives way where the terminal is narrow
    for row in rows:
        grid.add_row(
            row.name,
            Text(row.phase, STYLES.get(row.phase, "dim")),
            shown(row.pid),
            Text(str(row.restarts), "bold red" if row.restarts else "dim"),
            shown(row.cpu),
            shown(row.rss),
            Text(row.note, no_wrap=True, overflow="ellipsis"),
        )
    return grid
