"""Numbers of other methods' published code, as arrays: those of the tests, and more where `FOD_RIVAL_FIXTURES` names a folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

OWN = Path(__file__).parents[1] / "fixtures" / "rivals"


def fixture_files(method: str) -> list[Path]:
    """Every `<method>*.npz`, for `pytest.mark.parametrize`."""
    more = os.environ.get("FOD_RIVAL_FIXTURES")
    folders = [OWN, *([Path(more)] if more else [])]
    return [path for folder in folders for path in sorted(folder.glob(f"{method}*.npz"))]


def read_fixture(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What the file says of itself, and its arrays by name."""
    with np.load(path, allow_pickle=False) as found:
        arrays = {name: found[name] for name in found.files}
    return json.loads(str(arrays.pop("meta"))), arrays
