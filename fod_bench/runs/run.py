"""One run of a job, from its plan to the end: what is there already, what is left, who does it, what came out."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Set
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import isfinite

from fod_bench.errors import FodBenchError, StoreError, UsageError
from fod_bench.features.feature_set import manifest_of
from fod_bench.job import dump_job
from fod_bench.plan import Plan, TrialJob
from fod_bench.plan.durations import recorded_durations
from fod_bench.records.failures import Failure, failure_names, forget_failure, keep_failure, kept_failure
from fod_bench.records.index.changes import changing
from fod_bench.records.index.trials import Trials
from fod_bench.records.names import job_name, plan_name, record_name
from fod_bench.records.record import Record
from fod_bench.records.tidy import tidy_leftovers
from fod_bench.runs.admission import admit
from fod_bench.runs.budget import Allowance, Budget, check_holds, left_out
from fod_bench.runs.counts import Counts
from fod_bench.runs.executor import Executor, OpenExecutor
from fod_bench.runs.index_keeper import IndexKeeper
from fod_bench.runs.measuring import settled_resources
from fod_bench.runs.order import Order, ranks_of
from fod_bench.runs.prices import PriceList, read_prices
from fod_bench.runs.progress import Progress, stderr_console
from fod_bench.runs.resources import NodeResources, Shares, beyond_memory, shares_of
from fod_bench.runs.scheduler import Scheduler
from fod_bench.runs.state_writer import StateWriter
from fod_bench.schema.hidden import hidden
from fod_bench.store import Store, open_store
from fod_bench.store.base import obstacle
from fod_bench.store.open import RUN_PATIENCE


@dataclass(frozen=True)
class RunOptions:
    """How a run goes about its work."""

    only: str | None = None
    """Shell pattern on `row/dataset/category`; the cells that match, and no others, are worked on."""
    alone: bool = False
    """No other run uses the store, so it need not tell apart who was first."""
    workers: int | None = None
    """Most workers at once, each with one trial or pack of trials; None: as many as the cluster holds."""
    budget: Budget | None = None
    """What it may take; None: whatever it needs."""
    prices: PriceList | None = None
    """What machines cost, where the budget is money."""
    retry_failed: bool = False
    """Also try trainings again that failed by their own fault before."""
    quiet: bool = False
    verbose: bool = False


def run_plan(plan: Plan, store: Store, options: RunOptions, open_executor: OpenExecutor) -> tuple[Counts, bool]:
    """Train whatever has no record yet; how it went, and whether it was interrupted.

    Raises:
        UsageError: `options.only` matches nothing.
        ClusterError: the executor cannot be had, no worker starts, or the cluster is gone.
        FodBenchError: nothing can run at all.
        StoreError: the store fails, or is not fit for this.
    """
    trials = _chosen(plan, options.only)
    obstacles = _obstacles(plan, trials, options.only)
    if not any(trial.wanted for trial in trials):
        raise FodBenchError("\n  ".join(["nothing can run:", *obstacles]))
    progress = _progress(trials, store, options, plan)
    counts = progress.counts
    for line in obstacles:
        progress.blocked(line)
    for line in plan.notes if options.only is None else ():
        progress.note(f"data      {line}")
    used = {tuple(cell.rsplit("/", 2)[1:]) for trial in trials for cell in trial.cells}
    for where, told in plan.data.items():
        for line in dict.fromkeys(told) if where in used else ():
            dataset, category = where
            progress.note(f"data      {dataset}/{category}: {line}", dataset=dataset, category=category)
    if options.only is None:
        asked = {(part.name, name) for part in plan.job.parts() for name in part.datasets}
        counts.uncounted = len({name for _, name in asked - {(cell.part, cell.dataset) for cell in plan.run.cells}})
    there = Trials(store).names({trial.key for trial in trials})
    work = [trial for trial in trials if not _settled(trial, there, store, progress, options.retry_failed)]
    interrupted = _work(plan, store, options, open_executor, progress, work)
    if not interrupted:
        sets = {one.key: manifest_of(one) for trial in trials if trial.wanted for one in trial.wanted.sets}
        tidy_leftovers(store, [trial.key for trial in trials], list(sets.items()))
    return counts, interrupted


def repair(
    plan: Plan,
    store: Store,
    options: RunOptions,
    open_executor: OpenExecutor,
    damaged: Mapping[str, str],
    counts: Counts,
) -> tuple[bool, bool]:
    """Train anew what a report found damaged, `{store name: what is wrong}`.

    Only records of the plan's trainings are looked at. `counts` is brought up to date. Returns whether there was anything
    to do, and whether it was interrupted.
    """
    trials = [
        trial
        for trial in _chosen(plan, options.only)
        if record_name(trial.key) in damaged and obstacle(store, record_name(trial.key)) is None
    ]
    if not trials:
        return False, False
    progress = _progress(trials, store, options, plan)
    for trial in trials:
        progress.note(f"damaged   {trial.name}: {damaged[record_name(trial.key)]}; trained anew", trial)
        with changing(store, trial.key):
            store.delete(record_name(trial.key))
    interrupted = _work(plan, store, options, open_executor, progress, trials)
    counts.replace_reused(progress.counts)
    return True, interrupted


def _progress(trials: list[TrialJob], store: Store, options: RunOptions, plan: Plan) -> Progress:
    def record_of(key: str) -> Record | None:
        try:
            return Record.model_validate_json(store.get(record_name(key)))
        except (StoreError, ValueError):  # the report says what is wrong with it
            return None

    return Progress(
        trials,
        stderr_console(),
        quiet=options.quiet,
        verbose=options.verbose,
        only=options.only,
        record_of=record_of,
        run=plan.run,
    )


def _work(
    plan: Plan,
    store: Store,
    options: RunOptions,
    open_executor: OpenExecutor,
    progress: Progress,
    work: list[TrialJob],
) -> bool:
    """Do `work` on an executor and tell `progress`; whether it was interrupted."""
    if not work:
        _keep_plan(plan, store)
        return False
    durations = recorded_durations(work, Trials(store), plan.trials.keys())
    if options.budget is not None and plan.job.resources.cpus != "auto":  # at best, before anything is started
        cpus = max(1, int(plan.job.resources.cpus))
        quickest = (min(durations.seconds(one, gpu=gpu, threads=cpus) for gpu in (False, True)) for one in work)
        check_holds(options.budget, options.budget.seconds, quickest)
    patient = open_store(store.uri, patience=RUN_PATIENCE)
    admit(patient, plan.run.run_id, options.alone)
    _keep_plan(plan, patient)
    line = f"run {plan.run.run_id}: {progress.counts.summary()}"
    progress.note(line, event="run", trials=progress.counts.numbers())
    driver = secrets.token_hex(4)
    try:
        with (
            IndexKeeper(store, progress.note),
            StateWriter(store, plan.run, driver, progress) as states,
            open_executor(store.uri, plan_name(plan.run.run_id), progress.note) as executor,
            states.told_to(executor),
        ):
            resources, pack = settled_resources(
                plan.job, plan.run.run_id, patient, executor, work, durations, options.workers, progress.note
            )
            by_name = executor.nodes()
            nodes = list(by_name.values())
            shares = shares_of(resources, nodes, work, durations, executor.grows(), pack)
            work = _fitting(work, shares, nodes, progress)
            progress.expect(work)
            order = Order(durations, ranks_of(plan.job, work, by_value=options.budget is not None))
            allowance = _allowance(options, executor, by_name, order, shares, work)
            with progress:
                left = Scheduler(
                    executor,
                    patient,
                    shares,
                    order,
                    progress,
                    driver=driver,
                    pack=pack,
                    workers=options.workers,
                    allowance=allowance,
                    checkpoint_seconds=plan.job.checkpoint_seconds,
                    keep_scores=plan.job.keep_scores,
                    lease_seconds=plan.job.lease_seconds,
                ).run(work)
            progress.counts.left_out += left_out(left, plan.trials.values(), options.only)
    except KeyboardInterrupt:
        return True
    return False


def _allowance(
    options: RunOptions,
    executor: Executor,
    nodes: Mapping[str, NodeResources],
    order: Order,
    shares: Shares,
    work: list[TrialJob],
) -> Allowance | None:
    """What the run may take on these nodes. Raises `FodBenchError` for a budget that holds nothing, or nodes without a price."""
    if options.budget is None:
        return None
    prices = options.prices or read_prices()
    per_hour = prices.per_hour if isfinite(options.budget.dollars) else None
    allowance = Allowance(options.budget, executor.clock, per_hour)
    if unpriced := allowance.look(nodes):
        raise FodBenchError(next(iter(unpriced.values())))
    check_holds(options.budget, allowance.seconds, (order.seconds(trial, shares.of(trial)) for trial in work))
    return allowance


def _chosen(plan: Plan, only: str | None) -> list[TrialJob]:
    """The trainings whose cells match."""
    if only is None:
        return list(plan.trials.values())
    named = [(name, trial) for trial in plan.trials.values() for name in trial.cells]
    chosen = {trial.key: trial for name, trial in named if fnmatchcase(name, only)}
    if not chosen:
        names = list(dict.fromkeys(name for name, _ in named))
        raise UsageError(
            f"--only {only!r} matches none of the {len(names)} row/dataset/category names, such as {', '.join(names[:3])}"
        )
    return list(chosen.values())


def _obstacles(plan: Plan, trials: list[TrialJob], only: str | None) -> list[str]:
    """Why some of what was asked for cannot run."""
    if only is None:
        return plan.faults()
    reasons = [plan.unusable.get((trial.dataset, trial.category)) for trial in trials if trial.wanted is None]
    return list(dict.fromkeys(reason for reason in reasons if reason is not None))


def _keep_plan(plan: Plan, store: Store) -> None:
    """Leave job and plan in the store, where reports find them."""
    store.put(job_name(plan.run.run_id), dump_job(plan.job).encode())
    store.put(plan_name(plan.run.run_id), plan.run.model_dump_json(indent=1).encode())


def _fitting(work: list[TrialJob], shares: Shares, nodes: list[NodeResources], progress: Progress) -> list[TrialJob]:
    """The trainings that some machine has the memory for; of the others the progress is told."""
    fitting = []
    for trial in work:
        need = trial.settings.work(trial.counts).memory if trial.counts is not None else 0.0
        why = beyond_memory(need, shares.of(trial), nodes)
        if why is None:
            fitting.append(trial)
        else:
            progress.counts.failed[trial.name] = why
            progress.blocked(f"{trial.name}: {why}", trial, reason=why, kind="memory")
    return fitting


def _settled(trial: TrialJob, there: Set[str], store: Store, progress: Progress, retry_failed: bool) -> bool:
    """Whether the training needs no work: it has a record, failed before, or cannot run; the progress is told.

    `there`: names of the store's objects; none is read unless it tells of a failure.
    """
    if trial.wanted is None:
        progress.counts.failed[trial.name] = "its data are missing"  # that has been told
        return True
    if record_name(trial.key) in there:
        progress.counts.reused += 1
        return True
    stands = obstacle(store, record_name(trial.key))
    if stands is not None:
        failure = Failure(f"its record cannot be written: {stands}", "", "object")
        log = keep_failure(store, trial.key, trial.name, failure)
        _tell_failed(progress, trial, failure.reason, log, failure.reason)
        return True
    if not there & set(failure_names(trial.key)):
        return False
    before = None if retry_failed else kept_failure(store, trial.key)
    if before is None:
        forget_failure(store, trial.key)
    else:
        reason, log = before
        _tell_failed(progress, trial, reason, log, f"in an earlier run: {reason}; --retry-failed tries it again")
    return before is not None


def _tell_failed(progress: Progress, trial: TrialJob, reason: str, log: str, line: str) -> None:
    """A training that is not begun counts as failed; `line` says why."""
    progress.counts.failed[trial.name] = hidden(f"{reason} (log: {log})")
    progress.blocked(f"{trial.name}: {line}\n          log: {log}", trial, reason=reason, log=log)
