"""Dead letters on a running Kafka: read, listed, sent again."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from streams.dead_letters import (
    Letter,
    Place,
    Planned,
    letters_of,
    marker_headers,
    printable,
    reasons_of,
    replay_headers,
    users_of,
)
from streams.errors import OperatorError
from streams.events import TOPICS, Topic, dead_letter
from streams.forgetting.forgotten import Forgetting
from streams.forgetting.forgotten_feed import read_forgetting
from streams.kafka import Offsets, Publisher
from streams.settings import Settings

__all__ = ["Replayed", "Shelf", "is_forgotten", "read_shelf", "replay", "shown", "summary", "topic_named"]

AT_ONCE = 200  # letters sent before their markers


class Shelf(msgspec.Struct, frozen=True):
    """The dead letters of one topic, oldest first, and which of them were sent again."""

    topic: Topic
    letters: list[Letter]
    replayed: set[Place]
    forgetting: Forgetting


class Replayed(msgspec.Struct, frozen=True):
    """How a replay ended: sent and confirmed by the broker, and left where they are, by reason."""

    topic: str
    confirmed: int
    skipped: dict[str, int]
    dry_run: bool


def topic_named(name: str) -> Topic:
    """A topic of the table, by its own name or that of its dead letters.

    Raises:
        OperatorError: there is none.
    """
    topic = TOPICS.get(name.removesuffix(".DLT"))
    if topic is None:
        raise OperatorError(f"dlq: expected one of {', '.join(TOPICS)}, got {name!r}")
    return topic


def read_shelf(settings: Settings, topic: Topic) -> Shelf:
    """Everything on a topic's dead-letter topic as it is now.

    Raises:
        KafkaUnavailable: the broker does not answer.
    """
    with Offsets(settings) as offsets:
        messages = offsets.read_all(msgspec.structs.replace(topic, name=dead_letter(topic.name)))
        letters, replayed = letters_of(topic.name, messages)
    letters.sort(key=lambda letter: (letter.written_ms, letter.place))
    return Shelf(topic, letters, replayed, read_forgetting(settings))


def is_forgotten(shelf: Shelf) -> Callable[[Letter], bool]:
    """Whether a letter may be about somebody who was ever forgotten, whatever time it bears."""
    by_user = shelf.topic.key == "user_id"

    def check(letter: Letter) -> bool:
        return any(shelf.forgetting.forgotten_at(u) is not None for u in users_of(letter, by_user))

    return check


def summary(shelf: Shelf) -> dict[str, Any]:
    """What stands on a topic's dead letters, for a table or JSON."""
    return {
        "topic": shelf.topic.name,
        "letters": len(shelf.letters),
        "replayed": sum(letter.place in shelf.replayed for letter in shelf.letters),
        "newest_ms": max((letter.written_ms for letter in shelf.letters), default=None),
        "reasons": msgspec.to_builtins(reasons_of(shelf.letters)),
    }


def shown(shelf: Shelf, letter: Letter) -> dict[str, Any]:
    """A letter for people; of a forgotten user neither key nor value nor message are shown."""
    hidden = is_forgotten(shelf)(letter)
    headers = [*letter.headers, *([("x-replays", str(letter.replays).encode())] if letter.replays else [])]
    return {
        "partition": letter.place.partition,
        "offset": letter.place.offset,
        "written_ms": letter.written_ms,
        "kafka_dlt-original-topic": letter.topic,
        "kafka_dlt-original-partition": letter.partition,
        "kafka_dlt-original-offset": letter.offset,
        "kafka_dlt-original-timestamp": letter.timestamp_ms,
        "kafka_dlt-exception-fqcn": letter.reason,
        "kafka_dlt-exception-message": None if hidden else printable("", letter.message.encode(), 500),
        "headers": {} if hidden else {n[:128]: printable(n, v, 200) for n, v in headers[:32]},
        "key": None if hidden else printable("", letter.key, 200),
        "value": None if hidden else printable("", letter.value),
        "bytes": len(letter.value or b""),
        "cut": letter.cut,
        "replayed": letter.place in shelf.replayed,
        "forgotten": hidden,
    }


def replay(
    publisher: Publisher,
    topic: Topic,
    planned: Sequence[Planned],
    *,
    dry_run: bool = False,
    on_confirmed: Callable[[int], None] = lambda _: None,
) -> Replayed:
    """Sends letters back to the topic they failed on, with their markers behind them.

    `on_confirmed` hears how many more the broker has. Nothing is sent on a dry run.

    Raises:
        KafkaUnavailable: not all was delivered; what was not marked goes out with the next replay.
    """
    going = [letter for letter, skip in planned if skip is None]
    skipped: dict[str, int] = {}
    for _, skip in planned:
        if skip is not None:
            skipped[skip] = skipped.get(skip, 0) + 1
    if not dry_run:
        for start in range(0, len(going), AT_ONCE):
            part = going[start : start + AT_ONCE]
            for letter in part:
                publisher.send_raw(topic.name, letter.key, letter.value, replay_headers(letter))
            publisher.flush()
            for letter in part:
                publisher.send_raw(
                    dead_letter(topic.name),
                    letter.key,
                    None,
                    marker_headers(letter),
                    partition=letter.place.partition,
                )
            publisher.flush()
            on_confirmed(len(part))
    return Replayed(topic.name, len(going), skipped, dry_run)
