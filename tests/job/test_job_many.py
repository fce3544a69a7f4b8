"""Jobs of very many seeds: what is done for each is the same, however many there are, and a plan holds only so many cells."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fod_bench.errors import JobError
from fod_bench.job import Expansion, expand, load_job
from fod_bench.schema.fields import without_repeats


@pytest.fixture
def expanded(tmp_path: Path) -> Callable[[int, str], Expansion]:
    """Load and expand a job of so many seeds, of two rows where a data set has all categories."""

    def load(seeds: int, categories: str = "[weave]") -> Expansion:
        grid = "grid: {lambda1: [0, 1]}\n" if categories == "all" else ""
        path = tmp_path / "job.yaml"
        path.write_text(
            f"name: x\ndatasets: {{d: {{layout: synthetic, categories: {categories}}}}}\n{grid}seeds: {list(range(seeds))}\n"
        )
        return expand(load_job(path))

    return load


def calls(action: Callable[[], object]) -> int:
    """How many functions are called meanwhile, built-in ones included."""
    counted = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(before)
    return counted


def test_twenty_thousand_seeds_are_taken_and_no_more_cells_than_a_plan_can_hold(
    expanded: Callable[..., Expansion],
) -> None:
    assert [cell.seed for cell in expanded(20_000).cells] == list(range(20_000))
    with pytest.raises(JobError, match=r"datasets.d: 2 rows × 6 categories × 9000 seeds make more than 100000 cells"):
        expanded(9_000, "all")


def test_the_work_grows_as_the_number_of_seeds(expanded: Callable[..., Expansion]) -> None:
    expanded(10)  # what is made once
    few, many, more = (calls(lambda number=number: expanded(number)) for number in (10, 500, 2_000))
    each = (many - few) / 490
    assert few < more and (more - many) / 1_500 < 1.1 * each


def test_a_value_is_compared_with_none_of_the_others() -> None:
    class Value:
        compared = 0

        def __init__(self, number: int) -> None:
            self.number = number

        def __hash__(self) -> int:
            return hash(self.number)

        def __eq__(self, other: object) -> bool:
            Value.compared += 1
            return isinstance(other, Value) and self.number == other.number

    values = tuple(map(Value, range(5_000)))
    assert without_repeats(values) is values and Value.compared < len(values)
    with pytest.raises(ValueError, match="is given twice"):
        without_repeats((*values, Value(7)))
