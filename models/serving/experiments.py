"""Experiments: declared in a TOML file, users assigned to arms by hash, nothing stored.

A layer is a way to cut all users; its experiments take ranges of it that do not meet, so no user is in
two of them. Layers cut independently of each other. An experiment's ramp is a threshold on a hash of its
own: raising it only adds users, and nobody changes arms. The same user, file and names: the same arm.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from pydantic import TypeAdapter

from models.serving.slates.pool import rules_of
from streams.errors import OperatorError
from streams.settings import Settings

__all__ = [
    "VARIED",
    "Arm",
    "Experiment",
    "Experiments",
    "assign",
    "changed_settings",
    "load_experiments",
    "point",
    "varied",
]

VARIED = (
    "category_share",
    "click_weight",
    "clickbait_penalty",
    "completion_weight",
    "creator_share",
    "diversity",
    "exploration",
    "long_view_weight",
    "query_watch_ratio",
    "source_places",
    "sponsored_floor",
    "sponsored_positions",
)
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.\-]{1,40}$(?!\n)")]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]


class Arm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What its users get: settings that differ, a model version. `share` is of those who take part."""

    share: Share
    settings: dict[str, float | str] = {}
    model: str | None = None


class Experiment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arms on a part of a layer's users; the first arm is what the others are compared with.

    `users` is the range of the layer that may ever take part, from inclusive, to exclusive; `ramp` the
    share of these that take part now.
    """

    name: Name
    arms: dict[Name, Arm]
    layer: Name = "ranking"
    users: tuple[Share, Share] = (0.0, 1.0)
    ramp: Share = 1.0

    @property
    def baseline(self) -> str:
        """The first arm."""
        return next(iter(self.arms))


class Experiments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that the file says."""

    experiment: tuple[Experiment, ...] = ()


def point(salt: str, user_id: str) -> float:
    """Where a user stands between 0 and 1 (exclusive), evenly and independently for each salt."""
    digest = blake2b(f"{salt}/{user_id}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def assign(experiment: Experiment, user_id: str) -> str | None:
    """The user's arm; None for one who does not take part.

    >>> assign(Experiment("e", {"control": Arm(1.0)}), "u1")
    'control'
    """
    low, high = experiment.users
    if not low <= point(f"layer:{experiment.layer}", user_id) < high:
        return None
    if point(f"ramp:{experiment.name}", user_id) >= experiment.ramp:
        return None
    at = point(f"arm:{experiment.name}", user_id)
    for name, arm in experiment.arms.items():
        if at < arm.share:
            return name
        at -= arm.share
    return list(experiment.arms)[-1]


def varied(experiments: Iterable[Experiment], user_id: str) -> tuple[tuple[Experiment, str], ...]:
    """The experiments that a user takes part in, one a layer at most, and the arm in each."""
    found = ((each, assign(each, user_id)) for each in experiments)
    return tuple((each, arm) for each, arm in found if arm is not None)


def load_experiments(path: Path | None) -> tuple[Experiment, ...]:
    """The experiments of a file, checked whole; none without a file.

    Raises:
        OperatorError: it cannot be read, or says what cannot be.
    """
    if path is None:
        return ()
    try:
        found = msgspec.toml.decode(path.read_bytes(), type=Experiments).experiment
        _check(found)
    except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
        reason = error.strerror if isinstance(error, OSError) else error
        raise OperatorError(f"STREAMREC_EXPERIMENTS: {path}: {reason}") from None
    return found


def _check(experiments: Sequence[Experiment]) -> None:
    names = [each.name for each in experiments]
    if len(set(names)) < len(names):
        raise ValueError(f"expected a name for each experiment, got {names}")
    for each in experiments:
        _check_one(each)
    for one, other in combinations(experiments, 2):
        if one.layer == other.layer:
            if max(one.users[0], other.users[0]) < min(one.users[1], other.users[1]):
                raise ValueError(f"{one.name} and {other.name}: their users meet in layer {one.layer}")
        elif both := _changes(one) & _changes(other):
            said = f"{one.name} and {other.name}: in different layers, both change {sorted(both)[0]}"
            raise ValueError(f"{said}: expected one layer, which keeps their users apart")


def _check_one(experiment: Experiment) -> None:
    shares = [arm.share for arm in experiment.arms.values()]
    if len(shares) < 2 or abs(sum(shares) - 1.0) > 1e-9:
        raise ValueError(
            f"{experiment.name}: expected two arms or more with shares that add up to 1, got {shares}"
        )
    if experiment.users[0] >= experiment.users[1]:
        raise ValueError(
            f"{experiment.name}: users: expected a range such as [0.0, 0.5], got {experiment.users}"
        )
    for name, arm in experiment.arms.items():
        for setting in arm.settings:
            if setting not in VARIED:
                raise ValueError(f"{experiment.name}.{name}: expected settings of {VARIED}, got {setting!r}")
        rules_of(changed_settings(Settings.model_construct(), arm.settings))


def _changes(experiment: Experiment) -> set[str]:
    arms = experiment.arms.values()
    return {name for arm in arms for name in arm.settings} | {"model" for arm in arms if arm.model}


def changed_settings(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """The settings with changes, checked as if they were set so.

    Raises:
        ValueError: a value is out of its bounds.
    """
    for name, value in changes.items():
        field = Settings.model_fields[name]
        bounds: Any = Annotated[field.annotation, name, *field.metadata]
        TypeAdapter(bounds).validate_python(value)
    return settings.model_copy(update=dict(changes))
