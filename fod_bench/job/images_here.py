"""The images behind a trial, where this machine has them in the very state that the trial was made from."""

from __future__ import annotations

from fod_bench.datasets import Category
from fod_bench.errors import DatasetError, FodBenchError
from fod_bench.job.datasets import DatasetSpec


class ImagesHere:
    """Opens each category once."""

    def __init__(self) -> None:
        self._opened: dict[tuple[DatasetSpec, str], tuple[Category, str] | FodBenchError] = {}

    def category(self, data: DatasetSpec, name: str, fingerprint: str) -> Category:
        """The category `name` of a data set, whose fingerprint was `fingerprint`.

        Raises `FodBenchError` where it cannot be opened, `DatasetError` where its content is another.
        """
        where = data, name
        if where not in self._opened:
            try:
                category = data.open_category(name)
                self._opened[where] = category, category.fingerprint()
            except FodBenchError as error:
                self._opened[where] = error
        opened = self._opened[where]
        if isinstance(opened, FodBenchError):
            raise opened
        if opened[1] != fingerprint:
            raise DatasetError("the images here are not those that it was trained and tested on: their content differs")
        return opened[0]
