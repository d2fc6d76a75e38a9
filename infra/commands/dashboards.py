"""`streamrec dashboards`: Grafana's dashboards written as files, pushed, and annotated."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from streams.errors import OperatorError
from streams.redis_address import is_loopback

if TYPE_CHECKING:
    from monitors.dashboards.grafana import Grafana

__all__ = ["register"]

SHIPPED = Path(__file__).parents[1] / "grafana" / "dashboards"

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Url = Annotated[str, typer.Option(help="Grafana, as in https://grafana.example.org")]
TokenFile = Annotated[Path, typer.Option(help="file that holds a service account's token")]
Insecure = Annotated[bool, typer.Option("--insecure", help="allow http:// to another machine")]


def register(app: typer.Typer) -> None:
    """Adds `dashboards export`, `push` and `annotate`."""
    group = typer.Typer(no_args_is_help=True, help="Grafana dashboards: files, push, annotations.")
    group.command("export")(export)
    group.command("push")(push)
    group.command("annotate")(annotate)
    app.add_typer(group, name="dashboards")


def export(
    out: Annotated[Path, typer.Option(help="folder to write to")] = SHIPPED, as_json: Json = False
) -> None:
    """Write every dashboard as a file that Grafana can provision."""
    from monitors.dashboards.build import dashboards, text

    written = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for uid, dashboard in dashboards().items():
            path = out / f"{uid}.json"
            path.write_text(text(dashboard))
            written.append(str(path))
    except OSError as error:
        raise OperatorError(f"--out: cannot write to {out}: {error.strerror}") from None
    print(json.dumps({"written": written}) if as_json else "\n".join(written))


def push(
    url: Url,
    token_file: TokenFile,
    folder: Annotated[str, typer.Option(help="title of the folder; made where it is missing")] = "streamrec",
    overwrite: Annotated[bool, typer.Option(help="replace what somebody saved meanwhile")] = False,
    insecure: Insecure = False,
    as_json: Json = False,
) -> None:
    """Put every dashboard into a running Grafana; what is there and the same is left alone."""
    from monitors.dashboards.build import dashboards

    grafana = _grafana(url, token_file, insecure)
    pushed = grafana.push(dashboards().values(), folder, overwrite)
    if as_json:
        rows = [{"uid": each.uid, "outcome": each.outcome, "url": each.url} for each in pushed]
        print(json.dumps({"folder": folder, "dashboards": rows}))
        return
    for each in pushed:
        print(f"{each.outcome:9}  {each.url}")


def annotate(
    url: Url,
    token_file: TokenFile,
    follow: Annotated[bool, typer.Option("--follow", help="go on, until SIGTERM or Ctrl-C")] = False,
    insecure: Insecure = False,
    as_json: Json = False,
) -> None:
    """Post retrainings, promotions and drift as annotations, each once however often this is run."""
    from infra import annotating
    from streams.settings import read_settings

    settings, grafana = read_settings(), _grafana(url, token_file, insecure)
    if follow:
        from infra.process_edge import in_process

        in_process("annotate", settings, lambda stop: annotating.follow(settings, grafana.annotate, stop))
    found = annotating.so_far(settings)
    posted = grafana.annotate(found)
    if as_json:
        print(json.dumps({"known": len(found), "posted": posted}))
    else:
        print(f"{posted} annotations posted, {len(found) - posted} were there")


def _grafana(url: str, token_file: Path, insecure: bool) -> "Grafana":
    """A client for it.

    Raises:
        OperatorError: the URL or the file is none, or the token would travel in the clear.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise OperatorError(f"--url: expected http[s]://host[:port][/path], got {url!r}")
    if parts.scheme == "http" and not insecure and not is_loopback(parts.hostname):
        raise OperatorError(f"--url: {url} would send the token in the clear; use https, or --insecure")
    try:
        token = token_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(f"--token-file: cannot read {token_file}: {error}") from None
    if not token or not token.isascii() or len(token.split()) != 1:
        raise OperatorError(f"--token-file: expected one token in {token_file}")
    from monitors.dashboards.grafana import Grafana

    return Grafana(url, token)
