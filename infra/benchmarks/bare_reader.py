"""A bare aiokafka consumer: the floor under every reader in Python.

`python -m infra.benchmarks.bare_reader PASSES` reads the event topics that the settings name from their
start to their end, PASSES times, and prints one line of JSON for each sample of its progress.
"""

import asyncio
import sys
import time

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from infra.benchmarks.speeds import MeasureError, Sample
from streams.events import EVENT_TOPICS
from streams.settings import Settings

__all__ = ["read_through"]

FETCH_BYTES = 8 * 1_024 * 1_024  # the same as the workers' fetches and takes
TAKE_MESSAGES = 1_000
FETCH_WAIT_MS = 30
PATIENCE_MS = 10_000


async def read_through(settings: Settings, passes: int) -> list[Sample]:
    """Reads all there is `passes` times; returns a sample after every `getmany`."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka,
        enable_auto_commit=False,
        max_partition_fetch_bytes=FETCH_BYTES,
        fetch_max_bytes=4 * FETCH_BYTES,
        fetch_max_wait_ms=FETCH_WAIT_MS,
    )
    await consumer.start()
    try:
        names = [settings.topic_prefix + topic.name for topic in EVENT_TOPICS]
        partitions = [
            TopicPartition(name, number)
            for name in names
            for number in sorted(consumer.partitions_for_topic(name) or await _asked(consumer, name))
        ]
        consumer.assign(partitions)
        starts = await consumer.beginning_offsets(partitions)
        total = sum((await consumer.end_offsets(partitions)).values()) - sum(starts.values())
        samples, done = [Sample(time.perf_counter(), time.process_time(), 0)], 0
        for each in range(1, passes + 1):
            for partition, start in starts.items():
                consumer.seek(partition, start)
            while done < each * total:
                found = await consumer.getmany(timeout_ms=PATIENCE_MS, max_records=TAKE_MESSAGES)
                if not found:
                    raise MeasureError(f"bench: {done} of {each * total} messages came")
                done += sum(len(records) for records in found.values())
                samples.append(Sample(time.perf_counter(), time.process_time(), done))
        return samples
    finally:
        await consumer.stop()


async def _asked(consumer: AIOKafkaConsumer, name: str) -> set[int]:
    await consumer._client.add_topic(name)
    return set(consumer.partitions_for_topic(name) or ())


def _main() -> None:
    from streams.settings import read_settings

    samples = asyncio.run(read_through(read_settings(), int(sys.argv[1])))
    print(msgspec.json.encode(samples).decode(), flush=True)


if __name__ == "__main__":
    _main()
