"""The same detector, held before one of its steps for as long as a file is there: for tests that kill it in the middle."""

import os
import time
from pathlib import Path
from typing import ClassVar

from nearest_patch import NearestPatch, Settings


class HeldSettings(Settings):
    """Distance to the nearest normal patch, held on its way."""

    implementation: ClassVar[str] = "held_patch:HeldPatch"
    method: str = "held_patch"


class HeldPatch(NearestPatch):
    def step(self, epoch, step):
        while step == 3 and Path(os.environ.get("HELD_PATCH", "/nowhere")).exists():
            time.sleep(0.02)
        return super().step(epoch, step)
