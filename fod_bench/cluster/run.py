"""One run of a job, from its plan to the end: what is there already, what is left, who does it, what came out."""

from __future__ import annotations

from fnmatch import fnmatchcase

from fod_bench.cluster.failures import forget_failure, kept_failure
from fod_bench.cluster.progress import Counts, Progress, stderr_console
from fod_bench.cluster.session import ray_session, share_of
from fod_bench.errors import DamagedObjectError, FodBenchError, UsageError
from fod_bench.job import dump_job
from fod_bench.plan import Plan, TrialJob
from fod_bench.record import Record, plan_name, record_name
from fod_bench.store import ObjectMissingError, Store


def run_plan(
    plan: Plan,
    store: Store,
    *,
    address: str | None = None,
    only: str | None = None,
    retry_failed: bool = False,
    quiet: bool = False,
    verbose: bool = False,
) -> tuple[Counts, bool]:
    """Train whatever has no record yet; how it went, and whether it was interrupted.

    Args:
        only: shell pattern on `row/dataset/category`; the cells that match, and no others, are worked on.
        retry_failed: also try trainings again that failed by their own fault before.

    Raises:
        UsageError: `only` matches nothing.
        ClusterError: Ray cannot be started or reached.
        FodBenchError: nothing can run at all.
        StoreError: the store fails.
    """
    trials = _chosen(plan, only)
    if not any(trial.features for trial in trials):
        raise FodBenchError("\n  ".join(["nothing can run:", *_faults(plan, trials, only)]))
    _keep_plan(plan, store)
    progress = Progress(len(trials), stderr_console(), quiet=quiet, verbose=verbose)
    counts = progress.counts
    for fault in _faults(plan, trials, only):
        progress.blocked(fault)
    if only is None:
        counts.uncounted = len(plan.job.datasets.keys() - {trial.dataset for trial in trials})
    work = [trial for trial in trials if not _settled(trial, store, progress, retry_failed)]
    if not work:
        return counts, False
    progress.note(f"run {plan.run.run_id}: {counts.summary()}; starting Ray")
    try:
        with ray_session(address, verbose):
            from fod_bench.cluster.orchestrator import Orchestrator

            share = share_of(plan.job.resources)
            progress.expect(work)
            with progress:
                landmark = plan_name(plan.run.run_id)
                Orchestrator(store, landmark, share, progress, plan.job.checkpoint_seconds).run(work)
    except KeyboardInterrupt:
        return counts, True
    return counts, False


def _chosen(plan: Plan, only: str | None) -> list[TrialJob]:
    """The trainings whose cells match."""
    if only is None:
        return list(plan.trials.values())
    named = [(f"{row}/{trial.dataset}/{trial.category}", trial) for trial in plan.trials.values() for row in trial.rows]
    chosen = {trial.key: trial for name, trial in named if fnmatchcase(name, only)}
    if not chosen:
        names = list(dict.fromkeys(name for name, _ in named))
        raise UsageError(
            f"--only {only!r} matches none of the {len(names)} row/dataset/category names, such as {', '.join(names[:3])}"
        )
    return list(chosen.values())


def _faults(plan: Plan, trials: list[TrialJob], only: str | None) -> list[str]:
    """Why some of what was asked for cannot run."""
    if only is None:
        return plan.faults()
    reasons = [plan.unusable.get((trial.dataset, trial.category)) for trial in trials]
    return list(dict.fromkeys(reason for reason in reasons if reason is not None))


def _keep_plan(plan: Plan, store: Store) -> None:
    """Leave job and plan in the store, where reports find them."""
    store.put(f"runs/{plan.run.run_id}/job.yaml", dump_job(plan.job).encode())
    store.put(plan_name(plan.run.run_id), plan.run.model_dump_json(indent=1).encode())


def _settled(trial: TrialJob, store: Store, progress: Progress, retry_failed: bool) -> bool:
    """Whether the training needs no work: it has a whole record, failed before, or cannot run; the progress is told."""
    if trial.features is None:
        progress.counts.failed[trial.name] = "its data are missing"  # the fault has been told
        return True
    try:
        Record.model_validate_json(store.get(record_name(trial.key)))
        progress.counts.reused += 1
        return True
    except ObjectMissingError:
        pass
    except (DamagedObjectError, ValueError) as error:
        progress.note(f"damaged   {trial.name}: {error}; trained anew")
        store.delete(record_name(trial.key))
    if retry_failed:
        forget_failure(store, trial.key)
        return False
    before = kept_failure(store, trial.key)
    if before is not None:
        reason, log = before
        progress.counts.failed[trial.name] = f"{reason} (log: {log})"
        progress.blocked(
            f"{trial.name}: in an earlier run: {reason}; --retry-failed tries it again\n          log: {log}"
        )
    return before is not None
