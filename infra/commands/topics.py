"""`streamrec topics`: the topics of the table, made and shown."""

from typing import Annotated

import typer

from streams.settings import Settings, read_settings

__all__ = ["register"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Adds `topics create` and `topics list`."""
    topics = typer.Typer(no_args_is_help=True, help="Create and show Kafka's topics.")
    topics.command("create")(create)
    topics.command("list")(show)
    app.add_typer(topics, name="topics")


def create(as_json: Json = False) -> None:
    """Create what is missing; say where an existing topic differs (exit code 1). Changes nothing."""
    import msgspec

    from streams.kafka import create_topics

    settings = read_settings()
    before = _existing(settings)
    differences = create_topics(settings)
    created = sorted(_existing(settings) - before)
    if as_json:
        print(msgspec.json.encode({"created": created, "differences": differences}).decode())
    else:
        print(f"{len(created)} topics created, {len(before)} were there")
        for difference in differences:
            print(f"  {difference}")
    if differences:
        raise typer.Exit(1)


def show(as_json: Json = False) -> None:
    """List every topic with its partitions, retention, compaction and size limit, as they are."""
    import msgspec

    from streams.kafka import describe_topics

    states = describe_topics(read_settings())
    if as_json:
        print(msgspec.json.encode(states).decode())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("topic", "partitions", "copies", "kept", "largest batch", box=None, header_style="bold")
    for state in states:
        if not state.partitions:
            table.add_row(state.name, "missing")
            continue
        size = state.config.get("max.message.bytes")
        table.add_row(
            state.name,
            str(state.partitions),
            str(state.replication),
            _kept(state.config),
            f"{int(size) / 1_024:,.0f} KiB" if size else "?",
        )
    Console().print(table)


def _existing(settings: Settings) -> set[str]:
    from streams.kafka import describe_topics

    return {state.name for state in describe_topics(settings) if state.partitions}


def _kept(config: dict[str, str]) -> str:
    """Retention for people.

    >>> _kept({"cleanup.policy": "delete", "retention.ms": "259200000"})
    '3 d'
    """
    if config.get("cleanup.policy") == "compact":
        return "newest of each key"
    if "retention.ms" not in config:
        return "?"
    minutes = int(config["retention.ms"]) / 60_000
    return f"{minutes:g} min" if minutes < 2_880 else f"{minutes / 1_440:g} d"
