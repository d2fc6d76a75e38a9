"""A comparison for people: a table with intervals, and bars."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from infra.lockstep.compare import Comparison, Interval, PolicyCtr

__all__ = ["as_picture", "bar"]

WIDTH = 44
BESIDE = 80  # columns that all but the bars take


def as_picture(result: Comparison, width: int = BESIDE + WIDTH) -> Group:
    """The table, then one line for each policy that the first one is held against.

    `width` is the terminal's; where it is narrow the bars are shorter, or left out.
    """
    room = min(WIDTH, width - BESIDE)
    first, others = result.policies[0], result.policies[1:]
    seeds = ", ".join(str(seed) for seed in result.seeds)
    table = Table(
        title=f"click rate with 95 % intervals: {result.viewers:,} simulated viewers came, seeds {seeds}",
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )
    table.add_column("policy", no_wrap=True)
    for name in ("impressions", "CTR", "95 %", f"behind {first.policy}"):
        table.add_column(name, justify="right", no_wrap=True)
    if room > 0:
        table.add_column("", width=room, no_wrap=True)
    most = max(policy.ctr.high for policy in result.policies)
    for policy in result.policies:
        bars = [bar(policy.ctr, most, room)] if room > 0 else []
        table.add_row(*_cells(policy, policy is first), *bars)
    return Group(table, *(_verdict(first, other) for other in others))


def _cells(policy: PolicyCtr, is_first: bool) -> tuple[str, str, str, str, str]:
    gap = policy.behind
    behind = "" if is_first else f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]".replace("[", "\\[")
    spread = f"{policy.ctr.low:.3f}–{policy.ctr.high:.3f}"
    return policy.policy, f"{policy.impressions:,}", f"{policy.ctr.value:.3f}", spread, behind


def bar(interval: Interval, most: float, width: int = WIDTH) -> Text:
    """A bar to the lower end of the interval, shaded to the upper one.

    >>> bar(Interval(0.5, 0.25, 0.75), 1.0, width=8).plain
    '██▒▒▒▒'
    """
    scale = width / most if most > 0 else 0.0
    low, high = round(interval.low * scale), round(interval.high * scale)
    return Text("█" * low, "cyan") + Text("▒" * max(0, high - low), "cyan")


def _verdict(first: PolicyCtr, other: PolicyCtr) -> Text:
    ratio = f"{first.ctr.value / other.ctr.value:.2f} times" if other.ctr.value else "above"
    if first.ctr.low > other.ctr.high:
        return Text(f"✓ {first.policy} over {other.policy}: {ratio}, intervals apart", "green")
    if other.behind.low > 0:
        return Text(f"~ {first.policy} over {other.policy}: {ratio}, apart viewer by viewer only", "yellow")
    return Text(f"✗ {first.policy} over {other.policy}: {ratio}, not apart", "red")
