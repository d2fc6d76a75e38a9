"""Dead letters read back: what they are, what is shown, what goes again."""

import struct

import pytest

from streams.codec import Malformed
from streams.dead_letters import (
    MAX_REPLAYS,
    REPLAYED,
    REPLAYS,
    Letter,
    Place,
    letters_of,
    marker_headers,
    message_shape,
    plan,
    printable,
    reasons_of,
    replay_headers,
    users_of,
)
from streams.kafka.publisher import dead_letter_headers
from streams.messages import Headers, Message
from tests.build import make_message

TOPIC = "events.clicks"


def dead(
    offset: int = 0, came_with: Headers = (), value: bytes = b"{}", why: str = "streamrec.NotJson"
) -> Message:
    source = make_message(TOPIC, value, partition=3, offset=77, timestamp_ms=123)
    own = dead_letter_headers(source, Malformed(why, "expected 5, got 'x'", value), "pre." + TOPIC)
    return make_message(f"{TOPIC}.DLT", value, offset=offset, headers=(*came_with, *own))


def marker(letter: Letter, offset: int) -> Message:
    return make_message(f"{TOPIC}.DLT", None, offset=offset, headers=tuple(marker_headers(letter)))


def one(message: Message) -> Letter:
    (letter,), replayed = letters_of(TOPIC, [message])
    assert not replayed
    return letter


def test_a_letter_tells_where_it_failed_and_why() -> None:
    letter = one(dead(offset=9, came_with=(("traceparent", b"t"), ("x-from", None))))
    assert (letter.topic, letter.place) == (TOPIC, Place(0, 9))
    assert (letter.partition, letter.offset, letter.timestamp_ms) == (3, 77, 123)
    assert (letter.reason, letter.message) == ("streamrec.NotJson", "expected 5, got 'x'")
    assert letter.headers == (("traceparent", b"t"), ("x-from", None))


def test_broken_headers_of_a_letter_are_told_as_unknown() -> None:
    bad = (("kafka_dlt-original-partition", b"1"), ("kafka_dlt-original-offset", struct.pack(">i", 4)))
    letter = one(make_message(f"{TOPIC}.DLT", b"x", headers=bad))
    assert (letter.partition, letter.offset, letter.reason, letter.replays) == (-1, -1, "", 0)


def test_a_header_cannot_send_a_letter_to_another_topic() -> None:
    forged = make_message(f"{TOPIC}.DLT", b"{}", headers=(("kafka_dlt-original-topic", b"models"),))
    assert one(forged).topic == TOPIC


def test_a_marker_is_no_letter_and_a_letter_is_no_marker() -> None:
    letter = one(dead(offset=4))
    letters, replayed = letters_of(TOPIC, [dead(offset=4), marker(letter, 5)])
    assert [x.place for x in letters] == [Place(0, 4)]
    assert replayed == {Place(0, 4)}
    forged = dead(offset=6, came_with=((REPLAYED, b"0:4"),), value=b"")
    letters, replayed = letters_of(TOPIC, [forged])
    assert len(letters) == 1
    assert not replayed


@pytest.mark.parametrize(
    ("message", "shape"),
    [
        (
            "ts_ms: expected at most 300000 ms ahead of now (17), got 19",
            "ts_ms: expected at most # ms ahead of now (#), got #",
        ),
        ("""key: expected "a'b", got b'c'""", "key: expected …, got …"),
        ("Expected `int`, got `str` - at `$.ts_ms`", "Expected `int`, got `str` - at `$.ts_ms`"),
    ],
)
def test_messages_that_differ_in_values_alone_have_one_shape(message: str, shape: str) -> None:
    assert message_shape(message) == shape


def test_reasons_are_counted_the_most_first() -> None:
    letters = [one(dead(i, why=w)) for i, w in enumerate(["a.B", "a.C", "a.B"])]
    assert [(r.reason, r.letters) for r in reasons_of(letters)] == [("a.B", 2), ("a.C", 1)]


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("Authorization", b"Bearer abcdefghijkl", "***"),
        ("x-note", b"Bearer abcdefghijkl", "Bearer ***"),
        ("", b'{"user_id":"u1","apiToken" : "s3cr3t","n":1}', '{"user_id":"u1","apiToken" : "***","n":1}'),
        ("", b'{"client_secret":12345}', '{"client_secret":"***"}'),
        ("", b'{"password":"cut off in the midd', '{"password":"***"'),
        ("", b"a\x00\n\xff\x1b[31m", "a\\x00\\n\\xff\\x1b[31m"),
    ],
)
def test_what_is_shown_is_printable_and_holds_no_secret(name: str, value: bytes, shown: str) -> None:
    assert printable(name, value) == shown


def test_what_is_shown_is_bounded() -> None:
    text = printable("", b"x" * 1_000_000)
    assert text is not None
    assert len(text) < 2_100
    assert text.endswith("(1000000 bytes)")


def everybody(letter: Letter) -> bool:
    return False


def test_a_letter_goes_once_unless_asked_again() -> None:
    letter = one(dead(4))
    assert plan([letter], (), everybody)[0].skip is None
    assert plan([letter], {letter.place}, everybody)[0].skip == "already"
    assert plan([letter], {letter.place}, everybody, again=True)[0].skip is None


def test_a_letter_that_fails_again_counts_and_then_stays() -> None:
    letter = one(dead())
    for times in range(MAX_REPLAYS):
        assert plan([letter], (), everybody)[0].skip is None, times
        letter = one(dead(came_with=tuple(replay_headers(letter))))
        assert letter.replays == times + 1
        assert REPLAYS not in dict(letter.headers)
    assert plan([letter], (), everybody)[0].skip == "too_often"


def test_forgotten_and_cut_letters_never_go() -> None:
    whole, cut = one(dead(0)), one(dead(1, came_with=(("x-original-bytes", b"9"),)))
    assert [p.skip for p in plan([whole, cut], (), lambda _: True, again=True)] == ["forgotten", "forgotten"]
    assert [p.skip for p in plan([whole, cut], (), everybody, again=True)] == [None, "cut"]


def test_places_and_reasons_narrow_the_choice() -> None:
    letters = [one(dead(i, why=w)) for i, w in enumerate(["a.B", "a.C", "a.B"])]
    assert [p.letter.place.offset for p in plan(letters, (), everybody, reasons=["B"])] == [0, 2]
    assert [p.letter.place.offset for p in plan(letters, (), everybody, reasons=["a.C"])] == [1]
    assert [p.letter.place.offset for p in plan(letters, (), everybody, where=[Place(0, 2)])] == [2]


def test_the_users_of_a_letter_are_found_in_broken_bytes_too() -> None:
    broken = one(dead(value=b'[{"user_id" : "u7", "x": NaN}, {"user_id":"u8"'))
    assert users_of(broken, keyed_by_user=True) == {"u1", "u7", "u8"}
    assert users_of(broken, keyed_by_user=False) == {"u7", "u8"}
