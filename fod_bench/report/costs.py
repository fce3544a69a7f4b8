"""What a job's measurements of cost found: variants against the numbers of Table 5, without the paper."""

from __future__ import annotations

from fod_bench.record import COST_SCORE, COSTS
from fod_bench.report.published import MEAN
from fod_bench.report.results import METRIC_TITLES, Results, Selection
from fod_bench.report.table import Column, Table, TableRow
from fod_bench.report.view import View

CONVENTION = (
    "GFLOPs: multiply-adds of the layers with weights, backbone included and the products of attention left out, for one picture. "
    "Training: from stored features, without the backbone, whose pass is made once. Inference: one picture at a time, from picture "
    "to map and score, backbone included."
)


def has_costs(results: Results, job: str, others: bool = False) -> bool:
    """Whether the job has rows that show costs; with `others`, whether it has rows that show something else."""
    return any((cell.score == COST_SCORE) != others for plan in results.plans if plan.job == job for cell in plan.cells)


def cost_table(results: Results, job: str, selection: Selection = "best") -> Table:
    """The costs of every variant of `job` on each data set, mean over its categories."""
    view = View(
        results, [plan for plan in results.plans if plan.job == job], selection, lambda cell: cell.score == COST_SCORE
    )
    several = len(view.datasets()) > 1
    rows = tuple(
        TableRow(
            (row,),
            tuple(view.mean(row, dataset, view.categories(dataset), metric) for metric in COSTS),
            dataset if several else "",
        )
        for dataset in view.datasets()
        for row in view.rows()
    )
    on = "" if several or not view.datasets() else f" on {view.datasets()[0]}"
    return Table(
        name=f"{job}-cost" if has_costs(results, job, others=True) else job,
        title=f"{job}: cost{on}, {MEAN} over categories",
        caption=_caption(view),
        labels=("Variant",),
        columns=tuple(Column(METRIC_TITLES[metric]) for metric in COSTS),
        rows=rows,
        selection=selection,
        notes=(*([CONVENTION] if view.records() else []), *view.remarks()),
    )


def _caption(view: View) -> str:
    """On which machine, with which settings."""
    records = view.records()
    if not records:
        return "No result yet."
    on = sorted({f"{record.run.device}, {record.run.threads} threads" for record in records})
    batch = sorted({record.setting["batch_size"] for record in records})
    of = sorted({f"{record.features['image_size']}×{record.features['image_size']} pixels" for record in records})
    backbones = sorted({str(record.features["backbone"]) for record in records})
    parts = (
        f"Measured on {' and '.join(on)}",
        f"training with batches of {' and '.join(map(str, batch))}",
        " and ".join(of),
        " and ".join(backbones),
    )
    return "; ".join(parts) + "."
