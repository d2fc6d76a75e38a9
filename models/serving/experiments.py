"""Assignment of users to arms: stable by hash, nothing stored."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b

import msgspec

__all__ = ["Layer", "assign", "variants"]


class Layer(msgspec.Struct, frozen=True):
    """One experiment: its arms with their shares of users. Layers are independent of each other."""

    name: str
    arms: Mapping[str, float]


def assign(layer: Layer, user_id: str) -> str:
    """The user's arm: always the same for the same layer name, user and shares.

    >>> assign(Layer("ranking", {"control": 1.0}), "u1")
    'control'

    Raises:
        ValueError: the shares do not add up to 1.
    """
    if abs(sum(layer.arms.values()) - 1.0) > 1e-9:
        raise ValueError(f"layer {layer.name}: expected shares that add up to 1, got {dict(layer.arms)}")
    digest = blake2b(f"{layer.name}/{user_id}".encode(), digest_size=8).digest()
    point = int.from_bytes(digest, "big") / 2**64
    for arm, share in layer.arms.items():
        if point < share:
            return arm
        point -= share
    return list(layer.arms)[-1]


def variants(layers: Sequence[Layer], user_id: str) -> dict[str, str]:
    """The user's arm in every layer."""
    return {layer.name: assign(layer, user_id) for layer in layers}
