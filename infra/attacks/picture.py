"""A trial for people: a table, and the curve as an SVG file."""

from collections.abc import Callable, Sequence
from xml.sax.saxutils import escape

from rich.console import Group
from rich.table import Table
from rich.text import Text

from infra.attacks.trial import Point, Trial

__all__ = ["as_svg", "as_tables"]

WIDTH, HEIGHT, MARGIN = 640, 440, 60
COLOURS = {"events": "#1f6feb", "kinds of attack": "#d1242f"}


def as_tables(trial: Trial) -> Group:
    """The curve as a table, then every kind of attack at the limits as they stand."""
    curve = Table(
        "limits",
        "precision",
        "recall",
        "mean of kinds",
        "honest events flagged",
        "honest users touched",
        title=f"{trial.attack_events:,} events of {trial.attack_accounts} attackers among "
        f"{trial.honest_events:,} of {trial.honest_users} honest users, "
        f"seeds {', '.join(map(str, trial.seeds))}",
        title_justify="left",
    )
    for point in trial.points:
        curve.add_row(
            Text(f"× {point.factor:g}", "bold" if point.factor == 1 else ""),
            "-" if point.precision is None else f"{point.precision:.3f}",
            f"{point.recall:.3f}",
            f"{point.mean_recall:.3f}",
            f"{point.false_positive_ratio:.2%}",
            str(point.honest_users_flagged),
        )
    columns = ("attack", "recall", "by a process made anew every hour")
    kinds = Table(*columns, title="at the limits as they stand", title_justify="left")
    again = {} if trial.restarted is None else trial.restarted.recall_by_kind
    for kind, recall in _standing(trial).recall_by_kind.items():
        kinds.add_row(kind, f"{recall:.3f}", f"{again[kind]:.3f}" if kind in again else "-")
    if trial.restarted is not None:
        kinds.caption = f"recall of all events {_standing(trial).recall:.3f}, {trial.restarted.recall:.3f}"
    people = trial.people
    if people is None:
        return Group(curve, kinds)
    told = (
        f"{people.log}: {people.flagged:,} of {people.events:,} events flagged "
        f"({people.flagged / max(1, people.events):.2%}), {people.users_flagged} of {people.users} users: "
    )
    return Group(curve, kinds, Text(told + ", ".join(f"{why} {n}" for why, n in people.by_reason.items())))


def _standing(trial: Trial) -> Point:
    """The point of the limits as they are, or the nearest to it."""
    return min(trial.points, key=lambda point: abs(point.factor - 1))


def as_svg(trial: Trial) -> str:
    """Precision over recall, by events and by kinds of attack; the limits as they stand are ringed."""
    curves: dict[str, Callable[[Point], float]] = {
        "events": lambda point: point.recall,
        "kinds of attack": lambda point: point.mean_recall,
    }
    points = [point for point in trial.points if point.precision is not None]
    least = min((point.precision or 0.0 for point in points), default=0.0)
    floor = min(0.9, int(least * 10) / 10)
    parts = [*_axes(floor)]
    for row, (name, recall) in enumerate(curves.items()):
        parts += _curve(points, recall, COLOURS[name], floor)
        parts.append(_text(MARGIN + 16, HEIGHT - MARGIN - 34 + 16 * row, f"recall by {name}", COLOURS[name]))
    parts.append(_text(MARGIN, 24, f"Precision and recall of flagged events, limits × {_range(points)}"))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12">\n<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n{body}\n</svg>\n'
    )


def _range(points: Sequence[Point]) -> str:
    factors = [point.factor for point in points]
    return f"{min(factors):g} to {max(factors):g}" if factors else "none"


def _at(recall: float, precision: float, floor: float) -> tuple[float, float]:
    across, up = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN
    return MARGIN + recall * across, HEIGHT - MARGIN - (precision - floor) / (1 - floor) * up


def _axes(floor: float) -> list[str]:
    parts = []
    for step in range(6):
        recall, precision = step / 5, floor + (1 - floor) * step / 5
        (x, bottom), (left, y) = _at(recall, floor, floor), _at(0, precision, floor)
        parts.append(
            f'<path d="M{x:.1f} {bottom:.1f}V{MARGIN}M{left:.1f} {y:.1f}H{WIDTH - MARGIN}" stroke="#ddd"/>'
        )
        parts += [_text(x - 8, bottom + 18, f"{recall:.1f}"), _text(left - 36, y + 4, f"{precision:.2f}")]
    return [*parts, _text(WIDTH / 2 - 20, HEIGHT - 18, "recall"), _text(8, MARGIN - 12, "precision")]


def _curve(points: Sequence[Point], recall: Callable[[Point], float], colour: str, floor: float) -> list[str]:
    places = [_at(recall(point), point.precision or 0.0, floor) for point in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for point, (x, y) in zip(points, places, strict=True):
        ring = (
            f'stroke="{colour}" stroke-width="2" fill="white" r="6"'
            if point.factor == 1
            else f'fill="{colour}" r="3"'
        )
        told = escape(
            f"limits × {point.factor:g}: precision {point.precision:.3f}, recall {recall(point):.3f}"
        )
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" {ring}><title>{told}</title></circle>')
    return parts


def _text(x: float, y: float, text: str, colour: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}">{escape(text)}</text>'
