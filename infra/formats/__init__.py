"""Logs that can be replayed, each read into the same shape: `FORMAT:PATH` to `Log`."""

from collections.abc import Callable
from pathlib import Path

from infra.formats.jsonl import read_jsonl
from infra.formats.kuairand import read_kuairand
from infra.formats.log import Entry, Log
from infra.formats.mind import read_mind
from infra.formats.movielens import read_movielens
from infra.formats.parquet import read_parquet
from streams.errors import OperatorError

__all__ = ["FORMATS", "Entry", "Log", "read_log"]

FORMATS: dict[str, Callable[[Path], Log]] = {
    "jsonl": read_jsonl,
    "kuairand": read_kuairand,
    "mind": read_mind,
    "movielens": read_movielens,
    "parquet": read_parquet,
}


def read_log(source: str) -> Log:
    """Reads `FORMAT:PATH` whole into memory.

    Raises:
        OperatorError: an unknown format, a missing file, or a line that is not of the format.
    """
    name, separator, path = source.partition(":")
    if not separator or name not in FORMATS:
        known = " or ".join(f"{f}:PATH" for f in FORMATS)
        raise OperatorError(f"replay: expected {known}, got {source!r}")
    if not Path(path).exists():
        raise OperatorError(f"replay: no such file: {path}")
    try:
        return FORMATS[name](Path(path))
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(f"replay: cannot read {path}: {error}") from None
