"""Dead letters read back: what each one is, what may be shown of it, and which of them go out again.

A letter that was sent again is remembered by a marker on the dead-letter topic itself, which is kept as
long as the letters are: an empty value whose header `x-replayed` is `partition:offset` of the letter.
The letter goes first and its marker when the broker has it, so a crash between the two may send it
twice; by its own id the second one is then a repeat, like any client's resend.
"""

import re
import struct
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec

from streams.messages import Headers, Message, header

__all__ = [
    "MAX_REPLAYS",
    "REPLAYED",
    "REPLAYS",
    "Letter",
    "Place",
    "Planned",
    "Reasons",
    "Skip",
    "letters_of",
    "marker_headers",
    "message_shape",
    "plan",
    "printable",
    "reasons_of",
    "replay_headers",
    "users_of",
]

REPLAYED = "x-replayed"  # of a marker: the letter that was sent again
REPLAYS = "x-replays"  # of a message: how many times it was sent again
ORIGINAL_BYTES = "x-original-bytes"  # of a letter whose value was cut
MAX_REPLAYS = 3  # what fails so many times needs a person, and `--again`
SHOWN_CHARACTERS = 2_000
_OURS = "kafka_dlt-"

Skip = Literal["already", "forgotten", "too_often", "cut"]


class Place(NamedTuple):
    """Where a letter stands on its dead-letter topic."""

    partition: int
    offset: int


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter. `topic` is the one it failed on; -1 and "" stand for what its headers do not tell."""

    topic: str
    place: Place
    written_ms: int
    partition: int
    offset: int
    timestamp_ms: int
    reason: str
    message: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]  # as it came with, before it was one
    replays: int
    cut: bool


class Planned(NamedTuple):
    """A letter that was asked for, and why it stays (None: it goes)."""

    letter: Letter
    skip: Skip | None


class Reasons(msgspec.Struct, frozen=True):
    """Letters of one exception class and one shape of message."""

    reason: str
    shape: str
    letters: int


def letters_of(topic: str, messages: Iterable[Message]) -> tuple[list[Letter], set[Place]]:
    """The letters of `topic` among the messages of its dead-letter topic, and the places sent again.

    The topic is the one whose letters these are, whatever a header says: nobody may send a record to
    another topic by way of the dead letters.
    """
    letters, replayed = [], set()
    for message in messages:
        place = _marked(message)
        if place is not None:
            replayed.add(place)
        else:
            letters.append(_letter(topic, message))
    return letters, replayed


def _marked(message: Message) -> Place | None:
    """The letter that a marker speaks of; None for a letter."""
    told = header(message, REPLAYED)
    if told is None or message.value or header(message, f"{_OURS}original-offset") is not None:
        return None
    found = re.fullmatch(rb"(\d{1,9}):(\d{1,18})", told)
    return Place(int(found[1]), int(found[2])) if found else None


def _letter(topic: str, message: Message) -> Letter:
    return Letter(
        topic=topic,
        place=Place(message.partition, message.offset),
        written_ms=message.timestamp_ms,
        partition=_number(message, "original-partition", ">i"),
        offset=_number(message, "original-offset", ">q"),
        timestamp_ms=_number(message, "original-timestamp", ">q"),
        reason=_text(message, "exception-fqcn"),
        message=_text(message, "exception-message"),
        key=message.key,
        value=message.value,
        headers=tuple(h for h in message.headers if not h[0].startswith(_OURS) and h[0] not in _OWN),
        replays=_count(header(message, REPLAYS)),
        cut=header(message, ORIGINAL_BYTES) is not None,
    )


_OWN = (REPLAYS, REPLAYED, ORIGINAL_BYTES)


def _number(message: Message, name: str, layout: str) -> int:
    value = header(message, _OURS + name)
    return struct.unpack(layout, value)[0] if value and len(value) == struct.calcsize(layout) else -1


def _text(message: Message, name: str) -> str:
    return (header(message, _OURS + name) or b"").decode(errors="replace")


def _count(value: bytes | None) -> int:
    return int(value) if value is not None and re.fullmatch(rb"\d{1,6}", value) else 0


# --- what is shown ----------------------------------------------------------------------------------


def message_shape(message: str) -> str:
    """A message without what differs from letter to letter: quoted text and numbers.

    >>> message_shape("key: expected user_id 'u7', got b'u19'; 3 more - at `$.ts_ms`")
    'key: expected user_id …, got …; # more - at `$.ts_ms`'
    """
    quoted = re.sub(r"""\bb?'[^']*'|\bb?"[^"]*"|'[^']*'|"[^"]*\"""", "…", message)
    return re.sub(r"(?<![\w.])-?\d+(?:\.\d+)?", "#", quoted)[:200]


def reasons_of(letters: Iterable[Letter]) -> list[Reasons]:
    """Letters counted by exception class and shape of message, the most first."""
    counts = Counter((letter.reason or "?", message_shape(letter.message)) for letter in letters)
    return [Reasons(*key, n) for key, n in sorted(counts.items(), key=lambda kv: (-kv[1], kv[0]))]


_HUSHED = r"pass(?:word|wd)?|secret|token|api[_-]?key|authorization|cookie|credential|private[_-]?key"
_HUSHED_NAME = re.compile(_HUSHED, re.IGNORECASE)
_HUSHED_FIELD = re.compile(
    rf'("[^"]{{0,64}}(?:{_HUSHED})[^"]{{0,64}}"\s*:\s*)("(?:[^"\\]|\\.)*"?|[^,}}\]\s]+)', re.IGNORECASE
)
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)


def printable(name: str, value: bytes | None, most: int = SHOWN_CHARACTERS) -> str | None:
    """A value as text for people: bounded, no control characters, what looks like a secret blotted out.

    >>> printable("", b'{"user_id":"u1","password":"hunter2"}')
    '{"user_id":"u1","password":"***"}'
    >>> printable("", b"\\x00\\x1b[31m")
    '\\\\x00\\\\x1b[31m'
    """
    if value is None:
        return None
    if _HUSHED_NAME.search(name):
        return "***"
    text = value[: 4 * most].decode(errors="backslashreplace")
    text = _BEARER.sub(r"\1 ***", _HUSHED_FIELD.sub(r'\1"***"', text))
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    if len(safe) <= most and len(value) <= 4 * most:
        return safe
    return f"{safe[:most]}… ({len(value)} bytes)"


# --- what goes out again ----------------------------------------------------------------------------

_USER = re.compile(rb'"user_id"\s*:\s*"([A-Za-z0-9_.:\-]{1,128})"')


def users_of(letter: Letter, keyed_by_user: bool) -> set[str]:
    """Every user that a letter may be about: by its key, and by any `user_id` in its value."""
    users = {found.decode() for found in _USER.findall(letter.value or b"")}
    if keyed_by_user and letter.key:
        users.add(letter.key.decode(errors="replace"))
    return users


def plan(
    letters: Iterable[Letter],
    replayed: Collection[Place],
    forgotten: Callable[[Letter], bool],
    *,
    where: Collection[Place] = (),
    reasons: Collection[str] = (),
    again: bool = False,
) -> list[Planned]:
    """The letters that are asked for, each with why it stays.

    `where` and `reasons` narrow the choice (empty: all); a reason is an exception class, with or
    without its package. `again` sends what was sent before, and what failed MAX_REPLAYS times; a
    forgotten user's letter and one whose value was cut never go.
    """
    wanted = [x for x in letters if (not where or x.place in where) and (not reasons or _is(x, reasons))]
    return [Planned(letter, _skip(letter, replayed, forgotten, again)) for letter in wanted]


def _is(letter: Letter, reasons: Collection[str]) -> bool:
    return letter.reason in reasons or letter.reason.rpartition(".")[2] in reasons


def _skip(
    letter: Letter, replayed: Collection[Place], forgotten: Callable[[Letter], bool], again: bool
) -> Skip | None:
    if forgotten(letter):
        return "forgotten"
    if letter.cut:
        return "cut"
    if again:
        return None
    if letter.place in replayed:
        return "already"
    return "too_often" if letter.replays >= MAX_REPLAYS else None


def replay_headers(letter: Letter) -> Headers:
    """The headers it came with, and how many times it now went out again; should it fail once more,
    they come back with it."""
    return [*letter.headers, (REPLAYS, str(letter.replays + 1).encode())]


def marker_headers(letter: Letter) -> Sequence[tuple[str, bytes | None]]:
    """The headers of the marker that remembers a letter sent again."""
    return [(REPLAYED, f"{letter.place.partition}:{letter.place.offset}".encode())]
