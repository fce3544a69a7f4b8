"""How far a run is, in numbers."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Counts:
    """How far the run is, in trainings; measurements of cost are counted among them, and named apart."""

    total: int
    measurements: int = 0
    done: int = 0
    elsewhere: int = 0
    """Recorded meanwhile by another run."""
    reused: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """Trial's name to its reason and the place of its log."""
    left_out: list[str] = field(default_factory=list)
    """What a budget left out, a line for each row and seed."""
    uncounted: int = 0
    """Data sets that are missing, so that their trainings are not even known."""

    @property
    def recorded(self) -> int:
        """Trainings that have a record."""
        return self.done + self.elsewhere + self.reused

    @property
    def left(self) -> int:
        """Trainings without a record that have not failed."""
        return self.total - self.recorded - len(self.failed)

    def numbers(self) -> dict[str, int]:
        """By state."""
        states = {name: getattr(self, name) for name in ("total", "done", "elsewhere", "reused", "left")}
        return states | {"failed": len(self.failed)}

    def replace_reused(self, anew: Counts) -> None:
        """Some of those reused were done once more, and went as `anew` says."""
        self.reused -= anew.total
        self.done += anew.done
        self.elsewhere += anew.elsewhere
        self.failed |= anew.failed
        self.left_out += anew.left_out

    def summary(self) -> str:
        """E.g. `12 trainings: 8 done, 3 reused, 1 failed`, or `10 trainings, 2 measurements: 12 done`."""
        parts = [
            (self.done, "done"),
            (self.elsewhere, "done by another run"),
            (self.reused, "reused"),
            (len(self.failed), "failed"),
            (self.left, "left"),
        ]
        said = ", ".join(f"{count} {word}" for count, word in parts if count or word == "done")
        uncounted = f"; {self.uncounted} data set{'s' if self.uncounted > 1 else ''} missing" if self.uncounted else ""
        kinds = ((self.total - self.measurements, "training"), (self.measurements, "measurement"))
        work = ", ".join(f"{count} {word}{'s' * (count != 1)}" for count, word in kinds if count) or "0 trainings"
        return f"{work}: {said}{uncounted}"
