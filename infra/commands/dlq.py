"""`streamrec dlq`: the dead letters of every topic: listed, shown, sent again."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.errors import OperatorError

if TYPE_CHECKING:
    from streams.dead_letters import Place

__all__ = ["register"]

Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Which = Annotated[
    str, typer.Argument(metavar="TOPIC", help="the topic that they failed on, e.g. events.clicks")
]
SKIPPED = {
    "already": "sent before (--again sends them once more)",
    "too_often": "failed too many times (--again sends them once more)",
    "forgotten": "of a forgotten user",
    "cut": "too large to have been kept whole",
}


def register(app: typer.Typer) -> None:
    """Adds `dlq list`, `dlq show` and `dlq replay`."""
    group = typer.Typer(help="Look at dead letters, and send them again.", no_args_is_help=True)
    group.command("list")(list_letters)
    group.command("show")(show)
    group.command("replay")(replay_letters)
    app.add_typer(group, name="dlq")


def list_letters(
    topic: Annotated[str | None, typer.Option(help="this topic alone")] = None, as_json: Json = False
) -> None:
    """Count dead letters by topic, exception class and shape of message."""
    from infra.dead_letters import read_shelf, summary, topic_named
    from streams.events import TOPICS
    from streams.settings import read_settings

    settings = read_settings()
    topics = [topic_named(topic)] if topic else list(TOPICS.values())
    found = [summary(read_shelf(settings, each)) for each in topics]
    if as_json:
        _print_json(found)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("topic", "letters", "sent again", "newest", "exception", "message", "of them", box=None)
    for each in found:
        head = [each["topic"], f"{each['letters']:,}", f"{each['replayed']:,}", _when(each["newest_ms"])]
        for reason in each["reasons"]:
            table.add_row(*head, reason["reason"], _plain(reason["shape"]), f"{reason['letters']:,}")
            head = [""] * 4
    if table.row_count:
        Console().print(table)
    else:
        print("no dead letters")


def show(
    topic: Which,
    partition: Annotated[int | None, typer.Option(help="of the dead-letter topic")] = None,
    offset: Annotated[int | None, typer.Option(help="of the dead-letter topic")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="the newest so many")] = 10,
    as_json: Json = False,
) -> None:
    """Show dead letters, the newest last: why, from where, and what they held."""
    from infra.dead_letters import read_shelf, shown, topic_named
    from streams.settings import read_settings

    shelf = read_shelf(read_settings(), topic_named(topic))
    found = [
        letter
        for letter in shelf.letters
        if (partition is None or letter.place.partition == partition)
        and (offset is None or letter.place.offset == offset)
    ]
    letters = [shown(shelf, letter) for letter in found[-limit:]]
    if as_json:
        _print_json(letters)
        return
    from rich.console import Console
    from rich.table import Table

    for letter in letters:
        table = Table(
            title=f"{topic} {letter['partition']}:{letter['offset']}", title_justify="left", box=None
        )
        table.add_column()
        table.add_column(overflow="fold")
        for name, value in letter.items():
            if name not in ("partition", "offset") and value not in (None, {}, False):
                table.add_row(name, _plain(_when(value) if name == "written_ms" else value))
        Console().print(table)
    if not letters:
        print("no such dead letters")


def replay_letters(
    topic: Which,
    where: Annotated[
        list[str] | None, typer.Option(metavar="PARTITION:OFFSET", help="this letter; may be repeated")
    ] = None,
    reason: Annotated[
        list[str] | None, typer.Option(help="letters of this exception class; may be repeated")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="also what was sent before")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would go, and send nothing")] = False,
    as_json: Json = False,
) -> None:
    """Send dead letters back to their topic, each once, with the headers that they came with."""
    import msgspec
    from rich.console import Console
    from rich.progress import Progress

    from infra.dead_letters import is_forgotten, read_shelf, replay, topic_named
    from streams.dead_letters import plan
    from streams.kafka import Publisher
    from streams.settings import read_settings

    settings, its_topic = read_settings(), topic_named(topic)
    places = [_place(text) for text in where or ()]
    shelf = read_shelf(settings, its_topic)
    planned = plan(
        shelf.letters, shelf.replayed, is_forgotten(shelf), where=places, reasons=reason or (), again=again
    )
    going = sum(skip is None for _, skip in planned)
    with Publisher(settings) as publisher, Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(f"{its_topic.name}", total=going, visible=not dry_run and going > 0)
        done = replay(
            publisher, its_topic, planned, dry_run=dry_run, on_confirmed=lambda n: bars.advance(task, n)
        )
    if as_json:
        _print_json(msgspec.to_builtins(done))
        return
    print(
        f"{done.confirmed:,} would be sent"
        if dry_run
        else f"{done.confirmed:,} sent, each confirmed by the broker"
    )
    for why, letters in done.skipped.items():
        print(f"{letters:,} left: {SKIPPED[why]}")


def _place(text: str) -> "Place":
    from streams.dead_letters import Place

    partition, _, offset = text.partition(":")
    if not (partition.isdecimal() and offset.isdecimal()):
        raise OperatorError(f"dlq replay: --where: expected PARTITION:OFFSET such as 0:17, got {text!r}")
    return Place(int(partition), int(offset))


def _print_json(value: Any) -> None:
    import json

    print(json.dumps(value, indent=2))


def _when(ms: int | None) -> str:
    from datetime import UTC, datetime

    return "-" if ms is None else f"{datetime.fromtimestamp(ms / 1_000, UTC):%Y-%m-%d %H:%M:%S}Z"


def _plain(value: Any) -> str:
    """Text that the table does not take for markup."""
    from rich.markup import escape

    return escape(str(value))
