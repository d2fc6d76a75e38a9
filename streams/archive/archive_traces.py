"""Which aggregates hold something of users who were forgotten, as hashes of their names.

What a forgotten user added to the counts of items, categories, creators, surfaces and queries stays there,
and their events are gone, so that a rebuild comes out lower. Whoever compares the two has to know where
that may be. The names come from the rows as they are taken out of the archive, and from what the topics still
hold. They say no more than the difference itself does, and name nobody.

    _forgotten/traces.json      eight bytes a name, TRACES_CAP of them at most; names beyond are not known
"""

from collections.abc import Iterable, Iterator
from hashlib import blake2b

import msgspec
import pyarrow as pa

from streams.archive.archive import Archive
from streams.features.counters import Scope, query_key

__all__ = ["TRACES_CAP", "read_traces", "trace_of", "traces_of_rows", "write_traces"]

TRACES_CAP = 1_000_000
_PATH = "_forgotten/traces.json"
_BYTES = 8
_COLUMNS = {"item_id": Scope.ITEM, "creator_id": Scope.CREATOR, "surface": Scope.SURFACE}


class _Traces(msgspec.Struct, frozen=True):
    hashes: bytes


def trace_of(scope: Scope, name: str) -> bytes:
    """The eight bytes by which an aggregate is known here."""
    return blake2b(f"{scope.value}:{name}".encode(), digest_size=_BYTES).digest()


def traces_of_rows(rows: pa.Table) -> Iterator[bytes]:
    """What the rows of events name."""
    for column, scope in _COLUMNS.items():
        if column in rows.column_names:
            yield from (trace_of(scope, name) for name in rows[column].unique().to_pylist() if name)
    if "query" in rows.column_names:
        for text in rows["query"].unique().to_pylist():
            if (query := query_key(text)) is not None:
                yield trace_of(Scope.QUERY, query)


def read_traces(archive: Archive) -> frozenset[bytes]:
    """All that were noted."""
    held = archive.read(_PATH, _Traces)
    data = b"" if held is None else held.hashes
    return frozenset(data[at : at + _BYTES] for at in range(0, len(data), _BYTES))


def write_traces(archive: Archive, found: Iterable[bytes]) -> None:
    """Notes more of them."""
    known = read_traces(archive)
    new = set(found) - known
    if new:
        kept = [*known, *sorted(new)[: max(0, TRACES_CAP - len(known))]]
        archive.replace(_PATH, msgspec.json.encode(_Traces(b"".join(sorted(kept)))))
