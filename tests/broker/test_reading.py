"""What any producer writes, our readers read: codecs, partitioners, groups, starts and ends."""

import pytest
from confluent_kafka import Producer

from streams.codec import encode
from streams.errors import StoreUnavailable
from streams.events import CLICKS, FORGOTTEN, ITEMS, WATCHES, Click
from streams.kafka import (
    Follower,
    GroupReader,
    Lives,
    Offsets,
    Publisher,
    create_topics,
    end_offsets,
    epoch,
    read_all,
)
from streams.kafka import follower as follower_module
from streams.messages import Message
from tests.build import make_click, make_item
from tests.conftest import MakeSettings
from tests.waiting import eventually

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
PARTITIONERS = ("consistent_random", "murmur2_random")


def foreign(bootstrap: str, codec: str, partitioner: str) -> Producer:
    """A client that is not ours, with the given way of compressing and of partitioning."""
    return Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "partitioner": partitioner})


def read_group(reader: GroupReader, count: int) -> list[Message]:
    got: list[Message] = []
    eventually(lambda: got.extend(reader.poll(500, 0.2)) or len(got) >= count, 30)
    return got


def test_every_codec_and_partitioner_is_read(any_kafka: str, make_settings: MakeSettings) -> None:
    settings = make_settings(kafka=any_kafka, partitions=4)
    create_topics(settings, [CLICKS])
    sent: set[str] = set()
    for codec in CODECS:
        for partitioner in PARTITIONERS:
            producer = foreign(any_kafka, codec, partitioner)
            for n in range(20):
                click = make_click(event_id=f"{codec}:{partitioner}:{n}", user_id=f"u{n}", surface="s" * 128)
                producer.produce(settings.topic_prefix + CLICKS.name, encode(click), click.user_id.encode())
                sent.add(click.event_id)
            assert producer.flush(10) == 0

    followed: list[Message] = []
    follower = Follower(settings, [CLICKS], followed.append)
    follower.start()
    assert follower.caught_up.wait(20)
    follower.stop()
    with GroupReader(settings, "codecs", [CLICKS]) as reader:
        grouped = read_group(reader, len(sent))
    for got in (followed, grouped, list(read_all(settings, CLICKS))):
        assert {_id(m) for m in got} == sent
        assert len(got) == len(sent)
        assert {m.topic for m in got} == {CLICKS.name}
    partitions = {}
    for message in followed:
        partitions.setdefault(message.key, set()).add(message.partition)
    assert any(len(where) > 1 for where in partitions.values()), "the partitioners agree: nothing was tested"


def _id(message: Message) -> str:
    import msgspec

    return msgspec.json.decode(message.value or b"", type=Click).event_id


def test_a_follower_of_empty_topics_has_caught_up_and_then_sees_what_comes(
    any_kafka: str, make_settings: MakeSettings
) -> None:
    settings = make_settings(kafka=any_kafka)
    create_topics(settings, [ITEMS, FORGOTTEN])
    got: list[Message] = []
    follower = Follower(settings, [ITEMS, FORGOTTEN], got.append)
    follower.start()
    assert follower.caught_up.wait(10)
    with Publisher(settings) as publisher:
        publisher.send(ITEMS, make_item())
        publisher.send_raw("items", b"i2", None)
        publisher.flush()
        eventually(lambda: len(got) == 2)
    assert {m.value for m in got if m.key == b"i2"} == {None}
    follower.stop()
    assert not follower.is_alive()
    assert follower.error is None


def test_a_follower_from_latest_sees_only_what_comes_after(
    any_kafka: str, make_settings: MakeSettings
) -> None:
    settings = make_settings(kafka=any_kafka)
    create_topics(settings, [ITEMS])
    got: list[Message] = []
    with Publisher(settings) as publisher:
        publisher.send(ITEMS, make_item(item_id="old"))
        publisher.flush()
        follower = Follower(settings, [ITEMS], got.append, start="latest")
        follower.start()
        assert follower.caught_up.wait(10)
        publisher.send(ITEMS, make_item(item_id="new"))
        eventually(lambda: got)
    follower.stop()
    assert [m.key for m in got] == [b"new"]


def test_a_follower_gives_a_message_again_while_a_neighbour_fails(
    any_kafka: str, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower_module, "RETRY_S", 0.01)
    settings = make_settings(kafka=any_kafka)
    create_topics(settings, [ITEMS])
    got: list[bytes | None] = []
    failures = [StoreUnavailable("away")] * 3

    def take(message: Message) -> None:
        if failures:
            raise failures.pop()
        got.append(message.key)

    with Publisher(settings) as publisher:
        for n in range(3):
            publisher.send(ITEMS, make_item(item_id=f"i{n}"), partition=0)
        publisher.flush()
    follower = Follower(settings, [ITEMS], take)
    follower.start()
    assert follower.caught_up.wait(10)
    follower.stop()
    assert got == [b"i0", b"i1", b"i2"]


def test_a_fault_in_the_callback_ends_the_follower_and_is_told(
    any_kafka: str, make_settings: MakeSettings
) -> None:
    settings = make_settings(kafka=any_kafka)
    create_topics(settings, [ITEMS])

    def take(_: Message) -> None:
        raise RuntimeError("a bug")

    with Publisher(settings) as publisher:
        publisher.send(ITEMS, make_item())
        publisher.flush()
    follower = Follower(settings, [ITEMS], take)
    follower.start()
    eventually(lambda: not follower.is_alive())
    assert isinstance(follower.error, RuntimeError)
    assert not follower.caught_up.is_set()


def test_a_follower_picks_up_new_partitions(
    apache_kafka: str, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from confluent_kafka.admin import NewPartitions

    from streams.kafka.connect import admin

    monkeypatch.setattr(follower_module, "LOOK_S", 0.1)
    settings = make_settings(kafka=apache_kafka, partitions=1)
    create_topics(settings, [ITEMS])
    got: list[Message] = []
    follower = Follower(settings, [ITEMS], got.append, start="latest")
    follower.start()
    assert follower.caught_up.wait(10)
    client = admin(settings)
    name = settings.topic_prefix + ITEMS.name
    client.create_partitions([NewPartitions(name, 3)])[name].result()
    eventually(lambda: len(client.list_topics(name, timeout=5).topics[name].partitions) == 3)
    with Publisher(settings) as publisher:
        publisher.send(ITEMS, make_item(), partition=2)
        publisher.flush()
    eventually(lambda: [m.partition for m in got] == [2])
    follower.stop()


def test_a_group_goes_on_from_its_commit(any_kafka: str, make_settings: MakeSettings) -> None:
    settings = make_settings(kafka=any_kafka)
    create_topics(settings, [ITEMS])
    with Publisher(settings) as publisher:
        for n in range(10):
            publisher.send(ITEMS, make_item(item_id=f"i{n}"), partition=0)
        publisher.flush()
    with GroupReader(settings, "g", [ITEMS]) as reader:
        first = [*_take(reader, 4)]
        reader.commit()
    with GroupReader(settings, "g", [ITEMS]) as reader:
        rest = read_group(reader, 6)
        assert {source.topic for source in reader.assignment()} == {ITEMS.name}
    assert [m.offset for m in (*first, *rest)] == list(range(10))


def _take(reader: GroupReader, count: int) -> list[Message]:
    got: list[Message] = []
    eventually(lambda: got.extend(reader.poll(count - len(got), 0.2)) or len(got) == count, 30)
    return got


def test_two_members_of_a_group_share_the_partitions(apache_kafka: str, make_settings: MakeSettings) -> None:
    settings = make_settings(kafka=apache_kafka, partitions=2)
    create_topics(settings, [ITEMS])
    with GroupReader(settings, "g", [ITEMS]) as a, GroupReader(settings, "g", [ITEMS]) as b:
        eventually(
            lambda: (a.poll(1, 0.05), b.poll(1, 0.05)) and len(a.assignment()) == len(b.assignment()) == 1, 30
        )
        assert a.assignment().isdisjoint(b.assignment())


def test_ends_and_everything_up_to_them(any_kafka: str, make_settings: MakeSettings) -> None:
    settings = make_settings(kafka=any_kafka, partitions=4)
    create_topics(settings, [ITEMS])
    assert sum(end_offsets(settings, ITEMS).values()) == 0
    assert list(read_all(settings, ITEMS)) == []
    with Publisher(settings) as publisher:
        for n in range(50):
            publisher.send(ITEMS, make_item(item_id=f"i{n}"))
        publisher.flush()
    with Offsets(settings) as offsets:
        assert sum(offsets.end(ITEMS).values()) == 50
        assert len({m.key for m in offsets.read_all(ITEMS)}) == 50
        assert len(offsets.end(ITEMS)) == 4


def test_an_epoch_names_one_life_of_a_topic(apache_kafka: str, make_settings: MakeSettings) -> None:
    from streams.kafka.connect import admin

    settings = make_settings(kafka=apache_kafka)
    create_topics(settings, [ITEMS, CLICKS])
    first = epoch(settings, ITEMS.name)
    assert first == epoch(settings, ITEMS.name)
    assert first != epoch(settings, CLICKS.name)
    client = admin(settings)
    name = settings.topic_prefix + ITEMS.name
    client.delete_topics([name])[name].result()
    eventually(lambda: name not in client.list_topics(timeout=5).topics)
    create_topics(settings, [ITEMS])
    assert epoch(settings, ITEMS.name) != first
    assert Lives(settings).of([ITEMS.name, WATCHES.name]) == {ITEMS.name: epoch(settings, ITEMS.name)}
    assert epoch(make_settings(kafka=apache_kafka, kafka_epoch="mine"), ITEMS.name) == "mine"


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_members_come_and_go_without_a_pause_of_those_that_stay(apache_kafka, make_settings, protocol):
    settings = make_settings(kafka=apache_kafka, partitions=4, kafka_group_protocol=protocol)
    create_topics(settings, [ITEMS])
    got: list[Message] = []
    sent = 0
    with Publisher(settings) as publisher, GroupReader(settings, "g", [ITEMS]) as stays:

        def turn(*readers: GroupReader) -> None:
            nonlocal sent
            publisher.send(ITEMS, make_item(item_id=f"i{sent}"))
            sent += 1
            for reader in readers:
                got.extend(reader.poll(100, 0.05))

        def among(*readers: GroupReader) -> bool:
            turn(*readers)
            held = [reader.assignment() for reader in readers]
            return all(held) and sum(map(len, held)) == len(set.union(*held)) == 4

        eventually(lambda: among(stays), 30, "all partitions")
        seen = []
        with GroupReader(settings, "g", [ITEMS]) as comes:

            def shared() -> bool:
                done = among(stays, comes)
                seen.append(stays.assignment())
                return done

            eventually(shared, 30, "partitions shared by two")
            kept = stays.assignment()
            assert len(kept) == 2
            assert all(kept <= held for held in seen)
        eventually(lambda: among(stays), 30, "all partitions again")
        publisher.flush()

        def all_read() -> bool:
            got.extend(stays.poll(100, 0.2))
            return {message.key for message in got} == {f"i{n}".encode() for n in range(sent)}

        eventually(all_read, 30, "every message")
