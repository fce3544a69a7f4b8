"""What a job comes to: cells merged into trainings, the features they need, what a store has, what is left to pay."""

from fod_bench.plan.estimate import Summary, summarize
from fod_bench.plan.make import PartPlan, Plan, make_plan
from fod_bench.plan.trial_job import TrialJob
from fod_bench.plan.view import format_seconds, print_summary

__all__ = ["PartPlan", "Plan", "Summary", "TrialJob", "format_seconds", "make_plan", "print_summary", "summarize"]
