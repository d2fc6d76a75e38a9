"""`streamrec retrain`: asks the trainer for a new version, and waits for the answer."""

import re
import time
from typing import TYPE_CHECKING, Annotated

import typer

from streams.errors import OperatorError

if TYPE_CHECKING:
    from streams.events import ModelRecord, RetrainTrigger
    from streams.settings import Settings

__all__ = ["register", "trigger_of"]

LOOK_S = 0.5  # between two looks at `models`


def register(app: typer.Typer) -> None:
    """Adds `retrain`."""
    app.command("retrain")(retrain)


def retrain(
    reason: Annotated[str, typer.Option(help="why, in a few words")],
    wait: Annotated[float, typer.Option(min=0, help="seconds to wait for the answer; 0: do not")] = 300.0,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Ask for a new version: trained on the newest window, held against the champion, published or rejected.

    Exit code 1 where the answer is not a champion, or does not come in time.
    """
    import msgspec

    from streams.events import TRIGGERS
    from streams.kafka import Publisher
    from streams.settings import read_settings

    settings = read_settings()
    trigger = trigger_of(reason, time.time_ns() // 1_000_000)
    with Publisher(settings) as publisher:
        publisher.send(TRIGGERS, trigger)
        publisher.flush()
    if not as_json:
        print(f"asked: {trigger.trigger_id}")
    if not wait:
        if as_json:
            print(msgspec.json.encode({"trigger_id": trigger.trigger_id, "steps": []}).decode())
        return
    steps = _answer(settings, trigger.trigger_id, wait, quiet=as_json)
    if as_json:
        print(msgspec.json.encode({"trigger_id": trigger.trigger_id, "steps": steps}).decode())
    if not steps or steps[-1].state != "champion":
        raise typer.Exit(1)


def trigger_of(reason: str, now_ms: int) -> "RetrainTrigger":
    """The trigger of a person; its reason is cut to what an id may hold, the words are its evidence.

    >>> trigger_of("new catalogue!", 5).reason
    'new-catalogue'

    Raises:
        OperatorError: a reason without a letter or figure.
    """
    from streams.events import RetrainTrigger

    name = re.sub(r"[^A-Za-z0-9_.:]+", "-", reason).strip("-")[:64].strip("-")
    if not name:
        raise OperatorError(f"retrain: --reason: expected some words, got {reason!r}")
    return RetrainTrigger(
        trigger_id=f"{name}-{now_ms}", ts_ms=now_ms, reason=name, evidence=(f"by hand: {reason}",)
    )


def _answer(settings: "Settings", trigger_id: str, wait_s: float, quiet: bool) -> "list[ModelRecord]":
    """The trigger's steps as far as they came, each printed as it does."""
    from models.versions.registry import FINAL
    from streams.codec import decode
    from streams.events import MAX_MS, MODELS
    from streams.kafka import read_all

    shown, until = 0, time.monotonic() + wait_s
    while True:
        messages = read_all(settings, MODELS)
        records = [record for m in messages for record in decode(MODELS, m.key, m.value, MAX_MS).records]
        steps = [record for record in records if record.trigger_id == trigger_id]
        for step in steps[shown:]:
            if not quiet:
                print(f"{step.version}: {step.state}  {'; '.join(step.reasons)}".rstrip())
        shown = len(steps)
        if (steps and steps[-1].state in FINAL) or time.monotonic() >= until:
            return steps
        time.sleep(LOOK_S)
