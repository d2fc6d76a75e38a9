"""The whole loop in one process on a simulated clock: compares policies on the same viewers."""

from infra.lockstep.compare import Comparison, compare
from infra.lockstep.first_model import judge_first_model
from infra.lockstep.loop import LIVE, Plan
from infra.lockstep.policies import POLICIES
from infra.lockstep.run import run_policies

__all__ = ["LIVE", "POLICIES", "Comparison", "Plan", "compare", "judge_first_model", "run_policies"]
