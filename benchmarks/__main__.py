"""`python -m benchmarks`: every figure beside the value it must reach; exit code 1 when one falls short or cannot be measured."""

from __future__ import annotations

import multiprocessing
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor

from rich.console import Console
from rich.table import Table

from benchmarks import Result, run

NAMES = (
    "bench_step",
    "bench_growth",
    "bench_training",
    "bench_pack",
    "bench_resources",
    "bench_metrics",
    "bench_evaluate",
    "bench_features",
    "bench_references",
    "bench_patchcore",
    "bench_padim",
    "bench_cflow",
    "bench_onnx",
    "bench_commands",
    "bench_report",
    "bench_page",
    "bench_scale",
    "bench_store",
    "bench_scheduler",
    "bench_submit",
    "bench_cluster",
    "bench_simulation",
)


def main() -> int:
    """Run the benchmarks named on the command line, or all of them; each is told when it ends."""
    table = Table(title="Ratios, taken in one run", title_justify="left")
    for column in ("figure", "measured", "must be", ""):
        table.add_column(column)
    missed = 0
    for name in sys.argv[1:] or NAMES:
        start = time.monotonic()
        results = _measured(name)
        reached = [_reached(result) for result in results or []]
        missed += reached.count(False) + (results is None)
        if results is None:
            table.add_row(name, "-", "-", "ENDED BY AN ERROR")
        for result, good in zip(results or [], reached, strict=True):
            bound = f"{'≥' if result.higher_is_better else '≤'} {result.floor:g} {result.unit}"
            table.add_row(result.name, f"{result.value:.2f} {result.unit}", bound, "ok" if good else "MISSED")
        said = "ended by an error" if results is None else "ok" if all(reached) else "missed"
        print(f"{name}: {said}, {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    Console().print(table)
    return 1 if missed else 0


def _measured(name: str) -> list[Result] | None:
    """The figures of a benchmark; None, and the error on stderr, where one ended it: the others are measured all the same."""
    # In a process of its own: what one takes is counted to all the processes that it starts later.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        try:
            return process.submit(run, name).result()
        except Exception:  # of the benchmark, or because its process was killed
            traceback.print_exc()
            return None


def _reached(result: Result) -> bool:
    return result.value >= result.floor if result.higher_is_better else result.value <= result.floor


if __name__ == "__main__":
    sys.exit(main())
