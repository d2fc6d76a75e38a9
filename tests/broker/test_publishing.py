"""What our producer writes: partitions, limits, dead letters, and delivery through a crash."""

import struct

import pytest

from streams.codec import Malformed, Reason, decode
from streams.errors import KafkaUnavailable
from streams.events import (
    CLICKS,
    ITEMS,
    MODELS,
    REQUESTS,
    TOPICS,
    Topic,
    dead_letter,
)
from streams.kafka import Follower, Publisher, create_topics, read_all
from streams.messages import Message, header
from streams.metrics import DEAD_LETTERS
from tests.build import T0, make_click, make_item, make_message, make_model
from tests.conftest import MakeSettings
from tests.garbage import garbage
from tests.waiting import eventually

# from the tests of org.apache.kafka.common.utils.Utils.murmur2
JAVA_MURMUR2 = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


def letters_of(topic: Topic) -> Topic:
    """The dead-letter topic, for reading."""
    return Topic(name=dead_letter(topic.name), record=topic.record, key=topic.key, retention_ms=-1)


def test_keys_go_where_javas_producer_puts_them(any_kafka: str, make_settings: MakeSettings) -> None:
    settings = make_settings(kafka=any_kafka, partitions=4)
    create_topics(settings, [ITEMS])
    with Publisher(settings) as publisher:
        for key in JAVA_MURMUR2:
            publisher.send(ITEMS, make_item(item_id=key))
        publisher.flush()
    got = {(m.key or b"").decode(): m.partition for m in read_all(settings, ITEMS)}
    assert got == {key: (value & 0x7FFFFFFF) % 4 for key, value in JAVA_MURMUR2.items()}


def test_an_ordered_topic_keeps_one_order_on_either_broker(
    any_kafka: str, make_settings: MakeSettings
) -> None:
    settings = make_settings(kafka=any_kafka)
    create_topics(settings, [MODELS])
    with Publisher(settings) as publisher:
        for n in range(20):
            publisher.send(MODELS, make_model(version=f"v{n}"))
        publisher.flush()
    assert [m.key for m in read_all(settings, MODELS)] == [f"v{n}".encode() for n in range(20)]


def test_a_batch_is_one_message_and_headers_arrive(any_kafka: str, make_settings: MakeSettings) -> None:
    settings = make_settings(kafka=any_kafka)
    create_topics(settings, [CLICKS])
    told: list[Exception | None] = []
    with Publisher(settings) as publisher:
        clicks = [make_click(), make_click()]
        publisher.send(CLICKS, clicks, headers=[("a", b"\x00\xff"), ("b", None)], on_delivery=told.append)
        publisher.flush()
    (message,) = read_all(settings, CLICKS)
    assert decode(CLICKS, message.key, message.value, T0).records == tuple(clicks)
    assert list(message.headers) == [("a", b"\x00\xff"), ("b", None)]
    assert told == [None]


def test_a_batch_of_several_keys_or_above_the_limit_is_the_callers_fault(
    embedded_kafka: str, make_settings: MakeSettings
) -> None:
    with Publisher(make_settings(kafka=embedded_kafka)) as publisher:
        with pytest.raises(ValueError, match="one user_id, got 2"):
            publisher.send(CLICKS, [make_click(), make_click(user_id="u2")])
        with pytest.raises(ValueError, match="at most 65536 bytes"):
            publisher.send(CLICKS, [make_click(surface="s" * 128) for _ in range(400)])


def test_the_largest_message_of_each_topic_fits_with_its_headers(
    any_kafka: str, make_settings: MakeSettings
) -> None:
    settings = make_settings(kafka=any_kafka)
    create_topics(settings)
    headers = [("h", b"x" * 50_000)]
    with Publisher(settings) as publisher:
        for topic in TOPICS.values():
            publisher.send_raw(topic.name, b"k", b"{" * topic.max_bytes, headers)
        publisher.flush(30)
    for topic in (CLICKS, ITEMS, REQUESTS):
        (message,) = read_all(settings, topic)
        assert len(message.value or b"") == topic.max_bytes


def test_a_burst_of_a_foreign_clients_default_batches_fits(
    apache_kafka: str, make_settings: MakeSettings
) -> None:
    """librdkafka puts up to 1 MB into a batch, and the broker's limit is on batches."""
    from confluent_kafka import Producer

    settings = make_settings(kafka=apache_kafka, partitions=1)
    create_topics(settings, [CLICKS])
    producer = Producer({"bootstrap.servers": apache_kafka, "linger.ms": 200})
    failed: list[object] = []
    for _ in range(60):
        producer.produce(
            settings.topic_prefix + CLICKS.name,
            b"x" * 50_000,
            b"u1",
            on_delivery=lambda e, _: failed.append(e),
        )
    assert producer.flush(20) == 0
    assert failed == [None] * 60


def test_a_dead_letter_carries_springs_headers_and_is_counted(
    any_kafka: str, make_settings: MakeSettings
) -> None:
    settings = make_settings(kafka=any_kafka)
    create_topics(settings, [CLICKS])
    counter = DEAD_LETTERS.labels(CLICKS.name, Reason.INVALID)
    before = counter._value.get()
    message = make_message(CLICKS.name, b"[1]", partition=1, offset=1 << 40, headers=(("x-own", b"1"),))
    with Publisher(settings) as publisher:
        publisher.dead_letter(message, Malformed(Reason.INVALID, "Expected `object`", b"1"))
        publisher.flush()
    (letter,) = read_all(settings, letters_of(CLICKS))
    assert (letter.key, letter.value) == (b"u1", b"1")
    assert dict(letter.headers) == {
        "x-own": b"1",
        "kafka_dlt-original-topic": (settings.topic_prefix + CLICKS.name).encode(),
        "kafka_dlt-original-partition": struct.pack(">i", 1),
        "kafka_dlt-original-offset": struct.pack(">q", 1 << 40),
        "kafka_dlt-original-timestamp": struct.pack(">q", T0),
        "kafka_dlt-original-timestamp-type": b"CreateTime",
        "kafka_dlt-exception-fqcn": b"streamrec.InvalidField",
        "kafka_dlt-exception-message": b"Expected `object`",
    }
    assert counter._value.get() == before + 1


def test_a_dead_letter_of_any_size_is_kept(any_kafka: str, make_settings: MakeSettings) -> None:
    settings = make_settings(kafka=any_kafka)
    create_topics(settings, [ITEMS])
    value, headers = b"x" * 5_000_000, (("x-own", b"y" * 900_000),)
    with Publisher(settings) as publisher:
        publisher.dead_letter(
            make_message(ITEMS.name, value, headers=headers), Malformed(Reason.TOO_LARGE, "large", value)
        )
        publisher.flush()
    (letter,) = read_all(settings, letters_of(ITEMS))
    assert len(letter.value or b"") == 1024 * 1024
    assert header(letter, "x-original-bytes") == b"5000000"


@pytest.mark.parametrize("topic", TOPICS.values(), ids=lambda t: t.name)
def test_garbage_of_every_kind_comes_to_the_dead_letters_with_its_source(
    topic: Topic, apache_kafka: str, make_settings: MakeSettings
) -> None:
    settings = make_settings(kafka=apache_kafka, partitions=1)
    create_topics(settings, [topic])
    sent = garbage(topic)
    with Publisher(settings) as publisher:
        for each in sent:
            publisher.send_raw(topic.name, each.key, each.value, each.headers)
        publisher.flush(30)

        def judge(message: Message) -> None:
            for malformed in decode(topic, message.key, message.value, message.timestamp_ms).malformed:
                publisher.dead_letter(message, malformed)

        follower = Follower(settings, [topic], judge)
        follower.start()
        assert follower.caught_up.wait(20)
        follower.stop()
        publisher.flush(30)
    letters = list(read_all(settings, letters_of(topic)))
    offsets = {struct.unpack(">q", header(m, "kafka_dlt-original-offset") or b"")[0] for m in letters}
    assert offsets == set(range(len(sent)))
    assert all((header(m, "kafka_dlt-exception-fqcn") or b"").startswith(b"streamrec.") for m in letters)


def test_without_a_broker_a_flush_names_the_address(make_settings: MakeSettings) -> None:
    publisher = Publisher(make_settings(kafka="127.0.0.1:1"))
    publisher.send(ITEMS, make_item())
    with pytest.raises(KafkaUnavailable, match=r"127\.0\.0\.1:1.*1 messages undelivered after 0\.2 s"):
        publisher.flush(0.2)
    publisher._producer.purge()
    publisher.close()


def test_what_was_sent_while_the_broker_was_killed_arrives_once(
    own_apache_kafka, make_settings: MakeSettings
) -> None:
    settings = make_settings(kafka=own_apache_kafka.bootstrap)
    create_topics(settings, [ITEMS])
    got: list[bytes | None] = []
    follower = Follower(settings, [ITEMS], lambda m: got.append(m.key))
    follower.start()
    with Publisher(settings) as publisher:
        for n in range(100):
            publisher.send(ITEMS, make_item(item_id=f"a{n}"))
        publisher.flush(20)
        own_apache_kafka.kill()
        for n in range(100):
            publisher.send(ITEMS, make_item(item_id=f"b{n}"))
        own_apache_kafka.restart()
        publisher.flush(40)
    eventually(lambda: len(got) >= 200, 30)
    follower.stop()
    assert sorted(got) == sorted(f"{x}{n}".encode() for x in "ab" for n in range(100))  # type: ignore[type-var]
