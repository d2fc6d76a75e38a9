"""Does the live state say what the past says? Rebuilt in memory and compared, key by key.

`capture` reads each shard at a moment of its own, `refold` brings every shard of a scratch store to
that very moment, `compare` says where the two differ, `run` does all of it.
"""

from streams.verify.capture import capture
from streams.verify.compare import Difference, Report
from streams.verify.run import REPORT, verify

__all__ = ["REPORT", "Difference", "Report", "capture", "verify"]
