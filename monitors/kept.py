"""What the monitor keeps over restarts: small files in its state folder."""

import logging
from pathlib import Path
from typing import Any, TypeVar

import msgspec

__all__ = ["load", "save"]

log = logging.getLogger(__name__)

T = TypeVar("T")


def load(file: Path, kind: type[T]) -> T | None:
    """What `save` wrote; None where there is no file, or none that can be read."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("%s begins anew: %s: %s", file.stem, file, error)
        return None


def save(file: Path, value: Any) -> None:
    """Writes it whole or not at all; a disk that is full costs a restart its memory, not the monitor."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(".part")
        draft.touch(mode=0o600)
        draft.write_bytes(msgspec.json.encode(value))
        draft.replace(file)
    except OSError as error:
        log.warning("%s is not kept: %s", file.stem, error)
