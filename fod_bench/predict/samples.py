"""The images of a trial's own category, where its data set is on this machine."""

from __future__ import annotations

from fod_bench.datasets import Category, absolute_root
from fod_bench.errors import DatasetError, FodBenchError
from fod_bench.job.images_here import ImagesHere
from fod_bench.predict.find import FoundTrial


def opened_category(found: FoundTrial) -> Category:
    """The category whose images the trial was trained and tested on.

    Raises `DatasetError` where they are not here, or their content differs.
    """
    if found.job is None:
        raise DatasetError(
            f"the job of run {found.plan.run_id} cannot be read, so the images of {found.name} are not known"
        )
    data = found.job.dataset(found.cell.dataset)
    try:
        return ImagesHere().category(data, found.cell.category, found.record.fingerprint)
    except FodBenchError as error:
        where = f" (its job has them in {absolute_root(data.root)})" if data.root else ""
        raise DatasetError(f"{found.name}: {error}{where}") from error
