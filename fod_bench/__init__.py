"""fod-bench: reproduce *Focus the Discrepancy* (ICCV 2023) and compare anomaly detectors over whole benchmarks."""

from importlib import import_module
from typing import Any

from fod_bench.machine.tuning import avoid_slow_sorting, sleep_when_idle

__version__ = "0.1.0"

_OFFERED = {
    "load_detector": "fod_bench.predict",
    "load_results": "fod_bench.notebook",
    "load_trial": "fod_bench.notebook",
}
"""Names that `from fod_bench import` finds, to the modules they are in, which are imported when they are asked for: a command that
asks for nothing of torch stays quick. docs/python.md tells of them."""


def __getattr__(name: str) -> Any:
    if name in _OFFERED:
        return getattr(import_module(_OFFERED[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


avoid_slow_sorting()
sleep_when_idle()
