"""Messages that no reader may take: more than twenty kinds for each topic."""

import json
import time
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect as mi

from streams.events import MAX_BATCH, WATERMARK_MS, Record, Topic
from tests import build

HEADERS = (("x-from", b"garbage"),)


class Garbage(NamedTuple):
    """A message to send as it is, and what is wrong with it."""

    kind: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = HEADERS


def good(topic: Topic) -> dict[str, Any]:
    """The fields of a record that its topic takes now."""
    return json.loads(msgspec.json.encode(_good(topic)))


def _good(topic: Topic) -> Record:
    makers = {
        "events.impressions": build.make_impression,
        "events.clicks": build.make_click,
        "events.watches": build.make_watch,
        "events.feedback": build.make_feedback,
        "items": build.make_item,
        "rank.requests": build.make_request,
        "rank.replies": build.make_reply,
        "served": build.make_served,
        "examples": build.make_example,
        "drift.reports": build.make_report,
        "retrain.triggers": build.make_trigger,
        "models": build.make_model,
        "alerts": build.make_alert,
        "events.flagged": build.make_flagged,
        "users.forgotten": build.make_forgotten,
    }
    return makers[topic.name]()


def garbage(topic: Topic) -> list[Garbage]:
    """Messages of which `topic`'s readers must refuse every one.

    An empty value is among them only where it is no removal; it has no header that makes it a watermark.
    """
    base = good(topic)
    key = str(base[topic.key]).encode()
    found = [Garbage(kind, key, value) for kind, value in (_broken(base) | _wrong(topic, base)).items()]
    if topic.name != "rank.replies":  # its key is the request's, as it came
        found += [Garbage(f"{kind} key", bad, _bytes(base)) for kind, bad in _keys(key).items()]
    found.append(Garbage("too large", key, _bytes(base)[:-1] + b" " * topic.max_bytes + b"}"))
    if not topic.compacted:
        bad_mark = ((WATERMARK_MS, b"soon"),)
        found += [Garbage("empty value", key, b""), Garbage("no value", key, None)]
        found.append(Garbage("a watermark without a time", key, b"", (*HEADERS, *bad_mark)))
    return found


def _bytes(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode()


def _keys(key: bytes) -> dict[str, bytes]:
    return {"other": b"someone-else", "longer": key + b"\n", "not UTF-8": b"\xff\xfe", "empty": b""}


def _broken(base: dict[str, Any]) -> dict[str, bytes]:
    """Bytes that are no JSON, whatever the topic."""
    whole = _bytes(base)
    inside = whole[:-1]
    return {
        "not JSON": b"hello, world",
        "binary": bytes(range(256)),
        "white space": b"   ",
        "truncated": whole[: len(whole) // 2],
        "without its end": inside,
        "more after the end": whole + b"{}",
        "trailing comma": inside + b",}",
        "byte order mark": b"\xef\xbb\xbf" + whole,
        "UTF-16": whole.decode().encode("utf-16"),
        "invalid UTF-8": inside + b',"note":"\xff\xfe"}',
        "NaN in an unknown field": inside + b',"note":NaN}',
        "deep nesting": inside + b',"note":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        "XML": b"<event/>",
        "a number": b"17",
        "a text": b'"hello"',
        "null": b"null",
        "empty object": b"{}",
    }


def _wrong(topic: Topic, base: dict[str, Any]) -> dict[str, bytes]:
    """JSON that is not the record."""
    found = _arrays(topic, base)
    kind = mi.type_info(topic.record)
    for field in kind.fields if isinstance(kind, mi.StructType) else ():
        name = field.name
        if field.required:
            found[f"without {name}"] = _bytes({k: v for k, v in base.items() if k != name})
        for what, value in _wrong_values(field.type).items():
            found[f"{what} for {name}"] = _bytes(base | {name: value})
    for name, value in base.items():
        if isinstance(value, int | float):
            text = _bytes(base | {name: "@"})
            for number in ("NaN", "Infinity", "1e999", "-1e999"):
                found[f"{number} for {name}"] = text.replace(b'"@"', number.encode())
    if topic.wall_checked:
        now = time.time_ns() // 1_000_000
        found["far ahead"] = _bytes(base | {"ts_ms": now + 3_600_000})
    return found


def _arrays(topic: Topic, base: dict[str, Any]) -> dict[str, bytes]:
    found = {"empty array": b"[]", "array in an array": _bytes([[base]])}  # type: ignore[arg-type]
    if topic.batched:
        small = _bytes({k: v for k, v in base.items() if k in ("event_id", "user_id", "item_id", "ts_ms")})
        found["1,001 records"] = b"[" + b",".join([b"{}"] * (MAX_BATCH + 1)) + b"]"
        found["array without its end"] = b"[" + small
    else:
        found["array of one record"] = _bytes([base])  # type: ignore[arg-type]
    return found


def _wrong_values(kind: mi.Type) -> dict[str, Any]:
    """What does not fit a field, by the field's type."""
    if isinstance(kind, mi.UnionType):
        if not any(isinstance(each, mi.NoneType) for each in kind.types):
            return {"object": {}}
        rest = [each for each in kind.types if not isinstance(each, mi.NoneType)]
        return {what: v for what, v in _wrong_values(rest[0]).items() if v is not None}
    if isinstance(kind, mi.IntType):
        return {
            "bool": True,
            "text": "5",
            "null": None,
            "negative": -(2**62),
            "overflow": 10**40,
            "fraction": 1.5,
        }
    if isinstance(kind, mi.FloatType):
        return {"bool": True, "text": "0.5", "null": None, "list": []}
    if isinstance(kind, mi.StrType):
        wrong = {"number": 5, "null": None, "object": {}, "list": ["a"]}
        ids = {"empty id": "", "space in id": "a b", "newline in id": "a\n", "slash in id": "../a"}
        return wrong | (ids | {"long id": "a" * 129} if kind.pattern else {})
    if isinstance(kind, mi.LiteralType):
        return {"unknown word": "unheard-of", "number": 1, "null": None}
    return {"text": "x", "number": 5, "null": None}
