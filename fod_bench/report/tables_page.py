"""The page docs/tables.md, made from the tables' forms: `python -m fod_bench.report.tables_page > docs/tables.md`."""

from __future__ import annotations

import sys

from fod_bench.paper.discrepancies import DATASET_TITLES
from fod_bench.paper.forms import FORMS
from fod_bench.paper.tables import printed_tables
from fod_bench.text import counted

_HEAD = """\
# Every table of the paper

This page is generated (`python -m fod_bench.report.tables_page > docs/tables.md`). What the tables have in common, and how to read
them, [report.md](report.md) says; what they cost, all in all, [paper.md](paper.md).

A table is filled by one job, and shown like this, for instance Table 12:

```bash
fod-bench plan jobs/table12_heads.yaml                 # how many trainings, and how long they will take
fod-bench run jobs/table12_heads.yaml
fod-bench report jobs/table12_heads.yaml --table 12    # ours, the printed numbers, and the difference
```

`fod-bench report --table 12` shows the printed numbers where nothing has been run yet.
"""
_AXES = {
    "row": "rows", "parameter": "what is varied", "value": "its values", "dataset": "data sets", "category": "categories",
    "metric": "metrics",
}  # fmt: skip
_MOST = 12


def tables_markdown() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *map(_section, FORMS)])


def _section(number: int) -> str:
    form, printed = FORMS[number], printed_tables()[number]
    datasets = ", ".join(DATASET_TITLES[name] for name in printed.datasets)
    jobs = " and ".join(f"[`jobs/{job}.yaml`](../fod_bench/jobs/{job}.yaml)" for job in form.jobs)
    axes = (" and ".join(_AXES[axis] for axis in each) for each in (form.lines, form.columns))
    down, across = axes
    lines = [
        f"## Table {number}",
        "",
        f"**{form.title}.** On {datasets}; {down} run down, {across} across.",
        "",
        f"* Job: {jobs}. To show it: `fod-bench report --table {number}`.",
        f"* {counted(len(printed.rows), 'row')} printed: {_rows(printed.rows)}.",
    ]
    lines += [f"* {text}" for text in (form.remark, *form.notes) if text]
    return "\n".join(lines) + "\n"


def _rows(rows: tuple[str, ...]) -> str:
    shown = ", ".join(f"`{row}`" for row in rows[:_MOST])
    return shown + (f" and {len(rows) - _MOST} more" if len(rows) > _MOST else "")


if __name__ == "__main__":
    sys.stdout.write(tables_markdown())
