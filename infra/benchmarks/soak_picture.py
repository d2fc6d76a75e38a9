"""A soak for people: a table with its course, and an SVG file."""

from collections.abc import Sequence
from xml.sax.saxutils import escape

from rich.console import Group
from rich.table import Table
from rich.text import Text

from infra.benchmarks.soak import Point, Soak
from infra.benchmarks.trend import Trend

__all__ = ["as_svg", "as_table", "sparkline"]

MIB = 1_048_576
WIDTH, HEIGHT, MARGIN = 760, 400, 56
COLOURS = ("#1f6feb", "#d1242f")
SPARKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 40


def sparkline(values: Sequence[float], width: int = SPARK_WIDTH) -> str:
    """At most `width` marks, from 0 to the greatest value.

    >>> sparkline([0, 1, 2, 4, 4])
    '▁▃▅██'
    """
    most = max(values, default=0.0) or 1.0
    step = max(1.0, len(values) / width)
    chosen = [values[int(n * step)] for n in range(int(len(values) / step))]
    return "".join(SPARKS[min(7, round(value / most * 7.49))] for value in chosen)


def _series(soak: Soak) -> list[tuple[str, list[float], Trend]]:
    out = [("Redis memory", [point.redis_bytes / MIB for point in soak.points], soak.redis)]
    if soak.rss is not None:
        out.append(("RSS of the features worker", [point.rss_bytes / MIB for point in soak.points], soak.rss))
    return out


def as_table(soak: Soak) -> Group:
    """Each series: where it began and ended, its course, its rise and the verdict."""
    last = soak.points[-1]
    plan = soak.plan
    out = Table(
        "MiB",
        "first",
        "middle",
        "last",
        "course",
        "rise",
        "",
        title=f"{last.events:,} events at {soak.rate:,.0f}/s over {plan.days:g} days of event time, "
        f"{plan.users:,} users, {plan.items:,} items, seed {plan.seed}",
        title_justify="left",
    )
    for name, values, trend in _series(soak):
        verdict = Text("flat", "green") if trend.is_flat else Text("grows", "red")
        middle = values[len(values) // 2]
        figures = (f"{values[0]:.1f}", f"{middle:.1f}", f"{values[-1]:.1f}")
        out.add_row(name, *figures, sparkline(values), f"{trend.rise:+.1%}", verdict)
    bound = soak.redis.bound
    note = (
        f"rise: of a straight line through the second half, as a share of its mean; flat: at most {bound:.0%}"
    )
    return Group(out, Text(f"{note}\n{last.keys:,} keys at the end", "dim"))


def as_svg(soak: Soak) -> str:
    """MiB over days of event time; the second half, which is judged, is shaded."""
    series = _series(soak)
    most = 1.1 * max(max(values) for _, values, _ in series)
    days = soak.points[-1].days
    across, up = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN

    def x(day: float) -> float:
        return MARGIN + day / days * across

    def y(mib: float) -> float:
        return HEIGHT - MARGIN - mib / most * up

    middle = (soak.points[0].days + days) / 2
    shade = f'x="{x(middle):.1f}" y="{MARGIN}" width="{x(days) - x(middle):.1f}" height="{up}"'
    parts = [f'<rect {shade} fill="#f3f4f6"/>']
    for step in range(6):
        day, mib = days * step / 5, most * step / 5
        parts.append(f'<path d="M{MARGIN} {y(mib):.1f}H{WIDTH - MARGIN}" stroke="#ddd"/>')
        parts += [
            _text(x(day) - 8, HEIGHT - MARGIN + 18, f"{day:.1f}"),
            _text(8, y(mib) + 4, f"{mib:.0f} MiB"),
        ]
    for row, (colour, (name, values, trend)) in enumerate(zip(COLOURS, series, strict=False)):
        line = " ".join(f"{x(p.days):.1f},{y(v):.1f}" for p, v in zip(soak.points, values, strict=True))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        said = f"{name}: {'flat' if trend.is_flat else 'grows'} ({trend.rise:+.1%} over the second half)"
        parts.append(_text(MARGIN + 8, HEIGHT - MARGIN - 12 - 16 * row, said, colour))
    parts.append(_text(MARGIN, 24, _title(soak, soak.points[-1])))
    parts.append(_text(WIDTH / 2 - 60, HEIGHT - 14, "days of event time"))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12">\n<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n{body}\n</svg>\n'
    )


def _title(soak: Soak, last: Point) -> str:
    who = f"{soak.plan.users:,} users, {soak.plan.items:,} items"
    return f"{who}: {last.events:,} events in {last.wall_s / 60:.1f} minutes"


def _text(x: float, y: float, text: str, colour: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}">{escape(text)}</text>'
