"""What the towers learn from, read from the archive: who engaged with what, after which history."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streams.archive.archive import KEYS, Archive, read_examples
from streams.archive.archive_schema import content
from streams.catalogue.catalogue import Catalogue
from streams.events import ITEMS, Window
from streams.messages import Message

__all__ = ["Engagements", "Positives", "read_catalogue", "read_engagements"]

MAX_POSITIVES = 200_000  # the newest ones
LONG_VIEW = 1.0  # added to the weight 1 of a click where the item was watched for long
_COLUMNS = ("item_id", "category", "creator_id", "history", "label_click", "label_long_view")


class Positives(NamedTuple):
    """p engagements in order of time: `items` [p] places in the catalogue, `histories` [p, H] such places
    newest first, -1: none; `weights` [p]."""

    items: np.ndarray
    histories: np.ndarray
    weights: np.ndarray

    def take(self, places: np.ndarray | slice) -> "Positives":
        """The engagements at these places."""
        return Positives(*(each[places] for each in self))


class Engagements(NamedTuple):
    """Clicks in order of time. `names` are the items that they and their histories name; `positives` count
    in these. `said` is what the examples say of an item, (category, creator)."""

    names: list[str]
    positives: Positives
    ts_ms: np.ndarray  # [p]
    users: np.ndarray  # [p] numbers
    said: dict[str, tuple[str | None, str | None]]
    held_out_ms: int  # event time from which on examples are the gate's


def read_engagements(
    url: str, window: Window, columns_hash: str, depth: int, held_out: Callable[[int], int]
) -> Engagements:
    """The clicks among a window's examples, each with the newest `depth` items of its history.

    `held_out` says how many of so many examples, the newest ones, are the gate's.
    """
    tables, every_ms, wanted = list[pa.Table](), [np.zeros(0, np.int64)], [*KEYS, *_COLUMNS]
    for batch in read_examples(url, window.from_ms, window.to_ms, columns_hash, wanted):
        table = pa.Table.from_batches([batch])
        every_ms.append(table["ts_ms"].to_numpy())
        table = table.filter(pc.equal(table["label_click"], True)).select(["ts_ms", "user_id", *_COLUMNS])
        newest = pc.list_slice(table["history"], 0, depth)
        tables.append(table.set_column(table.schema.get_field_index("history"), "history", newest))
        if sum(map(len, tables[1:])) >= MAX_POSITIVES:
            tables.pop(0)  # examples come in order of time
    times = np.sort(np.concatenate(every_ms))
    held_out_ms = int(times[len(times) - max(1, held_out(len(times)))]) if len(times) else 0
    if not tables:
        nothing = Positives(np.zeros(0, np.int64), np.zeros((0, depth), np.int64), np.zeros(0, np.float32))
        return Engagements([], nothing, np.zeros(0, np.int64), np.zeros(0, np.int64), {}, held_out_ms)
    clicked = pa.concat_tables(tables).sort_by("ts_ms").combine_chunks()
    return _engagements(clicked.slice(max(0, clicked.num_rows - MAX_POSITIVES)), depth, held_out_ms)


def _engagements(clicked: pa.Table, depth: int, held_out_ms: int) -> Engagements:
    items, histories = (clicked[name].combine_chunks() for name in ("item_id", "history"))
    lengths = pc.fill_null(pc.list_value_length(histories), 0).to_numpy()
    past = np.full((len(items), depth), -1, np.int64)
    every = pa.concat_arrays([pc.list_flatten(histories), items]).dictionary_encode()
    places = every.indices.to_numpy().astype(np.int64)
    split = len(places) - len(items)
    starts = np.cumsum(lengths) - lengths
    past[np.repeat(np.arange(len(items)), lengths), np.arange(split) - np.repeat(starts, lengths)] = places[
        :split
    ]
    long = pc.fill_null(clicked["label_long_view"], False).to_numpy()
    said = zip(*(clicked[name].to_pylist() for name in ("category", "creator_id")), strict=True)
    return Engagements(
        every.dictionary.to_pylist(),
        Positives(places[split:], past, (1.0 + LONG_VIEW * long).astype(np.float32)),
        clicked["ts_ms"].to_numpy(),
        clicked["user_id"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64),
        dict(zip(items.to_pylist(), said, strict=True)),
        held_out_ms,
    )


def read_catalogue(url: str) -> Catalogue:
    """The items as the archive knows them: the newest record of each that was not removed."""
    archive, catalogue = Archive(url), Catalogue()
    for source, parts in archive.parts(ITEMS.name).items():
        rows = (row for part in parts for row in archive.rows(part, ITEMS.name))
        for message in _messages(source.partition, rows):
            catalogue.apply(message)
    return catalogue


def _messages(partition: int, rows: Iterable[dict[str, object]]) -> Iterable[Message]:
    """Each row as it came over the wire; an empty value removed an item."""
    for row in rows:
        said = content(row)
        yield Message(
            topic=ITEMS.name,
            partition=partition,
            offset=int(str(row["_offset"])),
            timestamp_ms=0,
            key=str(row["item_id"]).encode(),
            value=b"" if said is None else msgspec.json.encode(said),
        )
