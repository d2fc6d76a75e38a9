"""Writes the Lua that adds two rows of a scope: every slot named, nothing looped over.

A loop over tables cost three times as much of Redis' one core, which is what bounds a cluster node.
"""

import math
from collections.abc import Mapping

from streams.features import Layout, Scope

__all__ = ["merges"]


def merges(layouts: Mapping[Scope, Layout]) -> str:
    """A Lua table: by a scope's number in `layouts`, from 1, a function (old, rows, at) that returns the
    sum of the row `old` and the one at byte `at` of `rows`, as layout.merge does."""
    functions = ",\n".join(_merge(layout) for layout in layouts.values())
    names = "local pack, unpack_row, max = struct.pack, struct.unpack, math.max"
    return f"{names}\nlocal merges = {{\n{functions}\n}}"


def _merge(layout: Layout) -> str:
    slots = range(len(layout.half_lives))
    form = f"'<{'d' * layout.width}'"
    old, new = (["ref", "last", *(f"{letter}{k}" for k in slots)] for letter in "xy")
    old[:2], new[:2] = ["r", "l"], ["s", "m"]
    halves = sorted({float(half) for half in layout.half_lives if math.isfinite(half)})
    weights = {half: f"w{n}" for n, half in enumerate(halves)}
    decay = "".join(f"    local {name} = 2 ^ (age / {half!r})\n" for half, name in weights.items())

    def sums(aged: str, other: str) -> str:
        weight = [weights.get(float(half)) for half in layout.half_lives]
        return ", ".join(
            f"{aged}{k} * {weight[k]} + {other}{k}" if weight[k] else f"{aged}{k} + {other}{k}" for k in slots
        )

    return (
        f"function(old, rows, at)\n"
        f"  local {', '.join(old)} = unpack_row({form}, old)\n"
        f"  local {', '.join(new)} = unpack_row({form}, rows, at)\n"
        f"  if s >= r then\n    local age = r - s\n{decay}"
        f"    return pack({form}, s, max(l, m), {sums('x', 'y')})\n  end\n"
        f"  local age = s - r\n{decay}"
        f"  return pack({form}, r, max(l, m), {sums('y', 'x')})\nend"
    )
