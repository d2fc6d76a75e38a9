"""Feeds a log into a running system in time order, and reports what came of it."""

from infra.replay.lockstep import Options, replay
from infra.replay.report import Report, as_table

__all__ = ["Options", "Report", "as_table", "replay"]
