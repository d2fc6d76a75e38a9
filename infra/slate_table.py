"""A reply as a person wants to see it: the slate, where its time went, and who scored it."""

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streams.events import Item, RankedItem, RankReply

__all__ = ["slate_table"]

BAR = 16  # characters of a full bar
EIGHTHS = " ▏▎▍▌▋▊▉"
SOURCES = {
    "request": "bright_black",
    "search": "magenta",
    "similar": "green",
    "trending": "yellow",
    "fresh": "cyan",
    "popular": "blue",
}
STAGES = ("retrieve", "features", "ranker", "online", "slate")
COLOURS = ("blue", "cyan", "magenta", "green", "yellow")
WHY = {
    "light": "the ranker is not in use: the online model alone ranked",
    "popular": "no model in use, Redis away or no time left: by popularity",
}


def bar(share: float, width: int = BAR) -> str:
    """A bar of `width` characters filled to `share`, in eighths of a character.

    >>> bar(0.5, 4), bar(0.03, 4), bar(2.0, 3)
    ('██  ', '▏   ', '███')
    """
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    if share > 0:
        eighths = max(eighths, 1)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (EIGHTHS[rest] if rest else "")).ljust(width)


def slate_table(reply: RankReply, items: Mapping[str, Item], round_trip_ms: float) -> RenderableType:
    """The whole picture; `items` holds what the catalogue says of the slate's items, if it was read."""
    return Group(
        _slate(reply, items), Text(), _timings(reply.timings_ms, round_trip_ms), Text(), _footer(reply)
    )


def _slate(reply: RankReply, items: Mapping[str, Item]) -> Table:
    table = Table(title=f"slate for {reply.user_id}", title_justify="left", title_style="bold", box=None)
    for name, right in (("#", True), ("item", False), ("title", False), ("about", False)):
        table.add_column(name, justify="right" if right else "left", header_style="dim", no_wrap=True)
    for name in ("score", "", "source", "moved by"):
        table.add_column(name, header_style="dim", no_wrap=True)
    best = max((abs(place.score) for place in reply.items), default=0.0) or 1.0
    for place in reply.items:
        table.add_row(*_row(place, items.get(place.item_id), best))
    if not reply.items:
        table.add_row("", "nothing to show", "", "", "", "", "", "")
    return table


def _row(place: RankedItem, item: Item | None, best: float) -> tuple[RenderableType, ...]:
    colour = SOURCES.get(place.source, "white")
    about = " · ".join(part for part in ((item.category, item.creator_id) if item else ()) if part)
    return (
        Text(str(place.position + 1), style="bold"),
        place.item_id,
        Text(item.title if item else "", overflow="ellipsis"),
        Text(about, style="dim"),
        f"{place.score:.4f}",
        Text(bar(place.score / best), style=colour),
        Text(place.source, style=colour),
        Text(", ".join(reason.replace("_", " ") for reason in place.reasons), style="dim"),
    )


def _timings(timings_ms: Mapping[str, float], round_trip_ms: float) -> RenderableType:
    """One line of blocks, as wide as each stage was long, and its legend."""
    stages = [(s, timings_ms[s], c) for s, c in zip(STAGES, COLOURS, strict=True) if s in timings_ms]
    total = timings_ms.get("total", 0.0)
    whole = max(sum(ms for _, ms, _ in stages), 1e-9)
    blocks, legend = Text("  "), Text("  ")
    for stage, ms, colour in stages:
        blocks.append("█" * max(1, round(ms / whole * 3 * BAR)), style=colour)
        legend.append("■ ", style=colour).append(f"{stage} {ms:.2f}   ")
    blocks.append(f"  {total:.1f} ms in the scorer, {round_trip_ms:.1f} ms there and back", style="bold")
    return Group(blocks, legend)


def _footer(reply: RankReply) -> Text:
    text = Text("  ")
    text.append(f"ranker {reply.model.ranker or '–'}   online {reply.model.online or '–'}", style="dim")
    for layer, arm in reply.variants.items():
        text.append(f"   {layer} {arm}", style="dim")
    text.append(f"   request {reply.request_id}", style="dim")
    if reply.degraded:
        text.append(f"\n  {reply.degraded}", style="bold yellow")
        text.append(f": {WHY.get(reply.degraded, 'a step down')}", style="yellow")
    return text
