"""Settings of other packages that this one depends on for its speed, made before they are imported."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from pathlib import Path

_VARIABLE = "NPY_DISABLE_CPU_FEATURES"
_ZEN_3_AND_4 = 25


def avoid_slow_sorting(cpu_info: Path = Path("/proc/cpuinfo")) -> None:
    """On AMD's Zen 4, have numpy sort with AVX2: its AVX-512 sort is about 7 times slower there.

    The instruction it is built on, `vpcompress` to memory, is microcoded on that processor (x86-simd-sort, issue 6). numpy reads
    the variable once, when it is first imported; where that has happened, or the user set it, nothing is changed.
    Processes that this one starts inherit it.
    """
    if "numpy" in sys.modules or _VARIABLE in os.environ:
        return
    try:
        first = cpu_info.read_text().split("\n\n", 1)[0]
    except OSError:  # not Linux
        return
    about = dict(line.partition(":")[::2] for line in first.replace("\t", "").replace(": ", ":").splitlines())
    amd = about.get("vendor_id") == "AuthenticAMD" and about.get("cpu family") == str(_ZEN_3_AND_4)
    if amd and "avx512f" in about.get("flags", "").split():
        renamed = tuple(map(int, version("numpy").split(".")[:2])) >= (2, 4)
        os.environ[_VARIABLE] = "X86_V4 AVX512_ICL AVX512_SPR" if renamed else "AVX512_SKX AVX512_ICL AVX512_SPR"


def sleep_when_idle() -> None:
    """Have the threads of OpenMP, by which PyTorch shares an operation, give the processor up soon.

    By default they keep it busy for some milliseconds, which the correlation operator's own threads would need. GNU's
    library reads the variable once, when PyTorch is first imported; where the user said something else, nothing is changed.
    """
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
