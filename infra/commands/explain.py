"""`streamrec explain`: how one slate came about."""

from typing import TYPE_CHECKING, Annotated

import typer

from streams.errors import OperatorError

if TYPE_CHECKING:
    from models.serving.trace import Row, Trace

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds `explain`."""
    app.command("explain")(explain)


def explain(
    request_id: Annotated[str, typer.Argument(help="as `streamrec rank` shows it")],
    rows: Annotated[int, typer.Option(min=1, max=1_000, help="candidates shown, the slate's first")] = 20,
    item: Annotated[str | None, typer.Option(help="the features of this candidate")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the whole trace as JSON")] = False,
) -> None:
    """Show a slate's candidates, scores, features and moves, for ten minutes after it was served.

    A scorer traces STREAMREC_TRACES_PER_S slates a second, and Redis keeps the newest 1,000 at most. Exit
    code 2: there is no trace of that request.
    """
    import msgspec

    from models.serving.trace import read_trace
    from streams.settings import read_settings
    from streams.store.connect import connect

    store = connect(read_settings())
    try:
        trace = read_trace(store, request_id)
    finally:
        store.close()
    if trace is None:
        raise OperatorError(
            f"explain: no trace of {request_id}: never served, not kept, or older than 10 minutes"
        )
    if as_json:
        print(msgspec.json.encode(trace).decode())
        return
    if item is None:
        _print(trace, rows)
        return
    found = next((row for row in trace.candidates if row.item_id == item), None)
    if found is None:
        raise OperatorError(f"explain: {item} was no candidate of {request_id}")
    _print_features(trace, found)


def _print(trace: "Trace", rows: int) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    step = f", degraded: {trace.degraded}" if trace.degraded else ""
    arms = "".join(f", {layer}: {arm}" for layer, arm in trace.variants.items())
    console.print(
        f"{trace.request_id} of {trace.user_id}: {len(trace.candidates)} candidates, limit {trace.limit},"
        f" ranker {trace.model.ranker or '-'}, online {trace.model.online or '-'}{step}{arms}"
    )
    columns = ("#", "item", "source", "score", "by score", "moved", "chance", "why")
    table = Table(*columns, box=None)
    for row in trace.candidates[:rows]:
        table.add_row(
            "-" if row.position is None else str(row.position + 1),
            row.item_id,
            row.source,
            f"{row.score:.4f}",
            str(row.by_score + 1),
            _moved(row),
            "" if row.propensity is None else f"{row.propensity:.3g}",
            ", ".join(reason.replace("_", " ") for reason in row.reasons),
        )
    console.print(table)
    if len(trace.candidates) > rows:
        console.print(f"and {len(trace.candidates) - rows} more (--rows, --json)")
    console.print(" ".join(f"{stage} {ms:.2f}" for stage, ms in trace.timings_ms.items()), "ms")


def _moved(row: "Row") -> str:
    """How many places a row went up or down by all rules.

    >>> from models.serving.trace import Row
    >>> _moved(Row("i1", "fresh", 0.5, 0.5, 7, 2)), _moved(Row("i1", "fresh", 0.5, 0.5, 0, 4))
    ('up 5', 'down 4')
    """
    by = row.by_score - row.by_rules
    return f"up {by}" if by > 0 else f"down {-by}" if by < 0 else ""


def _print_features(trace: "Trace", row: "Row") -> None:
    from rich.console import Console
    from rich.table import Table

    if not row.features:
        raise OperatorError(f"explain: the features of {row.item_id} were not kept: it stood too far behind")
    table = Table("feature", "value", box=None)
    for name, value in zip(trace.columns, row.features, strict=True):
        table.add_row(name, "missing" if value is None else f"{value:.6g}")
    for head, value in row.logits.items():
        table.add_row(f"ranker's logit of {head}", f"{value:.4f}")
    for head, value in row.adjusted.items():
        table.add_row(f"adjusted logit of {head}", f"{value:.4f}")
    Console().print(table)
