"""Messages of the first version of the wire contract: whatever comes later still reads them."""

import json
from pathlib import Path

import msgspec
import pytest

from streams.codec import decode, encode
from streams.events import TOPICS, Topic

GOLDEN = Path(__file__).parents[1] / "golden" / "v1"
FILES = sorted(GOLDEN.glob("*.json"))
NOW = 1_700_000_000_000


def topic_of(path: Path) -> Topic:
    return TOPICS[path.name.removesuffix(".json").rpartition(".")[0]]


def load(name: str) -> dict[str, object]:
    return json.loads((GOLDEN / name).read_text())


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_a_golden_message_is_read_and_written_again_the_same(path: Path) -> None:
    decoded = decode(topic_of(path), b"user:1" if "events" in path.name else None, path.read_bytes(), NOW)
    assert decoded.malformed == ()
    again = encode(decoded.records if len(decoded.records) > 1 else decoded.records[0])
    assert json.loads(again) == json.loads(path.read_text())


@pytest.mark.parametrize("name", TOPICS)
def test_every_topic_has_a_full_and_a_minimal_message(name: str) -> None:
    fields = msgspec.structs.fields(TOPICS[name].record)
    minimal, full = load(f"{name}.minimal.json"), load(f"{name}.full.json")
    assert set(minimal) == {field.name for field in fields if field.required}
    assert set(full) <= {field.name for field in fields}
    # a field that came after the first version is absent here, and must be optional
    assert all(not field.required for field in fields if field.name not in full)


def test_a_changed_golden_message_is_noticed() -> None:
    full = load("items.full.json") | {"duration_ms": "10000"}
    assert decode(TOPICS["items"], None, json.dumps(full).encode(), NOW).malformed
