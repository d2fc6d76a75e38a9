"""A trial of the loop for people: its timeline, its figures, and an SVG of both curves."""

from xml.sax.saxutils import escape

from rich.console import Group
from rich.table import Table
from rich.text import Text

from infra.loop.report import ENTER, EXIT, Loop, Moment

__all__ = ["as_svg", "as_text", "line"]

WIDTH, HEIGHT, MARGIN, GAP = 860, 520, 56, 34
PSI, CLICKS, GREY = "#d1242f", "#1f6feb", "#8c959f"


def line(moment: Moment) -> str:
    """One line of the timeline: wall time, the viewers' clock, what happened.

    >>> line(Moment(12.34, 25.5, "drift"))
    '  12.3 s   25.5 h  drift'
    """
    return f"{moment.at_s:6.1f} s {moment.hours:6.1f} h  {moment.what}"


def as_text(loop: Loop) -> Group:
    """The phases, the scores, the alerts and the verdict."""
    table = Table("phase", "slates", "CTR", "true CTR", "of the best", title_justify="left")
    for phase in loop.phases:
        figures = (f"{phase.ctr:.3f}", f"{phase.true_ctr:.3f}", f"{phase.of_best:.3f}")
        table.add_row(phase.name, f"{phase.slates:,}", *figures)
    said = (
        f"quiet: {loop.quiet_windows} windows over {loop.quiet_hours:.0f} h; "
        f"asked by {', '.join(loop.columns)} at a PSI of {loop.psi_asked:.2f}, "
        f"{loop.psi_after:.3f} under the new champion (exit {EXIT}); "
        f"receiver: {', '.join(loop.alerts)}; {loop.seconds:.0f} s"
    )
    verdict = Text("the loop closed", "green")
    if loop.faults:
        verdict = Text("\n".join(loop.faults), "red")
    note = "true CTR: clicks to expect of ten places looked at; of the best: beside the ten best items"
    return Group(table, Text(note, "dim"), Text(said), verdict)


class _Panel:
    """One curve over hours: from `top`, `high` units tall."""

    def __init__(self, top: float, high: float, hours: float, most: float) -> None:
        self.top, self.high, self._hours, self._most = top, high, hours, most

    def x(self, hours: float) -> float:
        return MARGIN + hours / self._hours * (WIDTH - 2 * MARGIN)

    def y(self, value: float) -> float:
        return self.top + self.high * (1 - min(value, self._most) / self._most)

    def curve(self, points: list[tuple[float, float]], colour: str) -> str:
        line = " ".join(f"{self.x(at):.1f},{self.y(value):.1f}" for at, value in points)
        return f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'

    def level(self, value: float, said: str, colour: str = "#ddd") -> str:
        at = self.y(value)
        rule = f'<path d="M{MARGIN} {at:.1f}H{WIDTH - MARGIN}" stroke="{colour}" stroke-dasharray="4 3"/>'
        return rule + _text(8, at + 4, said)


def as_svg(loop: Loop) -> str:
    """PSI by window and the share of the best clicks, over the viewers' hours, with what happened when."""
    hours = max(loop.moments[-1].hours, 1.0)
    marks = [moment for moment in loop.moments if moment.mark]
    high = (HEIGHT - MARGIN - GAP - 20 - 16 * len(marks)) / 2
    psi = _Panel(MARGIN, high, hours, max(1.0, *(reading.psi for reading in loop.readings)))
    clicks = _Panel(MARGIN + high + GAP, high, hours, 1.1 * max(value for _, value in loop.course))
    parts = [
        _text(MARGIN, 24, "PSI of what drifted, by window (each model by its own reference)", PSI),
        _text(MARGIN, clicks.top - 8, "clicks to expect, as a share of the best slate's", CLICKS),
        psi.level(ENTER, f"{ENTER:g}"),
        psi.level(EXIT, f"{EXIT:g}"),
        clicks.level(0.25, "25 %"),
        clicks.level(0.5, "50 %"),
        clicks.curve([(at, value) for at, value in loop.course], CLICKS),
    ]
    for version in loop.versions:
        points = [(reading.hours, reading.psi) for reading in loop.readings if reading.model == version]
        parts.append(psi.curve(points, PSI))
        parts += [f'<circle cx="{psi.x(a):.1f}" cy="{psi.y(v):.1f}" r="3" fill="{PSI}"/>' for a, v in points]
    bottom = clicks.top + high
    for number, moment in enumerate(marks, 1):
        at = psi.x(moment.hours)
        parts.append(f'<path d="M{at:.1f} {MARGIN}V{bottom:.1f}" stroke="{GREY}"/>')
        parts.append(_text(at + 2, MARGIN + 10 * (number % 3 + 1), str(number), GREY))
        said = f"{number}  {moment.hours:.1f} h ({moment.at_s:.0f} s)  {moment.what}"
        parts.append(_text(MARGIN, bottom + 4 + 16 * number, said[:120]))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="11">\n<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n{body}\n</svg>\n'
    )


def _text(x: float, y: float, text: str, colour: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}">{escape(text)}</text>'
