"""The policies that are compared: the system whole, with a part standing still, and two baselines."""

import msgspec

__all__ = ["POLICIES", "Policy"]


class Policy(msgspec.Struct, frozen=True):
    """What a policy does; `says` is for people."""

    name: str
    says: str
    scores: bool = True  # by the model pair; False: by popularity from the shelf, as before the first model
    shuffles: bool = False  # items drawn at random instead
    folds: bool = True  # events go on into the features
    learns: bool = True  # examples go on into the online model
    popularity: float = 0.0  # the surface's balance (streams.surfaces.Surface)
    settings: dict[str, float] = {}  # that differ


POLICIES: tuple[Policy, ...] = (
    Policy("system", "ranker, online model and features, all live"),
    Policy("features frozen", "the feature worker stops after the warm-up", folds=False),
    Policy("learner frozen", "the online weights stay as after the warm-up", learns=False),
    Policy("popularity", "the slate of a system without a model", scores=False, learns=False),
    Policy("random", "items drawn at random", scores=False, shuffles=True, learns=False),
)
