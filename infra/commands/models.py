"""`streamrec models`: the versions there are, which one serves, and another one in its place."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.settings import read_settings

if TYPE_CHECKING:
    from models.versions.registry import Champions
    from streams.events import ModelRecord

__all__ = ["register"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SHOWN = (
    "rows",
    "auc_click",
    "popularity_auc_click",
    "log_loss_click",
    "base_log_loss_click",
    "retrieval_recall",
)


Reason = Annotated[str, typer.Option("--reason", help="told on the topic `models`")]


def register(app: typer.Typer) -> None:
    """Adds `models`."""
    models = typer.Typer(no_args_is_help=True, help="Show model versions, and choose the one that serves.")
    models.command("list")(show)
    models.command("show")(show_one)
    models.command("promote")(promote)
    models.command("adopt")(adopt)
    models.command("rollback")(take_back)
    app.add_typer(models, name="models")


def show(as_json: Json = False) -> None:
    """List every version on topic `models` with its last step, newest last."""
    import msgspec

    rows, champion = _versions()
    if as_json:
        print(msgspec.json.encode({"champion": champion, "versions": rows}).decode())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for name in ("version", "state"):
        table.add_column(name, no_wrap=True, min_width=26 if name == "version" else None)
    for name in SHOWN:
        table.add_column(name.replace("_", " "), justify="right", overflow="fold")
    table.add_column("reasons", ratio=1, overflow="fold")
    for row in rows:
        numbers = [_shown(row["metrics"].get(name)) for name in SHOWN]
        mark = "*" if row["version"] == champion else ""
        table.add_row(row["version"] + mark, row["state"], *numbers, "; ".join(row["reasons"]))
    Console().print(table if rows else "no versions yet")


def show_one(
    version: Annotated[str | None, typer.Argument(help="default: the champion")] = None, as_json: Json = False
) -> None:
    """Show one version: every step, its metrics, and whether its files can serve here."""
    import msgspec

    from models.versions.registry import Champions
    from streams.errors import ModelRefused, OperatorError

    steps = _steps()
    champions = Champions()
    for step in steps:
        champions.apply(step)
    serving = champions.champion.version if champions.champion else None
    name = version or serving
    mine = [step for step in steps if step.version == name]
    if not mine:
        raise OperatorError(f"models: no version {name}" if name else "models: no champion yet")
    try:
        _check(mine[-1])
        fault = None
    except ModelRefused as error:
        fault = str(error)
    told = {
        "version": name,
        "serves": name == serving,
        "refused": fault,
        "uri": mine[-1].uri,
        "sha256": mine[-1].sha256,
        "metrics": mine[-1].metrics,
        "steps": [{"ts_ms": s.ts_ms, "state": s.state, "reasons": list(s.reasons)} for s in mine],
    }
    if as_json:
        print(msgspec.json.encode(told).decode())
        return
    print(f"{name}{' (serves)' if name == serving else ''}: {fault or 'can serve here'}")
    print(f"files: {mine[-1].uri} sha256 {mine[-1].sha256}")
    for s in mine:
        print(f"{_moment(s.ts_ms)}  {s.state}  {'; '.join(s.reasons)}")
    for line in _lines(mine[-1].metrics):
        print(line)


def promote(
    version: Annotated[str, typer.Argument()],
    reason: Reason = "no reason given",
    force: Annotated[bool, typer.Option("--force", help="also one that did not pass the gate")] = False,
    as_json: Json = False,
) -> None:
    """Make a version champion: its files are checked first, scorers swap within a second."""
    from models.versions.handover import promotion

    def steps(champions: "Champions", now_ms: int) -> "tuple[ModelRecord, ...]":
        return promotion(champions, version, reason, now_ms, _check, force)

    _hand_over(steps, as_json)


def take_back(
    to: Annotated[str | None, typer.Option(help="this version (default: the one before)")] = None,
    reason: Reason = "no reason given",
    as_json: Json = False,
) -> None:
    """Take the champion back: the newest earlier champion that can serve takes its place."""
    from models.versions.handover import rollback

    def steps(champions: "Champions", now_ms: int) -> "tuple[ModelRecord, ...]":
        return rollback(champions, reason, now_ms, _check, to)

    _hand_over(steps, as_json)


def adopt(
    file: Annotated[Path, typer.Argument(help="ONNX: features [n, columns] to logits [n, heads]")],
    as_json: Json = False,
) -> None:
    """Bring your own ranker: judged by the same gate on the newest slice, then published or rejected.

    Exit code 1 where it is rejected. See docs/bring-your-own-model.md.
    """
    import threading
    import time

    import msgspec

    from models.training.retraining import Retraining
    from streams.errors import ModelRefused, OperatorError
    from streams.events import MODELS
    from streams.kafka import Publisher

    try:
        graph = file.read_bytes()
    except OSError as error:
        raise OperatorError(f"models: cannot read {file}: {error.strerror}") from None
    settings = read_settings()
    announced: list[ModelRecord] = []
    with Publisher(settings) as publisher:

        def announce(step: "ModelRecord") -> None:
            publisher.send(MODELS, step)
            publisher.flush()
            announced.append(step)

        retraining = Retraining(settings, announce, lambda: time.time_ns() // 1_000_000, threading.Event())
        for step in _steps():
            retraining.champions.apply(step)
        try:
            last = retraining.adopt(graph)
        except (ModelRefused, ValueError) as error:
            raise OperatorError(f"models: {file.name}: {error}") from None
    if as_json:
        print(msgspec.json.encode(announced).decode())
    else:
        for step in announced:
            print(f"{step.version}: {step.state}, {'; '.join(step.reasons)}")
    if last.state != "champion":
        raise typer.Exit(1)


def _hand_over(steps: "Callable[[Champions, int], tuple[ModelRecord, ...]]", as_json: bool) -> None:
    """Announces the steps, the new champion first."""
    import time

    import msgspec

    from models.versions.registry import Champions
    from streams.errors import ModelRefused, OperatorError
    from streams.events import MODELS
    from streams.kafka import Publisher

    champions = Champions()
    for step in _steps():
        champions.apply(step)
    try:
        found = steps(champions, time.time_ns() // 1_000_000)
    except ModelRefused as error:
        raise OperatorError(f"models: {error}") from None
    with Publisher(read_settings()) as publisher:
        for step in found:
            publisher.send(MODELS, step)
            publisher.flush()
    if as_json:
        print(msgspec.json.encode(found).decode())
        return
    for step in found:
        print(f"{step.version}: {step.state}, {'; '.join(step.reasons)}")


def _check(step: "ModelRecord") -> None:
    """That a version's files are whole and score here what they scored when it was made.

    Raises:
        ModelRefused: naming what is wrong.
    """
    from models.learning.online import OnlineModel
    from models.serving.ranker import Ranker
    from models.versions.manifest import ONLINE
    from models.versions.registry import load_version
    from streams.errors import ModelRefused
    from streams.features import COLUMN_NAMES, unfit

    if not step.uri or not step.sha256:
        raise ModelRefused(f"{step.version}: its record names no files")
    loaded = load_version(step.uri, step.sha256)
    if fault := unfit(loaded.manifest.columns, loaded.manifest.definitions):
        raise ModelRefused(f"{step.version}: {fault}")
    Ranker.load(loaded.manifest, loaded.files, COLUMN_NAMES)
    if ONLINE not in loaded.files:
        raise ModelRefused(f"{step.version}: no {ONLINE}: a version is a pair")
    if OnlineModel.restore(loaded.files[ONLINE]).ranker != step.version:
        raise ModelRefused(f"{step.version}: {ONLINE} is paired with another ranker")


def _steps() -> "list[ModelRecord]":
    """Every step on the topic, oldest first."""
    import time

    from streams.codec import decode
    from streams.events import MODELS
    from streams.kafka import read_all

    now_ms = time.time_ns() // 1_000_000
    messages = read_all(read_settings(), MODELS)
    return [record for m in messages for record in decode(MODELS, m.key, m.value, now_ms).records]


def _versions() -> tuple[list[dict[str, Any]], str | None]:
    """Each version's last step as plain data, and the champion's name."""
    import msgspec

    from models.versions.registry import Champions

    champions = Champions()
    for record in _steps():
        champions.apply(record)
    steps = [
        {"trigger_id": None, "metrics": {}, "reasons": []} | msgspec.to_builtins(step)
        for step in champions.steps.values()
    ]
    champion = champions.champion
    return steps, champion.version if champion else None


def _moment(ts_ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(ts_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _lines(metrics: "Mapping[str, float]") -> list[str]:
    """A line for each metric, with its interval where it has one.

    >>> _lines({"auc_click": 0.75, "auc_high_click": 0.8, "auc_low_click": 0.5, "rows": 9.0})[0].split()
    ['auc_click', '0.7500', '[0.5000,', '0.8000]']
    >>> len(_lines({"retrieval_recall": 0.5, "retrieval_recall_low": 0.25, "retrieval_recall_high": 1.0}))
    1
    """
    ends, lines = set[str](), []
    for name, value in sorted(metrics.items()):
        stem, _, head = name.rpartition("_")
        pairs = ((f"{name}_low", f"{name}_high"), (f"{stem}_low_{head}", f"{stem}_high_{head}"))
        found = next((pair for pair in pairs if metrics.keys() >= set(pair)), ())
        ends.update(found)
        told = f"  [{', '.join(_shown(metrics[end]) for end in found)}]" if found else ""
        lines.append((name, f"  {name:<36} {_shown(value)}{told}"))
    return [line for name, line in lines if name not in ends]


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if value == int(value) else f"{value:.4f}"
