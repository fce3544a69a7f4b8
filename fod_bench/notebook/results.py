"""Every number of a store as a frame."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import pandas

from fod_bench.errors import FodBenchError, UsageError
from fod_bench.evaluation.measures import MEASURES
from fod_bench.records.run_reader import no_run
from fod_bench.report.reading import read_results
from fod_bench.report.results import SELECTIONS
from fod_bench.report.selection import job_results
from fod_bench.report.words import nearest
from fod_bench.schema.problems import unknown
from fod_bench.store import DEFAULT_STORE, Store, store_to_read


class ResultFrame(pandas.DataFrame):
    """A line for each number, see `load_results`. What is selected from it is a plain frame."""

    @property
    def _constructor(self) -> Any:
        return pandas.DataFrame

    def table(self, metric: str = "image_auroc", selection: str = "last") -> pandas.DataFrame:
        """Rows by data set and category: the mean over seeds of one metric.

        Raises `UsageError` for a metric that there is none of, or an unknown selection.
        """
        if selection not in SELECTIONS:
            raise UsageError(unknown("selection", selection, SELECTIONS))
        there = list(dict.fromkeys(self["metric"]))
        if metric not in there:
            raise UsageError(f"no metric {metric!r} here: {nearest(metric, there)}")
        chosen = self[(self["metric"] == metric) & (self["selection"] == selection)]
        distinct = chosen.drop_duplicates(["row", "dataset", "category", "seed", "key", "score"], keep="last")
        return distinct.pivot_table(
            index="row", columns=["dataset", "category"], values="value", aggfunc="mean", sort=False
        )

    def plot(  # type: ignore[override]
        self, metric: str = "image_auroc", selection: str = "last", axes: Any = None
    ) -> Any:
        """Bars of one metric, a group for each category and a bar for each row; the axes are returned. Raises as `table`."""
        values = self.table(metric, selection).T
        values.index = ["/".join(place) for place in values.index]
        axes = values.plot.bar(ax=axes, rot=45, width=0.8)
        axes.set_ylabel(f"{MEASURES[metric].heading}, {selection} epoch" if metric in MEASURES else metric)
        axes.legend(title=None, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        return axes

    def _repr_html_(self) -> str:
        """What a notebook shows: what there is, and the table of the first metric."""
        if self.empty:
            return "<p>no results</p>"
        first = str(self["metric"].iloc[0])
        title = MEASURES[first].title if first in MEASURES else first
        told = (
            f"{self['key'].nunique()} trials, {self['row'].nunique()} rows, "
            f"{len(self[['dataset', 'category']].drop_duplicates())} categories, {len(self)} numbers in the columns "
            f"{', '.join(self.columns)}. Below: {title}, last epoch, mean over seeds"
        )
        return f"<p>{html.escape(told)}</p>{self.table(first).round(3).to_html()}"


def load_results(
    store: str | Path | Store = DEFAULT_STORE, job: str | Path | None = None, run: str | None = None
) -> ResultFrame:
    """The numbers of all runs of a store, of one run, or of the cells of exactly one job.

    Columns: `run`, `job`, `part` (the job whose row it is), `row`, `method`, `dataset`, `layout`, `category`, `seed`, `score` (the
    scoring), `key` (of the training), `selection` (`best` on the test data, each metric for itself, or `last`), `metric`, `value`,
    `epoch` (epochs trained then), `undefined` (why there is no value). A number that several runs ask for has a line for each.

    Raises `FodBenchError` where there is no run, or the store or job cannot be read; `UsageError` for an unknown run.
    """
    opened = store_to_read(store)
    if job is not None and run is not None:
        raise UsageError("give a job or a run, not both: a job is shown as it is given, a run as it was")
    if job is not None:
        from fod_bench.job import load_job
        from fod_bench.job.shipped import named_job

        results = job_results(opened, load_job(named_job(Path(job)), []), f"fod-bench run {job}")
    else:
        results = read_results(opened, [run] if run is not None else None)
        if not results.plans:
            raise FodBenchError(no_run(opened))
    return ResultFrame(results.frame())
