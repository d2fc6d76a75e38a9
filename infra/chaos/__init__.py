"""Kills and faults under load, and the proof that they changed nothing.

`plan` draws the faults from a seed, `load` the messages; `crew`, `servers` and `hands` do them to real
processes; `verdict` compares what is then in Redis with `oracle`, an independent recomputation.
"""

from infra.chaos.plan import KINDS, Fault, Kind, plan_faults
from infra.chaos.report import Report
from infra.chaos.run import Options, run_chaos

__all__ = ["KINDS", "Fault", "Kind", "Options", "Report", "plan_faults", "run_chaos"]
