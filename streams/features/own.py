"""Features that a team adds, one declaration each (docs/features.md)."""

from streams.features.declare import Feature

__all__ = ["OWN"]

OWN: tuple[Feature, ...] = ()
