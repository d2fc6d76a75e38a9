"""The command `streamrec`: one place where errors become one line and an exit code."""

import os
import sys
from importlib import import_module

import typer

from infra.local.running import adopt
from streams.errors import KafkaUnavailable, OperatorError, StoreUnavailable, StreamrecError

__all__ = ["app", "main"]

COMMANDS = (
    "up",
    "run",
    "topics",
    "schema",
    "features",
    "verify",
    "rank",
    "explain",
    "experiments",
    "precompute",
    "replay",
    "evaluate",
    "sim",
    "models",
    "drift",
    "retrain",
    "alerts",
    "bench",
    "dlq",
    "forget",
    "trust",
    "chaos",
    "dashboards",
)

app = typer.Typer(
    name="streamrec",
    help="A streaming recommender that monitors and retrains itself.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _name in COMMANDS:
    import_module(f"infra.commands.{_name}").register(app)


def main() -> None:
    """Runs the command line; what an operator can mend ends in one line and exit code 2."""
    try:
        if sys.argv[1:2] not in (["up"], ["run"]):  # these are told, or start their own
            adopt(os.environ)
        app()
    except (OperatorError, KafkaUnavailable, StoreUnavailable) as error:
        print(f"streamrec: {error}", file=sys.stderr)
        sys.exit(2)
    except StreamrecError as error:
        print(f"streamrec: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
