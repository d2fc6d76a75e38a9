"""Model versions on any fsspec URL, and the fold of topic `models` that says which one serves.

A version is a folder that is written under another name and renamed when it is whole. Nothing in
it ever changes: the record on `models` holds the SHA-256 of its manifest, the manifest those of
its files. Which version is champion stands on the topic alone.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import fsspec
import msgspec

from models.versions.manifest import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    FileEntry,
    Manifest,
    Version,
    decode_manifest,
    verified,
)
from models.versions.manifest import sha256 as digest
from streams.errors import ModelRefused
from streams.events import ModelRecord

__all__ = [
    "FINAL",
    "Champions",
    "discard",
    "load_version",
    "new_version",
    "publish",
    "seal",
    "stored_versions",
]

FINAL = frozenset({"champion", "rejected", "failed"})  # a trigger whose last step is one of these is answered


def new_version(trigger_id: str, created_ms: int) -> str:
    """A version's id: when its training began (UTC), and a short hash of what for.

    >>> new_version("t1", 0)
    '19700101T000000-8c6bf1de'
    """
    moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime(created_ms / 1_000))
    return f"{moment}-{hashlib.sha256(f'{trigger_id}/{created_ms}'.encode()).hexdigest()[:8]}"


def seal(files: Mapping[str, bytes], **fields: Any) -> Version:
    """A version of these files; `fields` are the manifest's others."""
    entries = {name: FileEntry(digest(value), len(value)) for name, value in sorted(files.items())}
    manifest = Manifest(files=entries, **fields)
    return Version(decode_manifest(msgspec.json.encode(manifest)), dict(files))


def publish(root: str, version: Version) -> tuple[str, str]:
    """Writes a version under the URL `root`; returns its address and its manifest's SHA-256.

    Raises:
        ModelRefused: a version of that name stands there already.
        OSError: the place cannot be written.
    """
    fs, path = fsspec.url_to_fs(root)
    name = version.manifest.version
    final, partial = f"{path}/{name}", f"{path}/.{name}.partial"
    if fs.exists(final):
        raise ModelRefused(f"{name}: stands there already")
    discard(root, name)
    fs.makedirs(partial, exist_ok=True)
    manifest = msgspec.json.encode(version.manifest)
    for file, value in {**version.files, MANIFEST: manifest}.items():
        with fs.open(f"{partial}/{file}", "wb") as out:
            out.write(value)
    fs.mv(partial, final, recursive=True)
    return f"{root.rstrip('/')}/{name}", digest(manifest)


def discard(root: str, version: str) -> None:
    """Removes what a publication that was cut off left behind."""
    fs, path = fsspec.url_to_fs(root)
    partial = f"{path}/.{version}.partial"
    if fs.exists(partial):
        fs.rm(partial, recursive=True)


def load_version(uri: str, sha256: str) -> Version:
    """The version at `uri`, every byte of it verified against the manifest's hash `sha256`.

    Raises:
        ModelRefused: it is not there, or not what the hashes say.
    """
    manifest_bytes = _read(uri, MANIFEST, MAX_MANIFEST_BYTES)
    if digest(manifest_bytes) != sha256:
        raise ModelRefused(f"{uri}/{MANIFEST}: bytes are not those of the record (sha256)")
    manifest = decode_manifest(manifest_bytes)
    if uri.rstrip("/").rpartition("/")[2] != manifest.version:
        raise ModelRefused(f"{uri}: holds version {manifest.version}")
    files = {
        name: verified(manifest, name, _read(uri, name, entry.size_bytes))
        for name, entry in manifest.files.items()
    }
    return Version(manifest, files)


def stored_versions(root: str) -> Iterator[tuple[str, str, Manifest]]:
    """Address, manifest's SHA-256 and manifest of each whole version under `root`, newest first."""
    fs, path = fsspec.url_to_fs(root)
    if not fs.exists(path):
        return
    paths = [entry["name"].rstrip("/") for entry in fs.ls(path, detail=True)]
    for name in sorted((found.rpartition("/")[2] for found in paths), reverse=True):
        uri = f"{root.rstrip('/')}/{name}"
        if name.startswith(".") or not fs.exists(f"{path}/{name}/{MANIFEST}"):
            continue
        manifest = _read(uri, MANIFEST, MAX_MANIFEST_BYTES)
        yield uri, digest(manifest), decode_manifest(manifest)


def _read(uri: str, name: str, limit: int) -> bytes:
    """A file's bytes, one more than `limit` at most: what is larger fails its check unread."""
    if "::" in uri or ".." in uri.split("/"):
        raise ModelRefused(f"uri: expected a folder's plain address, got {uri[:200]!r}")
    try:
        with fsspec.open(f"{uri.rstrip('/')}/{name}", "rb") as file:
            return bytes(file.read(limit + 1))
    except (OSError, ValueError, ImportError) as error:
        raise ModelRefused(f"{uri[:200]}/{name}: {type(error).__name__}: {str(error)[:200]}") from None


class Champions:
    """The fold of topic `models`, in its order; folding a prefix again changes nothing."""

    def __init__(self) -> None:
        self.steps: dict[str, ModelRecord] = {}  # the last step of each version
        self.answers: dict[str, ModelRecord] = {}  # the last step for each trigger
        self._crowned: list[str] = []
        self._released: dict[str, ModelRecord] = {}

    def apply(self, record: ModelRecord) -> bool:
        """Takes one step in; True when another version is champion now."""
        before = self.champion
        self.steps[record.version] = record
        if record.trigger_id is not None:
            self.answers[record.trigger_id] = record
        if record.state == "champion" and record.uri and record.sha256:
            self._crowned = [version for version in self._crowned if version != record.version]
            self._crowned.append(record.version)
            self._released[record.version] = record
        now = self.champion
        return (now.version if now else None) != (before.version if before else None)

    @property
    def champion(self) -> ModelRecord | None:
        """The record that crowned the serving version: the latest one not retired or rolled back since."""
        for version in reversed(self._crowned):
            if self.steps[version].state == "champion":
                return self._released[version]
        return None

    @property
    def crowned(self) -> tuple[str, ...]:
        """Every version that was champion once, the one crowned last at the end."""
        return tuple(self._crowned)

    def answered(self, trigger_id: str) -> bool:
        """True when a trigger's training has come to its end."""
        answer = self.answers.get(trigger_id)
        return answer is not None and (answer.state in FINAL or answer.state in ("retired", "rolled_back"))

    def unfinished(self) -> tuple[ModelRecord, ...]:
        """Last steps of versions whose training was begun and not ended."""
        return tuple(step for step in self.steps.values() if step.state in ("training", "candidate"))
