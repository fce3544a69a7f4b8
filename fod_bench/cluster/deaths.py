"""What the death of a worker means: why it died, in a few words, and whether others are to be started in its place."""

from __future__ import annotations

import time
from collections.abc import Callable

from ray.exceptions import ActorUnavailableError, OutOfMemoryError, RayActorError, RayError

STILLBORN = 3
"""Workers in a row that may die before they come to life."""
STARVED = 10
"""The same of those that die because their machine has no memory left, which may pass: about four minutes, with the pauses."""
_NO_MEMORY = "its machine ran out of memory"


def cause_of_death(error: RayError, machine_lost: Callable[[], bool]) -> tuple[str, str]:
    """What a worker at work met, `killed` or `lost` for `Retries`, and the reason for people."""
    if isinstance(error, ActorUnavailableError):  # no word of its death: the machine went, or the way there
        return "lost", "its worker is out of reach"
    if isinstance(error, OutOfMemoryError):
        return "killed", f"its worker was ended, as {_NO_MEMORY}"
    if isinstance(error, RayActorError) and machine_lost():
        return "lost", "its machine was lost"
    return "killed", "its worker died"


class Stillbirths:
    """Workers that died before they had anything to do, and since when none has come to life."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.forget()

    def forget(self) -> None:
        """One has come to life."""
        self._stillborn = self._starved = 0
        self._not_before = float("-inf")

    def add(self, error: RayError) -> str:
        """One more has died of `error`; the reason in a line."""
        if isinstance(error, OutOfMemoryError):
            self._starved += 1
            reason = _NO_MEMORY
        else:
            self._stillborn += 1
            reason = str(error).strip().splitlines()[-1].strip()
        self._not_before = self._clock() + min(60.0, 2.0 ** (self._stillborn + self._starved - 1))
        return reason

    @property
    def too_many(self) -> bool:
        """Whether it is no use to start more."""
        return self._stillborn >= STILLBORN or self._starved >= STARVED

    @property
    def over(self) -> bool:
        """Whether it is time to start the next: 1, 2, 4, … up to 60 seconds after the last has died."""
        return self._clock() >= self._not_before
