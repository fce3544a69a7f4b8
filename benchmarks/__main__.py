"""`python -m benchmarks`: every figure beside the value it must reach; exit code 1 when one falls short."""

from __future__ import annotations

import multiprocessing
import sys

from rich.console import Console
from rich.table import Table

from benchmarks import run

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
    """Run the benchmarks named on the command line, or all of them."""
    table = Table(title="Ratios, taken in one run", title_justify="left")
    for column in ("figure", "measured", "must be", ""):
        table.add_column(column)
    missed = 0
    for name in sys.argv[1:] or NAMES:
        # In a process of its own: what one takes is counted to all the processes that it starts later.
        with multiprocessing.get_context("spawn").Pool(1) as process:
            results = process.apply(run, (name,))
        for result in results:
            reached = result.value >= result.floor if result.higher_is_better else result.value <= result.floor
            missed += not reached
            bound = f"{'≥' if result.higher_is_better else '≤'} {result.floor:g} {result.unit}"
            table.add_row(result.name, f"{result.value:.2f} {result.unit}", bound, "ok" if reached else "MISSED")
    Console().print(table)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
