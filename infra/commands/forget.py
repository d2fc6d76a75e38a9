"""`streamrec forget`: a user's wish to be forgotten, written down for every role."""

import time
from typing import Annotated

import typer

__all__ = ["register"]

POLL_S = 0.1


def register(app: typer.Typer) -> None:
    """Adds `forget`."""
    app.command("forget")(forget)


def forget(
    user: Annotated[str, typer.Argument(help="the user's id")],
    at: Annotated[
        int | None, typer.Option(help="forget what was done up to this time (Unix ms); default: now")
    ] = None,
    wait_s: Annotated[
        float, typer.Option("--wait", min=0, max=600, help="seconds to wait until the online state is gone")
    ] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Forget a user: everything done so far is deleted and never counted or learned from again.

    The wish stands on topic `users.forgotten`, which every role follows; what stays is told in
    docs/forgetting.md. Exit code 1: the online state was not seen gone within the time to wait, because
    the role `features` is not running or busy; the wish stands all the same.
    """
    import json

    from streams.codec import decode, encode
    from streams.errors import OperatorError
    from streams.events import FORGOTTEN, Forgotten
    from streams.kafka import Publisher
    from streams.settings import read_settings
    from streams.store.connect import connect

    now_ms = time.time_ns() // 1_000_000
    wish = Forgotten(user_id=user, ts_ms=now_ms if at is None else at)
    decoded = decode(FORGOTTEN, None, encode(wish), now_ms)
    if decoded.malformed:
        raise OperatorError(f"forget: {decoded.malformed[0].message}")
    settings = read_settings()
    with Publisher(settings) as publisher:
        publisher.send(FORGOTTEN, wish)
        publisher.flush()
    store = connect(settings)
    try:
        give_up = time.monotonic() + wait_s
        gone = not store.remembers(user, wish.ts_ms)
        while not gone and time.monotonic() < give_up:
            time.sleep(POLL_S)
            gone = not store.remembers(user, wish.ts_ms)
    finally:
        store.close()
    if as_json:
        print(json.dumps({"user_id": user, "ts_ms": wish.ts_ms, "online_state_gone": gone}))
    elif gone:
        print(f"{user}: forgotten; no online state of before {wish.ts_ms} stands")
    else:
        print(f"{user}: the wish is written down; the online state still stands: is `features` running?")
    if not gone:
        raise typer.Exit(1)
