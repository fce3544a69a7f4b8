"""fod-bench: reproduce *Focus the Discrepancy* (ICCV 2023) and compare anomaly detectors over whole benchmarks."""

__version__ = "0.1.0"
