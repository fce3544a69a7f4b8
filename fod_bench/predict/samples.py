"""The images of a trial's own category, where its data set is on this machine."""

from __future__ import annotations

from fod_bench.datasets import Category, open_category
from fod_bench.errors import DatasetError
from fod_bench.predict.find import FoundTrial


def opened_category(found: FoundTrial) -> Category:
    """The category whose images the trial was trained and tested on. Raises `DatasetError` where they are not here."""
    if found.job is None:
        raise DatasetError(
            f"the job of run {found.plan.run_id} cannot be read, so the images of {found.name} are not known"
        )
    data = found.job.dataset(found.cell.dataset)
    return open_category(
        data.layout, data.root, found.cell.category, limit=data.limit, synthetic=data.synthetic, own=data.own
    )
