"""kcat as a client that is not ours: it asks for a slate by Spring's headers and reads the reply."""

import json
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from typing import NamedTuple

from streams.events import CORRELATION_ID, REPLIES, REPLY_TOPIC, REQUESTS
from streams.settings import Settings


class Reply(NamedTuple):
    """What kcat read from the reply topic."""

    key: str | None
    value: str
    headers: dict[str, str]


def ask_with_kcat(
    kcat: str,
    settings: Settings,
    value: str,
    *,
    key: str = "u1",
    correlation: str = "kcat-1",
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 20.0,
) -> Reply | None:
    """Produces one request with kcat and returns the reply of that correlation id; None if none came."""
    reply_topic = settings.topic_prefix + REPLIES.name
    sent = {CORRELATION_ID: correlation, REPLY_TOPIC: reply_topic} | dict(headers or {})
    options = [part for name, text in sent.items() for part in ("-H", f"{name}={text}")]
    # a file, not lines of stdin: one message, its bytes as they are
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(value)
        file.flush()
        topic = settings.topic_prefix + REQUESTS.name
        produce = [kcat, "-P", "-q", "-b", settings.kafka, "-t", topic, "-k", key, *options, file.name]
        subprocess.run(produce, check=True, timeout=timeout_s)
    return _read(kcat, settings.kafka, reply_topic, correlation, timeout_s)


def _read(kcat: str, bootstrap: str, topic: str, correlation: str, timeout_s: float) -> Reply | None:
    consume = [kcat, "-C", "-q", "-u", "-J", "-b", bootstrap, "-t", topic, "-o", "beginning"]
    command = [*consume, "-X", "fetch.wait.max.ms=50"]
    # others' correlation ids may be any bytes, and kcat prints them as they are
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace")
    timer = threading.Timer(timeout_s, process.kill)  # ends the reading below
    timer.start()
    try:
        for line in process.stdout or ():
            message = json.loads(line)
            names = message.get("headers") or []
            headers = dict(zip(names[::2], names[1::2], strict=True))
            if headers.get(CORRELATION_ID) == correlation:
                return Reply(message["key"], message["payload"], headers)
    finally:
        timer.cancel()
        process.kill()
        process.wait()
    return None
