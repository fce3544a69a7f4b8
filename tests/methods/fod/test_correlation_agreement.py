"""The operator's implementations against its equations in float64: values and gradients over random shapes.

On a CPU Triton's kernels run in its interpreter (`conftest.py`).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fod_bench.methods.fod.correlation import IMPLEMENTATIONS, VARIABLE, correlate, implementation
from fod_bench.methods.fod.precision import matrix_products
from tests.helpers.correlation_cases import HERE, NAMES, TOLERANCE, Case, compare, outcome, written_down
from tests.helpers.trial_builders import CPU, DEVICE

pytest.importorskip("triton")

CASES = st.builds(
    Case,
    images=st.integers(1, 2),
    heads=st.integers(1, 2),
    queries=st.integers(1, 70),
    height=st.integers(1, 9),
    width=st.integers(1, 40),
    depth=st.sampled_from((1, 4, 16, 24, 32, 40, 64, 128)),
    spread=st.sampled_from((0.01, 0.3, 1.0, 3.0, 30.0)),
    sigma=st.sampled_from((-20.0, -1.0, 0.0, 1.0, 20.0)),
    seed=st.integers(0, 1000),
)


@pytest.mark.gpu
@pytest.mark.parametrize("name", HERE)
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(case=CASES)
@example(Case(1, 1, 64, 8, 8, 16, 30.0, -20.0, 1))
@example(Case(1, 1, 64, 8, 8, 16, 0.01, -20.0, 2))
@example(Case(1, 2, 50, 3, 40, 40, 1.0, 0.0, 3))
@example(Case(2, 1, 7, 5, 6, 256, 1.0, 0.0, 4))
def test_all_agree_with_the_equations(name: str, case: Case) -> None:
    inputs = [tensor.float() for tensor in case.inputs()]
    truth = outcome([tensor.double() for tensor in inputs], written_down)
    with pytest.MonkeyPatch.context() as patch, matrix_products("float32", DEVICE):
        patch.setenv(VARIABLE, name)
        found = outcome([tensor.to(DEVICE) for tensor in inputs])
    compare(found, truth, TOLERANCE * max(1.0, case.spread**2))


@pytest.mark.gpu
@pytest.mark.parametrize("name", HERE[1:])
def test_a_repetition_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(VARIABLE, name)
    inputs = [tensor.float().to(DEVICE) for tensor in Case(2, 2, 60, 7, 9, 24, 1.0, 0.0, 5).inputs()]
    first, second = outcome(inputs), outcome(inputs)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("programs", [1, 20, 1000])
def test_parts_of_the_sweep_add_up(monkeypatch: pytest.MonkeyPatch, programs: int) -> None:
    """One part, some that do not divide the grid evenly, and one for each of its rows."""
    from fod_bench.methods.fod.correlation import triton

    monkeypatch.setenv(VARIABLE, "triton")
    monkeypatch.setattr(triton, "PROGRAMS", programs)
    inputs = [tensor.float() for tensor in Case(1, 2, 90, 7, 9, 24, 1.0, 0.0, 7).inputs()]
    truth = outcome([tensor.double() for tensor in inputs], written_down)
    with matrix_products("float32", DEVICE):
        compare(outcome([tensor.to(DEVICE) for tensor in inputs]), truth, TOLERANCE)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("fault", [float("nan"), float("inf")])
@pytest.mark.parametrize("tensor", range(5), ids=["query", "key", "value", "target_y", "target_x"])
def test_what_is_not_finite_is_seen(monkeypatch: pytest.MonkeyPatch, name: str, fault: float, tensor: int) -> None:
    """A training that diverges must not go on with numbers that look like any other."""
    monkeypatch.setenv(VARIABLE, name)
    inputs = [given.float().to(DEVICE) for given in Case(1, 1, 20, 4, 8, 16, 1.0, 0.0, 3).inputs()]
    inputs[tensor][0, 0, 3, 1] = fault
    found = dict(zip(NAMES, outcome(inputs), strict=True))
    assert not all(found[part].isfinite().all() for part in ("output", "target_divergence"))
    assert not found["gradient of query" if tensor < 3 else "gradient of target_y"].isfinite().all()


@pytest.mark.gpu
def test_bfloat16_products_have_float32_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Near the truth as bfloat16's eight bits allow, and with more bits than it has."""
    monkeypatch.setenv(VARIABLE, "triton")
    inputs = [tensor.float() for tensor in Case(1, 2, 60, 8, 16, 32, 1.0, 0.0, 6).inputs()]
    truth = outcome(inputs, written_down)
    with matrix_products("bfloat16", DEVICE):
        found = outcome([tensor.to(DEVICE) for tensor in inputs])
    compare(found, truth, 0.05)
    assert float((found[0] - truth[0]).abs().max()) > 1e-4
    assert not torch.equal(found[0], found[0].bfloat16().double())


@pytest.mark.parametrize("name", ["numba", "triton"])
def test_float64_is_refused_by_what_lacks_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(VARIABLE, name)
    with pytest.raises(TypeError, match=r"works on float32.*, not (on )?torch\.float64"):
        correlate(*Case(1, 1, 4, 2, 2, 4, 1.0, 0.0, 0).inputs())


@pytest.mark.parametrize("name", ["", *IMPLEMENTATIONS])
def test_the_variable_chooses(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(VARIABLE, name)
    assert implementation(CPU) == (name or "numba")
    assert implementation(CPU, torch.float64) == (name or "tiled")
    if name == "numba":
        with pytest.raises(ValueError, match="numba: it works on a CPU, and this is cuda; name tiled or triton"):
            implementation(torch.device("cuda"))
    else:
        assert implementation(torch.device("cuda")) == (name or "triton")


def test_an_unknown_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "fused")
    with pytest.raises(ValueError, match=r"FOD_BENCH_CORRELATION=fused: .* there are plain, tiled, numba, triton"):
        correlate(*Case(1, 1, 4, 2, 2, 4, 1.0, 0.0, 0).inputs())


def test_without_triton_it_is_missed_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("fod_bench.methods.fod.correlation.find_spec", lambda name: None)
    assert implementation(torch.device("cuda")) == "tiled"
    monkeypatch.setenv(VARIABLE, "triton")
    with pytest.raises(ValueError, match="the package triton is not installed"):
        implementation(torch.device("cuda"))


_COMPILE = """
import inspect
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from fod_bench.methods.fod.correlation import triton as kernels

arguments = kernels.Tiling(8, 1024, 32, 32, 32, "{precision}").arguments()
for kernel in (kernels.softmax_kernel, kernels.forward_kernel, kernels.query_kernel, kernels.key_kernel):
    names = list(inspect.signature(kernel.fn).parameters)
    constants = {{name: value for name, value in arguments.items() if name.isupper()}}
    if {ones}:  # Triton makes a constant of an integer that is 1
        constants |= {{name: 1 for name in names if name not in constants and name != "scale" and not name.endswith("_at")}}
    options = {{"num_warps": arguments["num_warps"]}}
    types = {{
        name: "constexpr" if name in constants else "*fp32" if name.endswith("_at") else "fp32" if name == "scale" else "i32"
        for name in names
    }}
    compiled = triton.compile(ASTSource(kernel, types, constants), target=GPUTarget("cuda", 80, 32), options=options)
    assert compiled.asm["cubin"] and compiled.metadata.shared <= 96 * 1024, kernel
"""


@pytest.mark.parametrize(("precision", "ones"), [("float32", False), ("float32", True), ("bfloat16", False)])
def test_the_kernels_compile_for_a_gpu_without_one(precision: str, ones: bool, tmp_path: Path) -> None:
    """In a process of its own: this one interprets."""
    environment = {
        "TRITON_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "PATH": "/usr/bin:/bin",
    }
    command = [sys.executable, "-c", _COMPILE.format(precision=precision, ones=ones)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_compilers_are_imported_only_where_they_are_used() -> None:
    program = (
        "import sys, fod_bench.methods.fod.method; place = 'fod_bench.methods.fod.correlation'; "
        "sys.exit(any(f'{place}.{name}' in sys.modules for name in ('numba', 'triton')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(("name", "tolerance"), [("tiled", 1e-5), ("numba", 0.0)])
def test_threads_take_the_heads_to_the_same_end(monkeypatch: pytest.MonkeyPatch, name: str, tolerance: float) -> None:
    """In training, and where nothing is trained, with buffers made in the other mode before."""
    monkeypatch.setenv(VARIABLE, name)
    inputs = [tensor.float() for tensor in Case(2, 5, 60, 7, 9, 24, 1.0, 0.0, 5).inputs()]
    alone = outcome(inputs)
    torch.set_num_threads(3)
    try:
        together = outcome(inputs)
        with torch.inference_mode():
            values = correlate(*inputs)
        again = outcome(inputs)
    finally:
        torch.set_num_threads(1)
    for found in (together, again, [values.output.double()]):
        torch.testing.assert_close(found, alone[: len(found)], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(values.target_divergence.double(), alone[1], rtol=1e-5, atol=1e-5)
    assert bool(values.entropy.isnan().all()) == (name == "numba")


def test_kernels_are_made_where_no_folder_can_be_written_to(tmp_path: Path) -> None:
    program = (
        "import numba.core.caching as caching; caching.CompileResultCacheImpl._locator_classes = []\n"
        "import torch; from fod_bench.methods.fod.correlation import correlate\n"
        "t = torch.full((1, 1, 4, 2), 0.5); print(correlate(*[torch.ones(1, 1, 4, 2)] * 3, t, t).entropy.sum())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("tensor(5.5")
