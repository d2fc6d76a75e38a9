"""`streamrec rank`: one request through Kafka, and its slate."""

from typing import TYPE_CHECKING, Annotated

import typer

from streams.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Collection

    from streams.events import Item, RankRequest
    from streams.settings import Settings

__all__ = ["register"]

TITLES_S = 1.5  # how long the catalogue may take; without it the table has no titles


def register(app: typer.Typer) -> None:
    """Adds `rank`."""
    app.command("rank")(rank)


def rank(
    user: Annotated[str, typer.Option(help="whose slate")],
    limit: Annotated[int, typer.Option(help="items wanted")] = 10,
    query: Annotated[str | None, typer.Option(help="words to search for")] = None,
    candidates: Annotated[
        str | None, typer.Option(metavar="A,B", help="rank these items and no others")
    ] = None,
    timeout_ms: Annotated[
        int, typer.Option(min=1, max=600_000, help="the request's deadline, from now")
    ] = 1_000,
    as_json: Annotated[bool, typer.Option("--json", help="print the reply as JSON")] = False,
) -> None:
    """Ask the running system for one slate. Exit code 1: it answered by an error, or not in time."""
    import time

    from streams.codec import encode
    from streams.kafka import RankClient
    from streams.settings import read_settings

    request = _request(user, limit, query, candidates)
    settings = read_settings()
    with RankClient(settings) as client:
        start = time.perf_counter()
        reply = client.rank(request, timeout_ms)
        round_trip_ms = (time.perf_counter() - start) * 1_000
    if as_json:
        print(encode(reply).decode())
        return
    from rich.console import Console

    from infra.slate_table import slate_table

    items = _catalogue(settings, {place.item_id for place in reply.items})
    console = Console()
    console.print(slate_table(reply, items, round_trip_ms, console.width))


def _request(user: str, limit: int, query: str | None, candidates: str | None) -> "RankRequest":
    """The request, checked here as the scorer would, so that a slip is the operator's to mend."""
    import secrets
    import time

    from streams.codec import decode, encode
    from streams.events import REQUESTS, RankRequest

    listed = None if candidates is None else tuple(i.strip() for i in candidates.split(",") if i.strip())
    request = RankRequest(
        request_id=f"cli-{secrets.token_hex(6)}", user_id=user, limit=limit, query=query, candidates=listed
    )
    decoded = decode(REQUESTS, None, encode(request), time.time_ns() // 1_000_000)
    if decoded.malformed:
        raise OperatorError(f"rank: {decoded.malformed[0].message}")
    return request


def _catalogue(settings: "Settings", wanted: "Collection[str]") -> "dict[str, Item]":
    """What topic `items` says of these items, as far as it can be read in a moment."""
    from streams.catalogue.catalogue import Catalogue
    from streams.events import ITEMS
    from streams.kafka import Follower
    from streams.messages import Message

    catalogue = Catalogue()

    def apply(message: Message) -> None:
        if (message.key or b"").decode(errors="replace") in wanted:
            catalogue.apply(message)

    follower = Follower(settings, [ITEMS], apply)
    follower.start()
    follower.caught_up.wait(TITLES_S)
    follower.stop()
    return {item.item_id: item for item in catalogue.items()}
