"""The scheduler's policy on clusters that nobody here has: 64 nodes with eight GPUs each, and the whole paper with three seeds."""

from __future__ import annotations

from pathlib import Path
from random import Random

from benchmarks import Result
from fod_bench.job import load_job
from fod_bench.job.shipped import named_job
from fod_bench.plan import Plan, TrialJob, make_plan
from fod_bench.plan.durations import Durations
from fod_bench.records.record import Trial
from fod_bench.runs.prices import read_prices
from fod_bench.runs.resources import Share
from fod_bench.runs.simulate.cluster_form import parse_cluster
from fod_bench.runs.simulate.simulate import ExpectedBehaviour, Simulated, simulate

USE, OVER, SCATTERED_OVER = 95.0, 1.10, 1.20


class Scattered(ExpectedBehaviour):
    """Every training takes up to a third more or less than is expected of it, by chance; one seed is one course."""

    def train_seconds(self, trial: Trial, share: Share) -> float:
        return super().train_seconds(trial, share) * Random(trial.key).uniform(0.67, 1.33)


def run() -> list[Result]:
    """GPUs at work until the last tenth of the time, and the time against the least that any order could reach."""
    plan = _plan([1, 2, 3])
    paper = [trial for trial in plan.trials.values() if not trial.measures_cost]
    assert len(paper) > 2000
    many = _plan([1, 2, 3, 4, 5])
    even = [trial for trial in many.trials.values() if (trial.dataset, trial.settings.method) == ("mvtec", "fod")]
    large, small = _done("64x8", plan, paper), _done("4x8", plan, paper)
    alike, scattered = _done("64x8", many, even), _done("64x8", many, even, Scattered)
    whole = f"the paper's {len(paper)} trainings, three seeds"
    part = f"its {len(even)} of FOD on MVTec AD, five seeds"
    return [
        Result(f"64 × 8 GPUs, {whole}: time / least", large.seconds / large.bound, OVER, "×", False),
        Result("the same: at work, of the GPUs that work is left for", 100 * large.use_of_needed, USE, "%"),
        Result("4 × 8 GPUs, the same trainings: time / least", small.seconds / small.bound, OVER, "×", False),
        Result("the same: at work, of all GPUs", 100 * small.use, USE, "%"),
        Result(f"64 × 8 GPUs, {part}: time / least", alike.seconds / alike.bound, OVER, "×", False),
        Result("the same: at work, of all GPUs", 100 * alike.use, USE, "%"),
        Result(
            "the same, each up to a third off what is expected: time / least",
            scattered.seconds / scattered.bound,
            SCATTERED_OVER,
            "×",
            False,
        ),
        Result("the same: at work, of all GPUs", 100 * scattered.use, USE, "%"),
    ]


def _plan(seeds: list[int]) -> Plan:
    return make_plan(load_job(named_job(Path("paper")), [f"seeds={seeds}"]), download=False)


def _done(
    form: str, plan: Plan, trials: list[TrialJob], behaviour: type[ExpectedBehaviour] = ExpectedBehaviour
) -> Simulated:
    groups = parse_cluster(form, read_prices())
    return simulate(plan, trials, frozenset(), Durations(), groups, behaviour=behaviour)
