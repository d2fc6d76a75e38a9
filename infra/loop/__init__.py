"""The whole loop on a running system: a quiet day, a drift, the retraining that it asks for, and its end."""

from infra.loop.plan import Plan, settings_of
from infra.loop.report import Loop
from infra.loop.run import close_the_loop

__all__ = ["Loop", "Plan", "close_the_loop", "settings_of"]
