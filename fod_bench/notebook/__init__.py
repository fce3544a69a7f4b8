"""Results and trials for a notebook: frames, and objects that show and draw themselves."""

from fod_bench.notebook.results import ResultFrame, load_results
from fod_bench.notebook.trial import ScoreMap, StoredTrial, TestMaps, load_trial

__all__ = ["ResultFrame", "ScoreMap", "StoredTrial", "TestMaps", "load_results", "load_trial"]
