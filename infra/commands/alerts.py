"""`streamrec alerts`: a test message to a receiver, what is firing, and receivers that were switched off."""

import json
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from streams.errors import OperatorError

__all__ = ["register"]

FORMAT_HELP = "standard, slack, pagerduty or alertmanager"
SECRET_HELP = "of the signing secret, routing key or token"  # noqa: S105
Json = Annotated[bool, typer.Option("--json", help="print JSON")]


def register(app: typer.Typer) -> None:
    """Adds `alerts`."""
    group = typer.Typer(help="Test receivers of alerts, and see what is firing.", no_args_is_help=True)
    group.command("test")(try_out)
    group.command("list")(list_firing)
    group.command("on")(switch_on)
    app.add_typer(group, name="alerts")


def try_out(
    target: Annotated[str, typer.Argument(metavar="URL", help="a URL, or the name of a configured receiver")],
    format_: Annotated[str, typer.Option("--format", help=FORMAT_HELP)] = "standard",
    secret_env: Annotated[str, typer.Option(help=f"environment variable {SECRET_HELP}")] = "",
    secret_file: Annotated[Path | None, typer.Option(help=f"file {SECRET_HELP}")] = None,
    allow_loopback: Annotated[bool, typer.Option(help="let the URL be on this machine, also http")] = False,
    as_json: Json = False,
) -> None:
    """Send a test alert, firing and then resolved, and say what happened (exit code 1 if not delivered)."""
    import asyncio

    from monitors.alerts import trial
    from streams.settings import read_settings

    secret = _secret(secret_env, secret_file)
    target_, reach = trial.one_target(
        read_settings().alert_receivers, os.environ, target, format_, secret, allow_loopback
    )
    answers = asyncio.run(trial.try_out(target_, reach, time.time_ns() // 1_000_000))
    good = all(answer.outcome == "delivered" for _, answer in answers)
    if as_json:
        told = [_told(status, answer) for status, answer in answers]
        print(
            json.dumps({"receiver": target_.name, "format": target_.format, "delivered": good, "sent": told})
        )
    else:
        for status, answer in answers:
            excerpt = f": {answer.excerpt}" if answer.excerpt else ""
            print(f"{status}: {answer.outcome}, {answer.said}{excerpt}, {answer.ms:.0f} ms")
    if not good:
        raise typer.Exit(1)


def _told(status: str, answer: Any) -> dict[str, Any]:
    fields = ("outcome", "status", "said", "ms", "retry_after_s", "excerpt")
    return {"alert": status} | {name: getattr(answer, name) for name in fields}


def _secret(env: str, file: Path | None) -> str:
    if env and file:
        raise OperatorError("--secret-env, --secret-file: expected one of them")
    if env and not os.environ.get(env):
        raise OperatorError(f"--secret-env: {env} is empty or not set")
    if file is None:
        return os.environ.get(env, "").strip() if env else ""
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        raise OperatorError(f"--secret-file: cannot read {file}") from None


def list_firing(as_json: Json = False) -> None:
    """List what is firing now, by the topic."""
    import msgspec

    from monitors.alerts.trial import firing_now
    from streams.settings import read_settings

    alerts = firing_now(read_settings(), time.time_ns() // 1_000_000)
    if as_json:
        print(msgspec.json.encode(alerts).decode())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("since", "severity", "fingerprint", "summary", box=None, header_style="bold")
    for alert in alerts:
        since = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(alert.ts_ms / 1_000))
        table.add_row(since, alert.severity, alert.fingerprint, alert.summary)
    Console().print(table if alerts else "nothing is firing")


def switch_on(
    name: Annotated[str, typer.Argument(help="a receiver that was switched off by an answer 410")],
) -> None:
    """Tell a receiver again that was switched off: it is told at once what is firing."""
    from contextlib import closing

    from monitors.alerts.ledger import Ledger
    from monitors.alerts.role import ledger_path
    from streams.settings import read_settings

    path = ledger_path(read_settings())
    if not path.is_file():
        raise OperatorError(f"alerts on: no ledger at {path}; run it where the role runs (STREAMREC_STATE)")
    with closing(Ledger(path)) as ledger:
        if not ledger.switch_on(name):
            raise OperatorError(f"alerts on: no receiver {name} is switched off")
    print(f"{name} is on")
