"""Decoding event messages by the thousand: what is plainly good is taken whole.

Checking every id against its pattern costs four times what the rest of decoding does. So a message is
decoded into records of the same fields whose ids are plain strings, and all ids of the message are
checked at once. Whatever does not pass is left to streams.codec, which says what is wrong with it.
"""

from functools import cache
from operator import attrgetter
from typing import Any, get_args, get_origin

import msgspec
from msgspec.inspect import StrType, UnionType, type_info

from streams.events import MAX_AHEAD_MS, MAX_BATCH, Record, Topic

__all__ = ["decode_plain"]

_ID_BYTES = bytes(b for b in range(128) if chr(b).isalnum() or chr(b) in "_.:-")
_MAX_ID = 128


def decode_plain(topic: Topic, key: bytes | None, value: bytes | None, now_ms: int) -> list[Any] | None:
    """The records of a message in which nothing is wrong; None: ask streams.codec.decode.

    The records are of a subclass of the topic's type, with the same fields and encoding.
    """
    if not value or len(value) > topic.max_bytes:
        return None
    one, many, ids_of = _plain(topic.record)
    try:
        if not value.isascii():
            value.decode()
        records = many.decode(value) if value[:1] == b"[" else [one.decode(value)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not 1 <= len(records) <= MAX_BATCH:
        return None
    latest = now_ms + MAX_AHEAD_MS
    owner = None if key is None else key.decode(errors="replace")
    ids: list[str | None] = []
    for record in records:
        found = ids_of(record)
        ids += found
        if record.ts_ms > latest or (owner is not None and found[0] != owner):
            return None
    known: set[Any] = set(ids)
    known.discard(None)
    if "" in known or max(map(len, known)) > _MAX_ID:
        return None
    try:
        return None if "".join(known).encode("ascii").translate(None, _ID_BYTES) else records
    except UnicodeEncodeError:
        return None


@cache
def _plain(record: type[Record]) -> tuple[Any, Any, Any]:
    """Decoders of one and of many plain records, and what gives a record's ids, the user's first."""
    fields, names = [], ["user_id"]
    for field in msgspec.structs.fields(record):
        kind: Any = field.type
        if _is_id(kind):
            kind = str | None if get_origin(kind) is not None and type(None) in get_args(kind) else str
            if field.name not in names:
                names.append(field.name)
        entry: tuple[Any, ...] = (field.name, kind)
        fields.append(entry if field.required else (*entry, field.default))
    plain = msgspec.defstruct(record.__name__, fields, bases=(record,), frozen=True, kw_only=True)
    decoder = msgspec.json.Decoder
    return decoder(plain), decoder(list[plain]), attrgetter(*names)  # type: ignore[valid-type]


def _is_id(kind: Any) -> bool:
    """True for an id, also an optional one: text with a pattern and no other bound than an id's."""
    info = type_info(kind)
    choices = info.types if isinstance(info, UnionType) else (info,)
    return any(isinstance(choice, StrType) and choice.pattern is not None for choice in choices)
