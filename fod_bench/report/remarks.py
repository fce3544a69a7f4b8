"""What is to be said under a table: what failed, is missing, older than its scoring or damaged, and the command that makes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fod_bench.records.failures import KeptFailure
from fod_bench.records.names import RUNS, key_of
from fod_bench.records.run import Cell, RunPlan
from fod_bench.report.averages import Place, View
from fod_bench.report.results import Request, Results
from fod_bench.report.words import describe_damaged, sentence, shortened

Unmade = Mapping[Place, tuple[RunPlan, Cell]]
"""Cells without a result."""


def remarks_on(view: View) -> list[str]:
    """What is to be said of the cells of a view that have no number."""
    results, request = view.results, view.results.request
    without = {place: run for place, run in view.cells.items() if results.outcome_of(run[1]) is None}
    older = [place for place, (_, cell) in without.items() if results.lacking(cell)]
    unmade = {place: run for place, run in without.items() if place not in older}
    told = _of_request(view, request) if request else []
    if unmade:
        failed = {place: failure for place, (_, cell) in unmade.items() if (failure := results.failure_of(cell))}
        missing = {place: cell for place, (_, cell) in unmade.items() if place not in failed}
        out = {place: bool(request and request.left_out(cell)) for place, cell in missing.items()}
        wanted, left_out = ([place for place in missing if out[place] is asked] for asked in (False, True))
        parts = [f"{len(view.cells) - len(without)} of {len(view.cells)} cells have a result"]
        parts += [f"failed: {_named_with_reasons(view, failed)}"] if failed else []
        parts += [f"missing: {_named(view, wanted)}"] if wanted else []
        parts += [f"left out by --only: {_named(view, left_out)}"] if left_out else []
        told.append(f"{'; '.join(parts)}. {_remedy(results, unmade)}")
    if older:
        told.append(
            f"Not available: {_named(view, older)}, whose records were made by an earlier version, without this scoring. A "
            "training that has a record is not run again: delete these records (`--explain` tells where they are), or give "
            "another `--store`, and `fod-bench run` trains them anew."
        )
    keys = {cell.key for _, cell in view.cells.values()}
    concerned = {
        name: reason for name, reason in results.damaged.items() if name.startswith(RUNS) or key_of(name) in keys
    }
    if concerned:
        told.append(sentence(describe_damaged(concerned)))
    return told


def _of_request(view: View, request: Request) -> list[str]:
    """Which of the job's cells cannot be known here, and why."""
    told = [request.borrowed] if request.borrowed else []
    unknown = [place for place, (_, cell) in view.cells.items() if cell.key is None]
    uncounted = list(dict.fromkeys(name for _, name in request.uncounted))
    what = [f"the train keys of {_named(view, unknown)}"] if unknown else []
    what += [f"the categories of {shortened(uncounted)}"] if uncounted else []
    if what:
        lacking = shortened([fault.splitlines()[0].split(". ")[0].rstrip(".") for fault in request.faults], "; ")
        unknown_here = f"{' and '.join(what)} cannot be known without data or weights that are not here: {lacking}"
        told.append(sentence(unknown_here))
    return told


def _remedy(results: Results, unmade: Unmade) -> str:
    """The commands that make what has no result, and what may keep them from it."""
    commands: dict[str, None] = {}
    tried = [(plan.run_id, failure) for plan, cell in unmade.values() if (failure := results.failure_of(cell))]
    marked = {run_id for run_id, failure in tried if failure.marked}
    for plan in {plan.run_id: plan for plan, _ in unmade.values()}.values():
        command = results.command(plan)
        again = " --retry-failed" if plan.run_id in marked else ""
        known = f"`{command}{again}`" if command else f"`fod-bench run` with the job of run {plan.run_id}"
        commands[known] = None
    them = "it" if len(unmade) == 1 else "them"
    where = " where data and weights are" if _without_data(results, unmade) else ""
    unless = ", unless what failed before fails again" if tried else ""
    return f"{' and '.join(commands)} make{'s' * (len(commands) == 1)} {them}{where}{unless}."


def _without_data(results: Results, unmade: Unmade) -> bool:
    """Whether a run here could not make some of it."""
    request = results.request
    return bool(request and request.faults) or any(cell.key is None for _, cell in unmade.values())


def _named_with_reasons(view: View, failed: Mapping[Place, KeptFailure]) -> str:
    """What failed, by reason."""
    by_reason: dict[str, list[Place]] = {}
    for place, failure in failed.items():
        by_reason.setdefault(failure.reason, []).append(place)
    return shortened([f"{_named(view, places)} ({reason})" for reason, places in by_reason.items()], "; ")


def _named(view: View, places: Iterable[Place]) -> str:
    """Places by row and data set."""
    several_seeds = len({place.seed for place in view.cells}) > 1
    groups: dict[tuple[str, str], list[str]] = {}
    for place in places:
        name = f"{place.category} (seed {place.seed})" if several_seeds else place.category
        groups.setdefault((place.row, place.dataset), []).append(name)
    texts = [f"{row} on {dataset}: {shortened(names)}" for (row, dataset), names in groups.items()]
    return shortened(texts, "; ")
