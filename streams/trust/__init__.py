"""Traffic that should not teach: a verdict for each event, by what its user has been doing.

`limits` declares every threshold, `conduct` is a user's bounded state and what of it breaches a limit,
`anomaly` is River's view of the same numbers, `detector` puts them together. Pure: no clock, no Kafka.
"""

from streams.trust.detector import Detector, Verdict
from streams.trust.limits import LIMITS, Limits, Reason

__all__ = ["LIMITS", "Detector", "Limits", "Reason", "Verdict"]
