"""Charts as SVG files: learning curves, AUC by day, trade-offs."""

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

__all__ = ["lines_svg", "path_svg"]

WIDTH, HEIGHT, MARGIN = 760, 400, 56
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a")


def lines_svg(title: str, across: Sequence[str], lines: Mapping[str, Sequence[float | None]]) -> str:
    """A chart of some lines over the same places; None is a gap, and a line's name carries its last value.

    >>> lines_svg("loss", ["1", "2"], {"train": [0.5, 0.25]}).count("<polyline")
    1
    """
    values = [value for line in lines.values() for value in line if value is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = (high - low) * 0.08 or 0.01
    low, high = low - room, high + room
    step = (WIDTH - 2 * MARGIN) / max(1, len(across) - 1)

    def y(value: float) -> float:
        return HEIGHT - MARGIN - (value - low) / (high - low) * (HEIGHT - 2 * MARGIN)

    parts = [_text(MARGIN, 24, title)]
    for n in range(6):
        value = low + (high - low) * n / 5
        parts.append(f'<path d="M{MARGIN} {y(value):.1f}H{WIDTH - MARGIN}" stroke="#ddd"/>')
        parts.append(_text(6, y(value) + 4, f"{value:.3f}"))
    for n in range(0, len(across), max(1, len(across) // 8)):
        parts.append(_text(MARGIN + n * step - 16, HEIGHT - MARGIN + 18, across[n]))
    for row, (name, line) in enumerate(lines.items()):
        colour = COLOURS[row % len(COLOURS)]
        for run in _runs(line):
            points = " ".join(f"{MARGIN + n * step:.1f},{y(value):.1f}" for n, value in run)
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        last = next((value for value in reversed(line) if value is not None), None)
        told = name if last is None else f"{name} {last:.4f}"
        parts.append(_text(MARGIN + 8 + 220 * (row // 6), 44 + 15 * (row % 6), told, colour))
    return _page(parts)


def path_svg(title: str, axes: tuple[str, str], points: Sequence[tuple[float, float, str]]) -> str:
    """One line through named points (x, y, name) in their order; `axes` name x and y.

    >>> path_svg("trade-off", ("x", "y"), [(0, 1, "a"), (1, 0, "b")]).count("<circle")
    2
    """
    places = [_scaled([x for x, _, _ in points]), _scaled([y for _, y, _ in points])]
    at = [
        (MARGIN + x * (WIDTH - 2 * MARGIN), HEIGHT - MARGIN - y * (HEIGHT - 2 * MARGIN))
        for x, y in zip(*places, strict=True)
    ]
    parts = [_text(MARGIN, 24, title), _text(WIDTH // 2, HEIGHT - 12, axes[0]), _text(6, 44, axes[1])]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
    parts.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[0]}" stroke-width="2"/>')
    for (x, y), (value_x, value_y, name) in zip(at, points, strict=True):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{COLOURS[0]}"/>')
        parts.append(_text(x + 7, y - 7, f"{name}: {value_x:.3f}, {value_y:.3f}"))
    return _page(parts)


def _scaled(values: Sequence[float]) -> list[float]:
    low, room = min(values), (max(values) - min(values)) or 1.0
    return [0.05 + 0.8 * (value - low) / room for value in values]


def _page(parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12">\n<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n{body}\n</svg>\n'
    )


def _runs(line: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """The stretches of a line between its gaps."""
    runs: list[list[tuple[int, float]]] = [[]]
    for n, value in enumerate(line):
        if value is not None:
            runs[-1].append((n, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _text(x: float, y: float, text: str, colour: str = "#24292f") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}">{escape(text)}</text>'
