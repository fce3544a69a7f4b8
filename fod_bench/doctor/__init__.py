"""What a machine has of what this program needs: asked in bounded time, without changing anything."""

from fod_bench.doctor.finding import Finding, State
from fod_bench.doctor.look import look

__all__ = ["Finding", "State", "look"]
