"""The fifteen tables of the paper as data: what stands along their lines and columns, what they are called, what fills them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fod_bench.evaluation.measures import CONVENTION
from fod_bench.paper.published import table1_methods

Axis = Literal["row", "parameter", "value", "dataset", "category", "metric"]
"""What a table runs over. `row` is a method or setting as `published.csv` names it; a row `lambda1=0.5` can also be taken apart
into its `parameter` and `value`."""

OURS_ONLY = "ours only"
"""Where the paper has no such method."""


@dataclass(frozen=True)
class Form:
    """What one table of the paper looks like."""

    title: str
    lines: tuple[Axis, ...]
    """Axes that run down the table; of two the first makes sections."""
    columns: tuple[Axis, ...]
    """Axes that run across it; of two the first makes groups."""
    heads: tuple[str, ...]
    """Headers of the label columns."""
    jobs: tuple[str, ...]
    """Job files in `jobs/` that fill it."""
    name: Callable[[str], tuple[str, ...]] = lambda row: (row,)
    """Labels of a row: one per label column where rows run down the table."""
    section: Callable[[str], str] = lambda row: ""
    """Heading over rows."""
    group: str = ""
    """Header over all columns."""
    remark: str = ""
    """What must be known to read it."""
    notes: tuple[str, ...] = ()
    """What is to be said under it."""
    stacked: bool = False


PARAMETERS = {"lambda1": "λ1, with λ2 = 1", "lambda2": "λ2, with λ1 = 0.5"}
"""What is varied in Table 11, spelled out."""
_VIEWS = {"patch": "Patch", "intra": "Intra", "inter": "Inter"}
_ENTROPY = {"entropy": "with", "no-entropy": "without"}
_SCORINGS = {"rec": "Rec", "div": "Div", "rec_div": "Rec & Div", "rec_div_printed": "Rec & Div as printed"}
_STRATEGIES = {"direct": "Direct", "two_phase": "Two-phase"}


def _setting(row: str) -> tuple[str, ...]:
    """`patch+intra/entropy/mean/rec_div` as Table 4 spells it out."""
    parts = row.split("/")
    if len(parts) != 4:
        return (row, "", "", "")
    views, entropy, reference, scoring = parts
    named = " + ".join(_VIEWS.get(view, view) for view in views.split("+"))
    spelled = "–" if reference == "none" else reference.capitalize()
    return named, _ENTROPY.get(entropy, "–" if entropy == "none" else entropy), spelled, _SCORINGS.get(scoring, scoring)


def _value(row: str) -> tuple[str, ...]:
    """`heads=8` as `8`."""
    return (row.partition("=")[2] or row,)


def _levels(row: str) -> tuple[str, ...]:
    """`levels=8+16` as `8× & 16×`."""
    return (" & ".join(f"{level}×" for level in row.removeprefix("levels=").split("+")),)


def _method(row: str) -> tuple[str, ...]:
    """Method and venue as Table 1 gives them."""
    return row, next((method.venue or "-" for method in table1_methods() if method.method == row), "")


def _discrepancy(row: str) -> str:
    """The group of Table 1."""
    return next((method.group for method in table1_methods() if method.method == row), OURS_ONLY)


_ORIGINS = (
    "Table 1 quotes the other methods from their publications; Tables 2, 3 and 6 to 8 are the paper's own runs of five of them, "
    "with FOD's backbone."
)
_RULES = (
    "Rec is the reconstruction error, Div the divergence of correlations (Eq. 6), Rec & Div their product (Eq. 12)."
)
_SETTING_HEADS = ("Views", "Entropy", "Reference", "Scoring")
_MVTEC, _BTAD, _MVTEC3D = "table01_02_06_mvtec", "table03_07_btad", "table03_08_mvtec3d"

FORMS = {
    1: Form(
        "Mean AUROC on MVTec AD, methods grouped by what they measure",
        lines=("row",),
        columns=("metric",),
        heads=("Method", "Venue"),
        jobs=(_MVTEC,),
        name=_method,
        section=_discrepancy,
        remark=_ORIGINS,
    ),
    2: Form(
        "Image AUROC on MVTec AD",
        lines=("category",),
        columns=("row",),
        heads=("Category",),
        jobs=(_MVTEC,),
        remark=_ORIGINS,
    ),
    3: Form(
        "Mean AUROC on BTAD and MVTec 3D-AD (RGB)",
        lines=("dataset", "metric"),
        columns=("row",),
        heads=("Metric",),
        jobs=(_BTAD, _MVTEC3D),
    ),
    4: Form(
        "Views, entropy constraint, reference features and scoring: image AUROC",
        lines=("row",),
        columns=("dataset",),
        heads=_SETTING_HEADS,
        jobs=("table04_09_views",),
        name=_setting,
        remark=_RULES,
    ),
    5: Form(
        "What the methods cost",
        lines=("row",),
        columns=("metric",),
        heads=("Method",),
        jobs=("table05_cost",),
        remark="The published numbers were taken on one RTX 3090: Δ compares devices as well.",
        notes=(CONVENTION,),
    ),
    6: Form(
        "Pixel AUROC on MVTec AD",
        lines=("category",),
        columns=("row",),
        heads=("Category",),
        jobs=(_MVTEC,),
        remark=_ORIGINS,
    ),
    7: Form(
        "AUROC on BTAD",
        lines=("metric", "category"),
        columns=("row",),
        heads=("Category",),
        jobs=(_BTAD,),
    ),
    8: Form(
        "AUROC on MVTec 3D-AD (RGB)",
        lines=("metric", "row"),
        columns=("category",),
        heads=("Method",),
        jobs=(_MVTEC3D,),
        stacked=True,
    ),
    9: Form(
        "Views, entropy constraint, reference features and scoring: pixel AUROC",
        lines=("row",),
        columns=("dataset",),
        heads=_SETTING_HEADS,
        jobs=("table04_09_views",),
        name=_setting,
        remark=_RULES,
    ),
    10: Form(
        "Direct optimisation against the two phases",
        lines=("metric",),
        columns=("dataset", "row"),
        heads=("Metric",),
        jobs=("table10_optimization",),
        name=lambda row: (_STRATEGIES.get(row, row),),
    ),
    11: Form(
        "Loss weights λ1 and λ2, MVTec AD",
        lines=("parameter", "metric"),
        columns=("value",),
        heads=("Metric",),
        jobs=("table11_lambda",),
        name=lambda row: (row.replace("lambda", "λ").replace("=", " = "),),
        group="Loss weight",
        remark="Best and second best are those of each weight.",
    ),
    12: Form(
        "Heads of the attention, MVTec AD",
        lines=("metric",),
        columns=("row",),
        heads=("Metric",),
        jobs=("table12_heads",),
        name=_value,
        group="Number of heads",
    ),
    13: Form(
        "Layers of the network, MVTec AD",
        lines=("metric",),
        columns=("row",),
        heads=("Metric",),
        jobs=("table13_layers",),
        name=_value,
        group="Number of layers",
    ),
    14: Form(
        "Feature levels, MVTec AD",
        lines=("metric",),
        columns=("row",),
        heads=("Metric",),
        jobs=("table14_levels",),
        name=_levels,
        group="Levels by their reduction",
    ),
    15: Form(
        "Kinds of external reference features",
        lines=("row",),
        columns=("dataset", "metric"),
        heads=("Reference features",),
        jobs=("table15_references",),
        name=lambda row: (row.capitalize(),),
    ),
}
PAPER_TABLES = tuple(FORMS)


def feeding_jobs(number: int) -> str:
    """The commands that fill a table."""
    commands = [f"`fod-bench run jobs/{job}.yaml`" for job in FORMS[number].jobs]
    return " and ".join(commands)
