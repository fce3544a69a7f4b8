"""The test images behind a trial, from its data set where this machine has it, in the very state that the trial was made from."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from fod_bench.datasets import Category, Resize, Sample
from fod_bench.errors import DatasetError, FodBenchError
from fod_bench.job.images_here import ImagesHere
from fod_bench.records.record import Record
from fod_bench.records.run import Cell, RunPlan
from fod_bench.report.results import Results, part_of
from fod_bench.report.rows import JobPart
from fod_bench.schema.hidden import hidden


@dataclass(frozen=True)
class Images:
    """The test images of a category by their names, and how the method saw them."""

    category: Category
    samples: dict[str, Sample]
    resize: Resize

    def read(self, name: str) -> Image.Image:
        """Raises `DatasetError`."""
        if name not in self.samples:
            raise DatasetError(f"category {self.category.name} has no image {name}")
        return self.category.read_image(self.samples[name])


class ImageSources:
    """The images of all trials of a report."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._parts: dict[tuple[str, str], JobPart] = {}
        self._here = ImagesHere()

    def images(self, plan: RunPlan, cell: Cell, record: Record) -> Images | str:
        """The images that the trial of `cell` was tested on; a string says why they cannot be shown."""
        part = self._part(plan, cell)
        if part.job is None:
            return f"the job of run {plan.run_id} cannot be read"
        settings = part.settings.get(cell.row)
        if settings is None or cell.dataset not in part.job.datasets:
            return f"the job of run {plan.run_id} has no such row"
        try:
            category = self._here.category(part.job.dataset(cell.dataset), cell.category, record.fingerprint)
        except FodBenchError as error:
            return hidden(str(error).splitlines()[0])
        resize = settings.resize_of(cell.layout)
        if resize.size != record.features.get("image_size"):
            return "the job has another image size by now"
        return Images(category, {sample.name: sample for sample in category.test}, resize)

    def _part(self, plan: RunPlan, cell: Cell) -> JobPart:
        where = (plan.run_id, part_of(plan, cell))
        if where not in self._parts:
            self._parts[where] = JobPart(self._results, plan, where[1])
        return self._parts[where]
