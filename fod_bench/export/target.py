"""What the trackers have in common: that their library may be missing, and what becomes of runs that are there already."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, cast

from fod_bench.errors import FodBenchError
from fod_bench.export.exported import ExportedRun

TargetName = Literal["mlflow", "wandb", "tensorboard"]

_TITLES: dict[TargetName, str] = {"mlflow": "MLflow", "wandb": "Weights & Biases", "tensorboard": "TensorBoard"}
_USER = re.compile(r"(?<=://)[^/@\s]+(?=@)")


@dataclass
class Written:
    """How many runs were written."""

    new: int = 0
    replaced: int = 0
    """Runs of the same training that were there, half-written or of another result."""
    kept: int = 0
    """Runs that were there as they should be."""

    def text(self) -> str:
        """`3 runs written, 1 of them in place of an earlier one; 2 were there already`."""
        count = self.new + self.replaced
        text = f"{count} run{'s' * (count != 1)} written"
        if self.replaced:
            text += (
                f", {self.replaced} of them in place of {'an earlier one' if self.replaced == 1 else 'earlier ones'}"
            )
        if self.kept:
            text += f"; {self.kept} {'was' if self.kept == 1 else 'were'} there already"
        return text


class Target(Protocol):
    """A module that writes runs to one tracker."""

    def export(self, runs: Iterable[ExportedRun], to: str, group: str) -> Written:
        """Write what is not there yet.

        Args:
            runs: the trainings.
            to: where; a folder, or what else the tracker takes.
            group: what holds them together there: an experiment, a project.

        Raises `FodBenchError` when the tracker cannot be written to.
        """
        ...


def target(name: TargetName) -> Target:
    """The tracker's module. Raises `FodBenchError` when its library is not installed."""
    try:
        return cast("Target", importlib.import_module(f"fod_bench.export.to_{name}"))
    except ImportError as error:
        if (error.name or "").startswith("fod_bench"):
            raise
        raise FodBenchError(
            f"fod-bench export {name} needs {_TITLES[name]}, which is not installed ({_first_line(error)}); "
            f"pip install 'fod-bench[{name}]'"
        ) from None


def refused(name: TargetName, to: str, error: Exception) -> FodBenchError:
    """The error for a tracker that does not take what it is given; passwords in addresses are left out."""
    return FodBenchError(f"{_TITLES[name]} at {without_user(to)}: {without_user(_first_line(error))}")


def without_user(text: str) -> str:
    """The text, user names and passwords of its addresses replaced by dots."""
    return _USER.sub("…", text)


def check_folder(to: str) -> Path:
    """The folder, which is made. Raises `FodBenchError` when it cannot be."""
    folder = Path(to)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FodBenchError(f"--to {to}: cannot make this folder: {error.strerror}") from None
    return folder


def allowed(name: str, pattern: str, replacements: Mapping[str, str]) -> str:
    """A name for a tracker that takes fewer characters, those of `pattern`: others become their replacement, or `_`."""
    return re.sub(rf"[^{pattern}]", lambda found: replacements.get(found[0], "_"), name)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
