"""The champion as a rival: what of it a candidate is judged beside, and what it may take over."""

from models.serving.ranker import Ranker
from models.serving.towers import Towers
from models.training.retrieval.carried import carried
from models.versions.manifest import Version
from models.versions.registry import load_version
from streams.errors import ModelRefused
from streams.events import ModelRecord
from streams.features import COLUMN_NAMES, unfit

__all__ = ["Notes", "rival_ranker", "rival_towers", "with_carried"]

Notes = tuple[str, ...]


def rival_ranker(champion: ModelRecord | None) -> tuple[Ranker | None, Notes]:
    """The champion's ranker to compare with; without it, a note on why not."""
    try:
        version = _version_of(champion)
        if version is None:
            return None, ()
        if reason := unfit(version.manifest.columns, version.manifest.definitions):
            raise ModelRefused(reason)
        return Ranker.load(version.manifest, version.files, COLUMN_NAMES), ()
    except ModelRefused as error:
        return None, (f"not compared with the champion: {error}",)


def rival_towers(champion: ModelRecord | None) -> tuple[Towers | None, Notes]:
    """The champion's towers to compare with, if it has some; where they are refused, a note on why."""
    try:
        version = _version_of(champion)
        return None if version is None else Towers.load(version), ()
    except ModelRefused as error:
        return None, (f"towers not compared with the champion's: {error}",)


def with_carried(version: Version, champion: ModelRecord | None) -> tuple[Version, Notes]:
    """The version with the champion's towers, where it has no chance of its own, and a note that says so."""
    try:
        its = _version_of(champion)
        with_its = version if its is None else carried(version, its)
    except ModelRefused as error:
        return version, (f"towers not taken over: {error}",)
    return with_its, () if champion is None or with_its is version else (f"towers of {champion.version}",)


def _version_of(champion: ModelRecord | None) -> Version | None:
    """Its verified files; None where there is no champion, or one without files."""
    if champion is None or not champion.uri or not champion.sha256:
        return None
    return load_version(champion.uri, champion.sha256)
