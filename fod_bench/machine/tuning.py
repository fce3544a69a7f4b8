"""Settings of other packages that this one depends on for its speed, made before they are imported."""

from __future__ import annotations

import ctypes
import os
import sys
from importlib.metadata import version
from pathlib import Path

from fod_bench.machine.processor import processor

_VARIABLE = "NPY_DISABLE_CPU_FEATURES"
_ZEN_3_AND_4 = "25"
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Of `mallopt`, in glibc's malloc.h."""


def avoid_slow_sorting(cpu_info: Path = Path("/proc/cpuinfo")) -> None:
    """On AMD's Zen 4, have numpy sort with AVX2: its AVX-512 sort is about 7 times slower there.

    The instruction it is built on, `vpcompress` to memory, is microcoded on that processor (x86-simd-sort, issue 6). numpy reads
    the variable once, when it is first imported; where that has happened, or the user set it, nothing is changed.
    Processes that this one starts inherit it.
    """
    if "numpy" in sys.modules or _VARIABLE in os.environ:
        return
    found = processor(cpu_info)
    if found.vendor == "AuthenticAMD" and found.family == _ZEN_3_AND_4 and "avx512f" in found.flags:
        renamed = tuple(map(int, version("numpy").split(".")[:2])) >= (2, 4)
        os.environ[_VARIABLE] = "X86_V4 AVX512_ICL AVX512_SPR" if renamed else "AVX512_SKX AVX512_ICL AVX512_SPR"


def sleep_when_idle() -> None:
    """Have the threads of OpenMP, by which PyTorch shares an operation, give the processor up soon.

    By default they keep it busy for some milliseconds, which the correlation operator's own threads would need. GNU's
    library reads the variable once, when PyTorch is first imported; where the user said something else, nothing is changed.
    """
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def keep_freed_memory() -> None:
    """Have this process keep what it frees, up to half a gigabyte, but for single pieces beyond 32 MB.

    A training step frees its activations and gradients and asks for the same again in the next; glibc gives such pieces back in
    between, and each of their pages is then made anew, some 15 000 in a step at the paper's sizes. Where the user set glibc's own
    variables, and on systems without it, nothing is changed.
    """
    if "MALLOC_TRIM_THRESHOLD_" in os.environ or "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # musl has none
        mallopt(_MMAP_THRESHOLD, 32 << 20)
        mallopt(_TRIM_THRESHOLD, 512 << 20)
