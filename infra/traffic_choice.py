"""What `up --traffic` may say, and the process that it becomes."""

import sys
from pathlib import Path

import msgspec

from infra.formats import FORMATS
from streams.errors import OperatorError

__all__ = ["Traffic", "read_traffic"]


class Traffic(msgspec.Struct, frozen=True):
    """Who asks for slates: simulated viewers, a log, or nobody."""

    kind: str  # sim, replay or none
    says: str
    source: str = ""  # FORMAT:PATH of a replay
    rate: float = 0.0
    seed: int = 0

    @property
    def args(self) -> list[str]:
        """The command of its process; empty for none."""
        if self.kind == "none":
            return []
        own = ["--rate", str(self.rate), "--seed", str(self.seed)] if self.kind == "sim" else [self.source]
        return [sys.executable, "-m", "infra.cli", self.kind, *own]


def read_traffic(text: str, rate: float, seed: int) -> Traffic:
    """Reads `sim`, `none` or `replay:FORMAT:PATH`.

    Raises:
        OperatorError: none of these, an unknown format, or a missing file.
    """
    if text == "none":
        return Traffic("none", "none")
    if text == "sim":
        if rate <= 0:
            raise OperatorError(f"--rate: expected more than 0 requests a second, got {rate:g}")
        return Traffic("sim", f"simulated viewers, {rate:g} requests/s, seed {seed}", rate=rate, seed=seed)
    kind, _, source = text.partition(":")
    name, _, path = source.partition(":")
    if kind != "replay" or name not in FORMATS or not path:
        known = ", ".join(f"replay:{form}:PATH" for form in FORMATS)
        raise OperatorError(f"--traffic: expected sim, none, {known}, got {text!r}")
    if not Path(path).exists():
        raise OperatorError(f"--traffic: no such file or folder: {path}")
    return Traffic("replay", f"replay of {Path(path).name} ({name})", source=f"{name}:{Path(path).absolute()}")
