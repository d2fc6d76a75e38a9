"""What a model version consists of: the manifest that names, sizes and hashes its files."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from streams.errors import ModelRefused
from streams.events import Id, Window

__all__ = [
    "CURVE",
    "GOLDEN",
    "GOLDEN_INT8",
    "INT8",
    "MANIFEST",
    "ONLINE",
    "PICTURE",
    "PROFILE",
    "RANKER",
    "FileEntry",
    "Golden",
    "Manifest",
    "Version",
]

MANIFEST = "manifest.json"
RANKER, ONLINE, PROFILE = "ranker.onnx", "online.bin", "profile.json"
INT8, GOLDEN_INT8 = "ranker_int8.onnx", "golden_int8.json"  # where the ranking holds in 8 bits
GOLDEN, CURVE, PICTURE = "golden.json", "learning_curve.json", "learning_curve.svg"
MAX_FILE_BYTES = 256 * 2**20
MAX_MANIFEST_BYTES = 2**20

FileName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_\-]*(\.[a-z0-9]+)?$(?!\n)", max_length=64)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]


class FileEntry(msgspec.Struct, frozen=True):
    """A file of a version: the SHA-256 of its bytes, and how many there are."""

    sha256: Sha256
    size_bytes: Annotated[int, Meta(ge=0, le=MAX_FILE_BYTES)]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A version's description; its own SHA-256 stands in the records on `models`.

    `gate` holds the reasons why the version may not serve; empty means that it passed.
    """

    version: Id
    created_ms: int
    columns: Annotated[tuple[Id, ...], Meta(min_length=1, max_length=4_096)]
    columns_hash: str
    definitions: Annotated[tuple[str, ...], Meta(max_length=4_096)] = ()  # as `columns`; empty: not known
    heads: Annotated[tuple[Id, ...], Meta(min_length=1, max_length=16)]
    window: Window
    rows: int
    files: Annotated[dict[FileName, FileEntry], Meta(max_length=32)]
    parent: Id | None = None
    trigger_id: Id | None = None
    gate: tuple[str, ...] = ()
    metrics: dict[str, float] = {}
    seconds: dict[str, float] = {}  # of each part of the training


class Golden(msgspec.Struct, frozen=True):
    """Rows and the logits they must score, to check a loaded ranker by; None is a missing value."""

    features: tuple[tuple[float | None, ...], ...]
    logits: tuple[tuple[float, ...], ...]


class Version(NamedTuple):
    """A verified manifest with the bytes of its files by name."""

    manifest: Manifest
    files: Mapping[str, bytes]


def sha256(value: bytes) -> str:
    """The SHA-256 of some bytes in hexadecimal."""
    return hashlib.sha256(value).hexdigest()


def decode_manifest(value: bytes) -> Manifest:
    """The manifest in `value`.

    Raises:
        ModelRefused: it is no manifest, names a file outside its folder, or one too large.
    """
    if len(value) > MAX_MANIFEST_BYTES:
        raise ModelRefused(f"{MANIFEST}: expected at most {MAX_MANIFEST_BYTES} bytes, got {len(value)}")
    try:
        manifest = msgspec.json.decode(value, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ModelRefused(f"{MANIFEST}: {str(error)[:300]}") from None
    if len(set(manifest.columns)) < len(manifest.columns):
        raise ModelRefused(f"{MANIFEST}: columns: a name stands there twice")
    if manifest.definitions and len(manifest.definitions) != len(manifest.columns):
        raise ModelRefused(f"{MANIFEST}: definitions: expected one a column")
    return manifest


def verified(manifest: Manifest, name: str, value: bytes) -> bytes:
    """`value`, when it is the file that the manifest names.

    Raises:
        ModelRefused: no such file in the manifest, or other bytes than it says.
    """
    entry = manifest.files.get(name)
    if entry is None:
        raise ModelRefused(f"{manifest.version}/{name}: not in the manifest")
    if len(value) != entry.size_bytes or sha256(value) != entry.sha256:
        raise ModelRefused(f"{manifest.version}/{name}: bytes are not those of the manifest (sha256)")
    return value
