"""Item vectors in Redis, by version: what the embedder writes and scorers read.

    {vNN}:namespace:vectors:VERSION     hash of a 32nd of the items: item_id -> packed vector
    namespace:vectors:versions          hash: every version that has vectors -> who wrote last, and how often
    namespace:vectors:served            the version whose vectors are whole, as `Served` in JSON

A packed vector is 4 bytes of the item's fingerprint and d 16-bit floats, little-endian.
"""

import zlib
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from streams.store.flights import Flights

__all__ = ["TAGS", "ServedVectors", "VectorStore", "pack", "unpack"]

SHARDS = 32
TAGS = tuple(f"v{n:02d}" for n in range(SHARDS))
_PRINT_BYTES = 4


class ServedVectors(msgspec.Struct, frozen=True):
    """The version whose vectors scorers use, and where its towers are."""

    version: str
    uri: str
    sha256: str


def pack(prints: Sequence[int], vectors: npt.NDArray[np.floating]) -> list[bytes]:
    """Each vector of [n, d] behind its item's fingerprint."""
    halves = np.ascontiguousarray(vectors, "<f2")
    return [
        mark.to_bytes(_PRINT_BYTES, "little") + row.tobytes()
        for mark, row in zip(prints, halves, strict=True)
    ]


def unpack(values: Sequence[bytes | None], d: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Fingerprints [n], -1 where there is no vector, and vectors [n, d], zeros there."""
    size = _PRINT_BYTES + 2 * d
    whole = [value is not None and len(value) == size for value in values]
    empty = bytes(size)
    joined = b"".join(
        value if value is not None and there else empty for value, there in zip(values, whole, strict=True)
    )
    rows = np.frombuffer(joined, np.dtype([("print", "<u4"), ("vector", "<f2", (d,))]))
    prints = np.where(whole, rows["print"].astype(np.int64), -1)
    return prints, rows["vector"].astype(np.float32)


class VectorStore:
    """Every method may raise StoreUnavailable. Safe to use from several threads."""

    def __init__(self, flights: Flights, namespace: str) -> None:
        self._flights, self._namespace = flights, namespace

    def read(self, version: str, item_ids: Sequence[str]) -> list[bytes | None]:
        """Packed vectors, None where there is none, in one flight."""
        places = _by_tag(item_ids)
        commands = [
            ("HMGET", self._key(tag, version), *(item_ids[at] for at in own)) for tag, own in places.items()
        ]
        out: list[bytes | None] = [None] * len(item_ids)
        for own, values in zip(places.values(), self._flights.flight(commands), strict=True):
            for at, value in zip(own, values, strict=True):
                out[at] = value
        return out

    def prints(self, version: str, tag: str) -> dict[str, int]:
        """The fingerprint of every item of one shard that has a vector."""
        held = _pairs(self._flights.run("HGETALL", self._key(tag, version)))
        return {name.decode(): int.from_bytes(value[:_PRINT_BYTES], "little") for name, value in held.items()}

    def write(self, version: str, vectors: Mapping[str, bytes]) -> None:
        """Puts packed vectors in place, in one flight."""
        names = list(vectors)
        self._flights.flight(
            [
                ("HSET", self._key(tag, version), *(x for at in own for x in (names[at], vectors[names[at]])))
                for tag, own in _by_tag(names).items()
            ]
        )

    def remove(self, version: str, item_ids: Sequence[str]) -> None:
        """Takes items out, in one flight."""
        self._flights.flight(
            [
                ("HDEL", self._key(tag, version), *(item_ids[at] for at in own))
                for tag, own in _by_tag(item_ids).items()
            ]
        )

    def versions(self) -> frozenset[str]:
        """Every version that was noted and not dropped."""
        return frozenset(
            name.decode() for name in _pairs(self._flights.run("HGETALL", self._plain("versions")))
        )

    def note(self, version: str, mark: str) -> None:
        """Notes a version, before its first vector is written so that it can be found and dropped, and after
        each write: a Redis that went back to an older state tells so by an older mark."""
        self._flights.run("HSET", self._plain("versions"), version, mark)

    def noted(self, version: str) -> str | None:
        """The newest mark of a version."""
        value = self._flights.run("HGET", self._plain("versions"), version)
        return None if value is None else value.decode()

    def drop(self, version: str) -> None:
        """Removes a version's vectors; the note goes last, so a drop that was cut off is done again."""
        self._flights.flight([("UNLINK", self._key(tag, version)) for tag in TAGS])
        self._flights.run("HDEL", self._plain("versions"), version)

    def serve(self, served: ServedVectors | None) -> None:
        """Says whose vectors are to be used; None: nobody's."""
        value = b"" if served is None else msgspec.json.encode(served)
        self._flights.run("SET", self._plain("served"), value)

    def served(self) -> ServedVectors | None:
        """Whose vectors are to be used."""
        value = self._flights.run("GET", self._plain("served"))
        return msgspec.json.decode(value, type=ServedVectors) if value else None

    def close(self) -> None:
        """Closes the connections."""
        self._flights.close()

    def _key(self, tag: str, version: str) -> str:
        return f"{{{tag}}}:{self._namespace}:vectors:{version}"

    def _plain(self, name: str) -> str:
        return f"{self._namespace}:vectors:{name}"


def _by_tag(item_ids: Sequence[str]) -> dict[str, list[int]]:
    """Places of the ids by shard."""
    places: dict[str, list[int]] = {}
    for at, item_id in enumerate(item_ids):
        places.setdefault(TAGS[zlib.crc32(item_id.encode()) % SHARDS], []).append(at)
    return places


def _pairs(answer: Mapping[bytes, bytes] | Sequence[bytes]) -> Mapping[bytes, bytes]:
    """A hash's answer, which a pipeline may leave as a flat list."""
    if isinstance(answer, Mapping):
        return answer
    return dict(zip(answer[::2], answer[1::2], strict=True))
