"""What `up --traffic` may say, and the process that it becomes."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from infra.formats import FORMATS
from streams.errors import OperatorError

__all__ = ["Traffic", "read_traffic"]


class Traffic(msgspec.Struct, frozen=True):
    """Who asks for slates: simulated viewers, a log, or nobody (no command)."""

    says: str
    command: tuple[str, ...] = ()  # of `streamrec`
    once: bool = False  # it comes to an end by itself


def read_traffic(text: str, sim: Mapping[str, float | int]) -> Traffic:
    """Reads `sim`, `none` or `replay:FORMAT:PATH`; `sim` holds settings of the simulator.

    Raises:
        OperatorError: none of these, an unknown format, a missing file, or a wrong setting.
    """
    if text == "sim":
        return _simulated(sim)
    if sim:
        raise OperatorError(
            f"--{next(iter(sim)).removesuffix('_s').replace('_', '-')}: only with --traffic sim"
        )
    if text == "none":
        return Traffic("none")
    kind, _, source = text.partition(":")
    name, _, path = source.partition(":")
    if kind != "replay" or name not in FORMATS or not path:
        known = ", ".join(f"replay:{form}:PATH" for form in FORMATS)
        raise OperatorError(f"--traffic: expected sim, none, {known}, got {text!r}")
    if not Path(path).exists():
        raise OperatorError(f"--traffic: no such file or folder: {path}")
    says = f"replay of {Path(path).name} ({name})"
    return Traffic(says, ("replay", f"{name}:{Path(path).absolute()}"), once=True)


def _simulated(given: Mapping[str, float | int]) -> Traffic:
    from infra.traffic import read_traffic_settings

    chosen = read_traffic_settings(**given)
    says = f"{chosen.viewers} simulated viewers, {chosen.rate:g} requests/s, seed {chosen.seed}"
    options = {"rate": "--rate", "seed": "--seed", "shift_after_s": "--shift-after"}
    return Traffic(says, ("sim", *(word for name, v in given.items() for word in (options[name], str(v)))))
