"""A simulated cluster: an executor whose workers only pass time, by a clock that jumps from one event to the next.

The scheduler runs on it as it does on Ray, so hours of a sweep take seconds, and what can happen to a cluster can be made to
happen. Nothing is left to chance but in `disturb`, where a seed decides: two simulations of one plan are equal.
"""

from fod_bench.runs.simulate.behaviour import Behaviour
from fod_bench.runs.simulate.disturbance import disturb
from fod_bench.runs.simulate.executor import SimulatedClock, SimulatedExecutor

__all__ = ["Behaviour", "SimulatedClock", "SimulatedExecutor", "disturb"]
