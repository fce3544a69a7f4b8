"""What a job comes to: cells merged into trainings, the sets they need, what a store has, what is left to pay."""

from fod_bench.plan.estimate import Summary, summarize
from fod_bench.plan.plan import PartPlan, Plan, lacking_here, make_plan
from fod_bench.plan.training import TrialJob

__all__ = ["PartPlan", "Plan", "Summary", "TrialJob", "lacking_here", "make_plan", "summarize"]
