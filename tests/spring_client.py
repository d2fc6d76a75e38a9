"""Spring's own ReplyingKafkaTemplate as a client: its jars by Maven, its program compiled as it starts."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from infra.kafka.apache import cached_jars
from streams.events import REPLIES, REQUESTS
from streams.settings import Settings

HERE = Path(__file__).with_name("spring")


def ask_with_spring(settings: Settings, requests: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Sends requests (key, JSON) and returns their answers in the same order: error code or "-", JSON."""
    jars = cached_jars("spring-kafka-3.3.5", HERE / "pom.xml")
    topics = [settings.topic_prefix + topic.name for topic in (REQUESTS, REPLIES)]
    command = ["java", "-Xmx256m", "-cp", f"{jars}/*", str(HERE / "Ask.java"), settings.kafka, *topics]
    asked = "".join(f"{key}\t{value}\n" for key, value in requests)
    done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2_000:]
    answers = [line.split("\t", 1) for line in done.stdout.splitlines() if "\t" in line]
    return [(code, value) for code, value in answers]
