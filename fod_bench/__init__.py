"""fod-bench: reproduce *Focus the Discrepancy* (ICCV 2023) and compare anomaly detectors over whole benchmarks."""

from fod_bench.machine.tuning import avoid_slow_sorting, sleep_when_idle

__version__ = "0.1.0"

avoid_slow_sorting()
sleep_when_idle()
