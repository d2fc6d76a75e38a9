"""Feast's online read, in a process and an environment of its own: this file imports nothing of ours.

`python feast_reader.py FOLDER REDIS` makes a feature store in FOLDER whose online store is REDIS
(host:port,db=N), takes the values of FOLDER/values.npz into it, and answers lines on standard input:
`read N` with the milliseconds of N reads, `values` with what a read gives.
"""

import json
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float32

VIEW, KEY = "candidates", "item_id"


def main(folder: Path, redis: str) -> None:
    """Fills the store, then answers until standard input ends."""
    held = np.load(folder / "values.npz")
    ids, names, values = held["ids"].tolist(), held["names"].tolist(), held["values"]
    store = filled_store(folder, redis, ids, names, values)
    rows = [{KEY: item_id} for item_id in ids]
    refs = [f"{VIEW}:{name}" for name in names]
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        what, _, count = line.strip().partition(" ")
        if what == "read":
            print(json.dumps([timed(store, refs, rows) for _ in range(int(count))]), flush=True)
        else:
            found = store.get_online_features(features=refs, entity_rows=rows).to_dict()
            print(json.dumps([found[name] for name in names]), flush=True)


def timed(store: FeatureStore, refs: list[str], rows: list[dict[str, str]]) -> float:
    """Milliseconds of one read."""
    began = time.perf_counter()
    store.get_online_features(features=refs, entity_rows=rows)
    return 1_000 * (time.perf_counter() - began)


def filled_store(
    folder: Path, redis: str, ids: list[str], names: list[str], values: np.ndarray
) -> FeatureStore:
    """A feature store with one view of one entity, and its values written online."""
    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store={"type": "redis", "connection_string": redis},
        offline_store={"type": "dask"},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    now = datetime.now(timezone.utc)  # noqa: UP017
    frame = pd.DataFrame(values, columns=names)
    frame.insert(0, KEY, ids)
    frame["event_timestamp"] = now
    frame.to_parquet(folder / "values.parquet")
    source = FileSource(path=str(folder / "values.parquet"), timestamp_field="event_timestamp")
    entity = Entity(name=KEY, join_keys=[KEY], value_type=ValueType.STRING)
    fields = [Field(name=name, dtype=Float32) for name in names]
    view = FeatureView(name=VIEW, entities=[entity], ttl=timedelta(days=1), schema=fields, source=source)
    store.apply([entity, view])
    store.write_to_online_store(VIEW, frame)
    return store


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
