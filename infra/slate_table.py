"""A reply as a person wants to see it: the slate, where its time went, and who scored it."""

from collections.abc import Mapping

from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from streams.events import Item, RankedItem, RankReply

__all__ = ["slate_table"]

BAR = 16  # characters of a full bar
WIDE = 110  # characters from which on there is room for everything
COLUMNS = ("#", "item", "title", "about", "score", "", "source", "moved by")
EIGHTHS = " ▏▎▍▌▋▊▉"
SOURCES = {
    "request": "bright_black",
    "search": "magenta",
    "semantic": "bright_magenta",
    "similar": "green",
    "trending": "yellow",
    "fresh": "cyan",
    "popular": "blue",
    "cached": "bright_black",
}
STAGES = ("retrieve", "features", "ranker", "online", "slate")
COLOURS = ("blue", "cyan", "magenta", "green", "yellow")
WHY = {
    "light": "the ranker is not in use: the online model alone ranked",
    "cached": "nothing could score: the slate that was made for the user before",
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


def slate_table(
    reply: RankReply, items: Mapping[str, Item], round_trip_ms: float, width: int
) -> RenderableType:
    """The whole picture, `width` characters wide.

    `items` holds what the catalogue says of the slate's items, if it was read.
    """
    timings = _timings(reply.timings_ms, round_trip_ms)
    return Group(_slate(reply, items, width), Text(), timings, Text(), _footer(reply))


def _slate(reply: RankReply, items: Mapping[str, Item], width: int) -> RenderableType:
    """The places of the slate. Titles take what room the rest leaves; a narrow table says less."""
    if not reply.items:
        return Text(f"slate for {reply.user_id}: nothing to show", style="bold")
    wide = width >= WIDE
    best = max(abs(place.score) for place in reply.items) or 1.0
    rows = [_row(place, items.get(place.item_id), best, wide) for place in reply.items]
    table = Table(title=f"slate for {reply.user_id}", title_justify="left", title_style="bold", box=None)
    names = [name for name in COLUMNS if wide or name != "about"]
    widths = [max([len(name), *(len(row[at]) for row in rows)]) for at, name in enumerate(names)]
    title = names.index("title")
    spare = width - sum(widths) - 2 * len(names)
    widths[title] = max(8, min(widths[title], widths[title] + spare))
    for name, taken in zip(names, widths, strict=True):
        justify: JustifyMethod = "right" if name == "#" else "left"
        table.add_column(name, header_style="dim", no_wrap=True, width=taken, justify=justify)
    for row in rows:
        table.add_row(*row)
    return table


def _row(place: RankedItem, item: Item | None, best: float, wide: bool) -> list[Text]:
    colour = SOURCES.get(place.source, "white")
    about = " · ".join(part for part in ((item.category, item.creator_id) if item else ()) if part)
    cells = [
        Text(str(place.position + 1), style="bold"),
        Text(place.item_id),
        Text(item.title if item else "", overflow="ellipsis"),
        Text(about, style="dim"),
        Text(f"{place.score:.4f}"),
        Text(bar(place.score / best, BAR if wide else BAR // 2), style=colour),
        Text(place.source, style=colour),
        Text(", ".join(reason.replace("_", " ") for reason in place.reasons), style="dim"),
    ]
    return cells if wide else cells[:3] + cells[4:]


def _timings(timings_ms: Mapping[str, float], round_trip_ms: float) -> RenderableType:
    """One line of blocks, as wide as each stage was long, and its legend."""
    stages = [(s, timings_ms[s], c) for s, c in zip(STAGES, COLOURS, strict=True) if s in timings_ms]
    total = timings_ms.get("total", 0.0)
    whole = max(sum(ms for _, ms, _ in stages), 1e-9)
    blocks, legend = Text("  "), Text(" ")
    for stage, ms, colour in stages:
        blocks.append("█" * max(1, round(ms / whole * 2 * BAR)), style=colour)
        legend.append(" ■ ", style=colour).append(f"{stage} {ms:.2f} ")
    blocks.append(f"  {total:.1f} ms, {round_trip_ms:.1f} ms there and back", style="bold")
    return Group(blocks, legend)


def _footer(reply: RankReply) -> Text:
    text = Text(style="dim")
    text.append(f"  ranker   {reply.model.ranker or '–'}\n  online   {reply.model.online or '–'}")
    for layer, arm in reply.variants.items():
        text.append(f"\n  {layer}   {arm}")
    text.append(f"\n  request  {reply.request_id}")
    if reply.degraded:
        text.append(f"\n  {reply.degraded}", style="bold yellow")
        text.append(f": {WHY.get(reply.degraded, 'a step down')}", style="yellow")
    return text
