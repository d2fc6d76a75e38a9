"""Kafka, in the only package that knows its client: produce, follow, read in a group, ask and answer."""

from streams.kafka.connect import cluster_id, epoch, is_embedded, kafka_config, require_admission
from streams.kafka.follower import Follower
from streams.kafka.group_reader import GroupReader
from streams.kafka.mock import MockCluster
from streams.kafka.offsets import Offsets, end_offsets, read_all
from streams.kafka.publisher import Publisher
from streams.kafka.ranges import Ranges
from streams.kafka.rank_client import AsyncRankClient, RankClient
from streams.kafka.topics import Difference, TopicState, create_topics, describe_topics

__all__ = [
    "AsyncRankClient",
    "Difference",
    "Follower",
    "GroupReader",
    "MockCluster",
    "Offsets",
    "Publisher",
    "Ranges",
    "RankClient",
    "TopicState",
    "cluster_id",
    "create_topics",
    "describe_topics",
    "end_offsets",
    "epoch",
    "is_embedded",
    "kafka_config",
    "read_all",
    "require_admission",
]
