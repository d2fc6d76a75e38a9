"""Spans of time and speeds as people write them."""

import re

from streams.errors import OperatorError

__all__ = ["parse_span_ms", "parse_speed"]

UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def parse_span_ms(name: str, text: str) -> int:
    """Milliseconds of `text`, at least 1.

    >>> parse_span_ms("--slice", "1.5h")
    5400000

    Raises:
        OperatorError: not a number with a unit, naming the option.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text)
    span_ms = round(float(match[1]) * UNITS_MS[match[2]]) if match else 0
    if span_ms < 1:
        raise OperatorError(f"{name}: expected a span such as 30m or 6h, got {text!r}")
    return span_ms


def parse_speed(text: str) -> float | None:
    """None for `max`, else how many times faster than real time.

    Raises:
        OperatorError: neither `max` nor a number above 0.
    """
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise OperatorError(f"--speed: expected max or a number above 0, got {text!r}")
    return speed
