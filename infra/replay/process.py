"""A replay as a process beside the roles: the traffic of `streamrec up --traffic replay:FORMAT:PATH`."""

import logging
import threading
from pathlib import Path

import msgspec
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.formats import read_log
from infra.replay.lockstep import Options, replay
from infra.replay.spans import parse_span_ms, parse_speed
from streams.errors import OperatorError
from streams.health import Health
from streams.settings import Settings

__all__ = ["ReplaySettings", "run"]

log = logging.getLogger(__name__)


class ReplaySettings(BaseSettings):
    """What to replay and how; the environment variable is `STREAMREC_REPLAY_` and the name."""

    model_config = SettingsConfigDict(env_prefix="STREAMREC_REPLAY_", frozen=True, extra="ignore")

    source: str = Field(description="FORMAT:PATH")
    speed: str = "max"
    slice: str = "6h"
    report: Path | None = Field(None, description="JSON file for the report")


def run(settings: Settings, health: Health, stop: threading.Event) -> None:
    """Replays the log of STREAMREC_REPLAY_SOURCE, or as far as `stop` lets it.

    Raises:
        OperatorError: a setting is wrong, or the namespace already holds features.
    """
    try:
        wanted = ReplaySettings()  # type: ignore[call-arg]
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise OperatorError(f"STREAMREC_REPLAY_{str(first['loc'][0]).upper()}: {first['msg']}") from None
    found = read_log(wanted.source)
    options = Options(speed=parse_speed(wanted.speed), slice_ms=parse_span_ms("slice", wanted.slice))
    health.set("replay", True, "under way")
    report = replay(settings, found, options, stop=stop)
    if wanted.report is not None:
        wanted.report.write_bytes(msgspec.json.encode(report))
    log.info("replayed %d rows, %d of %d events applied", report.rows, report.applied, report.events_in)
