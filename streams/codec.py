"""Bytes to records and back; the only JSON on the wire.

Decoding never raises: what does not fit comes back as `Malformed`, which the edge sends to the
dead-letter topic with its reason.
"""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from streams.events import MAX_AHEAD_MS, MAX_BATCH, Record, Topic

__all__ = ["Decoded", "Malformed", "Reason", "decode", "encode"]

_encoder = msgspec.json.Encoder()


class Reason:
    """Stable names of what can be wrong with a message (`kafka_dlt-exception-fqcn`)."""

    EMPTY = "streamrec.EmptyValue"
    TOO_LARGE = "streamrec.TooLarge"
    NOT_JSON = "streamrec.NotJson"
    INVALID = "streamrec.InvalidField"
    KEY = "streamrec.KeyMismatch"
    AHEAD = "streamrec.TimeAhead"
    BATCH = "streamrec.BatchSize"


class Malformed(msgspec.Struct, frozen=True):
    """Bytes that are no record: why, and the bytes to keep."""

    reason: str
    message: str
    value: bytes


def encode(record: Record | Sequence[Record]) -> bytes:
    """UTF-8 JSON of a record, or of a batch of records.

    >>> from streams.events import Forgotten
    >>> encode(Forgotten(user_id="u1", ts_ms=5))
    b'{"user_id":"u1","ts_ms":5}'
    """
    return _encoder.encode(record)


@cache
def _decoder(record: type[Record]) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(record)


_raw_batch = msgspec.json.Decoder(list[msgspec.Raw])
_lenient = json.JSONDecoder()
_FAULTS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Decoded(msgspec.Struct, frozen=True):
    """What one message held: good records in order, and what was wrong with the rest."""

    records: tuple[Any, ...] = ()
    malformed: tuple[Malformed, ...] = ()


def decode(topic: Topic, key: bytes | None, value: bytes | None, now_ms: int) -> Decoded:
    """Decodes one message of `topic`; `now_ms` is the wall clock that future times are held to.

    A batch is split: each bad record is malformed alone, its neighbours count. An empty value is
    malformed here; a reader of a compacted topic treats it as a removal before it calls this.
    """
    if not value:
        return _refused(Reason.EMPTY, "expected a JSON object, got an empty value", b"")
    if len(value) > topic.max_bytes:
        got = f"value: expected at most {topic.max_bytes} bytes, got {len(value)}"
        return _refused(Reason.TOO_LARGE, got, value)
    if topic.batched and value.lstrip()[:1] == b"[":
        return _decode_batch(topic, key, value, now_ms)
    result = _decode_one(topic, key, value, now_ms)
    return Decoded(malformed=(result,)) if isinstance(result, Malformed) else Decoded(records=(result,))


def _refused(reason: str, message: str, value: bytes) -> Decoded:
    return Decoded(malformed=(Malformed(reason, message, value),))


def _decode_batch(topic: Topic, key: bytes | None, value: bytes, now_ms: int) -> Decoded:
    try:
        parts = _split(value)
    except (*_FAULTS, ValueError) as error:
        return _refused(Reason.NOT_JSON, _text(error), value)
    if not 1 <= len(parts) <= MAX_BATCH:
        got = f"batch: expected 1 to {MAX_BATCH} records, got {len(parts)}"
        return _refused(Reason.BATCH, got, value)
    results = [_decode_one(topic, key, part, now_ms) for part in parts]
    return Decoded(
        records=tuple(r for r in results if not isinstance(r, Malformed)),
        malformed=tuple(r for r in results if isinstance(r, Malformed)),
    )


def _split(value: bytes) -> list[bytes]:
    """The records of an array, as bytes; tolerant, so that one record's NaN does not cost its neighbours.

    Raises:
        ValueError, RecursionError: it is no array of anything like JSON.
    """
    try:
        return [bytes(part) for part in _raw_batch.decode(value)]
    except _FAULTS:
        text, parts = value.decode(errors="surrogateescape").strip(), []
        at = _skip(text, 1)
        while True:
            _, end = _lenient.raw_decode(text, at)
            parts.append(text[at:end].encode(errors="surrogateescape"))
            at = _skip(text, end)
            if text[at:] == "]":
                return parts
            if text[at : at + 1] != ",":
                raise ValueError(f"expected ',' or ']' at character {at}") from None
            at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    """The next place that is not white space."""
    while text[at : at + 1] in (" ", "\t", "\r", "\n"):
        at += 1
    return at


def _decode_one(topic: Topic, key: bytes | None, value: bytes, now_ms: int) -> Any:
    try:
        value.decode()  # the decoder does not look into fields that it skips
        record = _decoder(topic.record).decode(value)
    except msgspec.ValidationError as error:
        return Malformed(Reason.INVALID, _text(error), value)
    except _FAULTS as error:
        return Malformed(Reason.NOT_JSON, _text(error), value)
    owner = getattr(record, topic.key)
    if key is not None and key != owner.encode():
        got = f"key: expected {topic.key} {owner!r}, got {key[:128]!r}"
        return Malformed(Reason.KEY, got, value)
    if topic.wall_checked and (record.ts_ms or 0) > now_ms + MAX_AHEAD_MS:
        got = f"ts_ms: expected at most {MAX_AHEAD_MS} ms ahead of now ({now_ms}), got {record.ts_ms}"
        return Malformed(Reason.AHEAD, got, value)
    return record


def _text(error: BaseException) -> str:
    """An error's text, bounded, since it may quote hostile input."""
    return str(error)[:500] or type(error).__name__
