"""A version's towers, added to it or taken over from the one before: a version is sealed anew with them."""

from collections.abc import Mapping, Sequence

from models.serving.towers import Towers
from models.vectors.graphs import ITEM_TOWER, TOWERS, USER_TOWER
from models.versions.manifest import Version
from models.versions.registry import seal

__all__ = ["JUDGED", "carried", "resealed"]

JUDGED = "retrieval_recall"  # the metric of towers that were trained for a version, kept or left out


def carried(version: Version, champion: Version) -> Version:
    """The version with the champion's towers, where none were judged for it and the champion has some.

    Raises:
        ModelRefused: the champion's towers are not what its manifest says.
    """
    if TOWERS in version.files or JUDGED in version.manifest.metrics or Towers.load(champion) is None:
        return version
    return resealed(version, {name: champion.files[name] for name in (TOWERS, ITEM_TOWER, USER_TOWER)})


def resealed(
    version: Version,
    files: Mapping[str, bytes],
    metrics: Mapping[str, float] | None = None,
    seconds: Mapping[str, float] | None = None,
    reasons: Sequence[str] = (),
) -> Version:
    """The version with more files, metrics, seconds, and reasons not to serve."""
    manifest = version.manifest
    fields = {name: getattr(manifest, name) for name in manifest.__struct_fields__ if name != "files"}
    fields["metrics"] = {**manifest.metrics, **(metrics or {})}
    fields["gate"] = (*manifest.gate, *reasons)
    fields["seconds"] = {**manifest.seconds, **(seconds or {})}
    return seal({**version.files, **files}, **fields)
