"""The switch of numpy's sorting, on described processors, and that of idle threads; each case in a process of its own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

VARIABLE = "NPY_DISABLE_CPU_FEATURES"
SCRIPT = f"""
import os, sys
from pathlib import Path
import fod_bench.machine.tuning
assert "numpy" not in sys.modules
os.environ.pop({VARIABLE!r}, None)  # importing the package has looked at this machine
exec(sys.argv[2])
fod_bench.machine.tuning.avoid_slow_sorting(Path(sys.argv[1]))
print(os.environ.get({VARIABLE!r}))
"""


def cpu_info(vendor: str, family: int, flags: str) -> str:
    """Two cores as Linux describes them."""
    core = f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel name\t: a: processor\nflags\t\t: {flags}\n"
    return f"{core}\n{core}\n"


def decide(tmp_path: Path, text: str | None, before: str = "") -> str:
    """What the variable is afterwards."""
    path = tmp_path / "cpuinfo"
    if text is not None:
        path.write_text(text)
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    command = [sys.executable, "-c", SCRIPT, str(path), before]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()


ZEN_4 = cpu_info("AuthenticAMD", 25, "fpu sse2 avx2 avx512f avx512dq")


def test_zen_4_sorts_without_avx512(tmp_path: Path) -> None:
    renamed = tuple(map(int, np.__version__.split(".")[:2])) >= (2, 4)
    expected = "X86_V4 AVX512_ICL AVX512_SPR" if renamed else "AVX512_SKX AVX512_ICL AVX512_SPR"
    assert decide(tmp_path, ZEN_4) == expected


@pytest.mark.parametrize(
    "text",
    [
        cpu_info("AuthenticAMD", 25, "fpu sse2 avx2"),  # Zen 3
        cpu_info("AuthenticAMD", 26, "fpu avx2 avx512f"),  # Zen 5
        cpu_info("GenuineIntel", 25, "fpu avx2 avx512f"),
        "processor: 0\nCPU implementer: 0x41\n",  # not x86
        "",
        None,
    ],
    ids=["zen 3", "zen 5", "intel", "arm", "empty", "no such file"],
)
def test_other_processors_are_left_alone(tmp_path: Path, text: str | None) -> None:
    assert decide(tmp_path, text) == "None"


def test_what_the_user_set_or_numpy_has_read_stands(tmp_path: Path) -> None:
    assert decide(tmp_path, ZEN_4, f"os.environ[{VARIABLE!r}] = 'mine'") == "mine"
    assert decide(tmp_path, ZEN_4, "import numpy") == "None"


def test_numpy_understands_the_names_and_sorts() -> None:
    """A name that numpy does not know stops its import."""
    for names in ("X86_V4 AVX512_ICL AVX512_SPR", "AVX512_SKX AVX512_ICL AVX512_SPR"):
        if ("X86_V4" in names) != (tuple(map(int, np.__version__.split(".")[:2])) >= (2, 4)):
            continue
        script = (
            "import numpy as np; x = np.random.default_rng(0).random(999); x.sort(); print((np.diff(x) >= 0).all())"
        )
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {VARIABLE: names})
        assert done.stdout == "True\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "10000"),
        ("os.environ['GOMP_SPINCOUNT'] = '7'", "7"),
        ("os.environ['OMP_WAIT_POLICY'] = 'active'", "None"),
        ("sys.modules['torch'] = sys", "None"),
    ],
    ids=["nothing", "a count", "a policy", "torch is there"],
)
def test_idle_threads_sleep_unless_the_user_says_otherwise(before: str, after: str) -> None:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    }
    script = f"import os, sys\n{before}\nimport fod_bench\nprint(os.environ.get('GOMP_SPINCOUNT'))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == after


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries decide by themselves")
@pytest.mark.parametrize(
    ("user", "kept"), [({}, True), ({"MALLOC_MMAP_THRESHOLD_": "131072"}, False)], ids=["kept", "the user's"]
)
def test_memory_that_was_freed_is_used_again(user: dict[str, str], kept: bool) -> None:
    """20 times 8 MB, which are 2048 pages: made anew each time, or once."""
    script = """
import resource, sys
from fod_bench.machine.tuning import keep_freed_memory
keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    bytearray(8 << 20)[::4096]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=clean | user)
    assert (int(done.stdout) < 5000) == kept
