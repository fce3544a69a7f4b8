"""The fused operator against the formulas written down plainly: values, gradients, memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fod_bench.methods.fod.correlation import Correlation, correlate, tiled
from fod_bench.methods.fod.correlation.inputs import Inputs
from fod_bench.methods.fod.target import LOWEST_EXPONENT, kernel_widths, target_factors
from tests.helpers.correlation_cases import Case, written_down

PARTS = Correlation._fields


def inputs(
    batch: int, heads: int, height: int, width: int, depth: int = 4, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """Query, key, value and the target's factors, as leaves."""
    torch.manual_seed(batch + 10 * heads + 100 * height)
    tokens = height * width
    made = [torch.randn(batch, heads, tokens, depth, dtype=dtype) for _ in range(3)]
    made += target_factors(kernel_widths(torch.randn(batch, heads, tokens, 2, dtype=dtype)), height, width)
    return [tensor.requires_grad_() for tensor in made]


def gradients(result: Correlation, leaves: list[Tensor], parts: tuple[str, ...] = PARTS) -> list[Tensor]:
    """Gradients of Σ w·part with weights that differ from entry to entry."""
    torch.manual_seed(7)
    # not `randn_like`, whose numbers depend on how a tensor lies in memory
    total = sum((torch.randn(part.shape).to(part) * part).sum() for part in (getattr(result, name) for name in parts))
    assert isinstance(total, Tensor)
    found = torch.autograd.grad(total, leaves, allow_unused=True)
    return [
        torch.zeros_like(leaf) if gradient is None else gradient for leaf, gradient in zip(leaves, found, strict=True)
    ]


@pytest.mark.parametrize("block", [1, 60, 225, 450, 10**9], ids=["row", "4 rows", "head", "2 heads", "all"])
@pytest.mark.parametrize(("height", "width"), [(3, 5), (5, 3), (1, 15)])
def test_values_and_gradients_whatever_the_block(
    monkeypatch: pytest.MonkeyPatch, block: int, height: int, width: int
) -> None:
    monkeypatch.setitem(tiled.BLOCK_ELEMENTS, "cpu", block)
    leaves = inputs(2, 3, height, width)
    actual, expected = correlate(*leaves), written_down(*leaves)
    torch.testing.assert_close(tuple(actual), tuple(expected), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradients(actual, leaves), gradients(expected, leaves), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("part", PARTS)
def test_each_output_by_itself(part: str) -> None:
    leaves = inputs(2, 2, 3, 4)
    actual, expected = gradients(correlate(*leaves), leaves, (part,)), gradients(written_down(*leaves), leaves, (part,))
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)
    reached = {"output": "qkv", "target_divergence": "yx", "attention_divergence": "qk", "entropy": "qk"}[part]
    assert [bool(gradient.any()) for gradient in actual] == [letter in reached for letter in "qkvyx"]


@pytest.mark.parametrize("part", PARTS)
def test_gradcheck(part: str) -> None:
    """Against finite differences, each output in the inputs that its gradient is let through to."""
    leaves = inputs(1, 2, 2, 3)
    free = {"output": (0, 1, 2), "target_divergence": (3, 4)}.get(part, (0, 1))

    def function(*moved: Tensor) -> Tensor:
        given = [leaf.detach() for leaf in leaves]
        for index, tensor in zip(free, moved, strict=True):
            given[index] = tensor
        return getattr(correlate(*given), part)

    assert torch.autograd.gradcheck(function, [leaves[index] for index in free], atol=1e-6)


def test_fewer_queries_than_references() -> None:
    query, key, value, target_y, target_x = inputs(2, 2, 3, 4)
    leaves = [query[:, :, :5], key, value, target_y[:, :, :5], target_x[:, :, :5]]
    actual, expected = correlate(*leaves), written_down(*leaves)
    torch.testing.assert_close(tuple(actual), tuple(expected), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradients(actual, leaves), gradients(expected, leaves), rtol=1e-9, atol=1e-12)


def test_inputs_and_gradients_of_any_strides() -> None:
    """The network hands over transposed views, and a sum's gradient is one number expanded."""
    leaves = [
        leaf.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_() for leaf in inputs(2, 3, 3, 4)
    ]
    assert not leaves[0].is_contiguous()
    totals = [sum(part.sum() for part in function(*leaves)) for function in (correlate, written_down)]
    actual, expected = (torch.autograd.grad(total, leaves) for total in totals)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


def test_float32_is_as_exact_as_the_plain_form() -> None:
    exact = [leaf.detach() for leaf in inputs(1, 2, 16, 16, depth=32)]
    single = [leaf.float() for leaf in exact]
    for name, truth, ours, other in zip(
        PARTS, written_down(*exact), correlate(*single), written_down(*single), strict=True
    ):
        error, allowed = (float((value.double() - truth).abs().max()) for value in (ours, other))
        assert error <= 2 * allowed + 1e-7, name


@pytest.mark.parametrize("spread", [1e-3, 1e3])
@pytest.mark.parametrize("raw", [-1e4, 0.0, 1e4])
def test_extremes_stay_finite(spread: float, raw: float) -> None:
    torch.manual_seed(0)
    query, key, value = (spread * torch.randn(1, 2, 64, 4) for _ in range(3))
    widths = (raw + torch.randn(1, 2, 64, 2)).requires_grad_()
    leaves = [tensor.requires_grad_() for tensor in (query, key, value)]
    result = correlate(*leaves, *target_factors(kernel_widths(widths), 8, 8))
    assert all(part.isfinite().all() for part in result)
    assert all(gradient.isfinite().all() for gradient in gradients(result, [*leaves, widths]))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-15), (torch.float32, 5e-7)], ids=str)
def test_a_target_s_entries_are_normal_numbers_and_those_of_the_equation(dtype: torch.dtype, tolerance: float) -> None:
    """Processors multiply others far more slowly. Those that are 0 are not the same at the border, by a rounding."""
    widths = kernel_widths(torch.linspace(-20, 20, 32 * 32 * 2, dtype=torch.float64).view(1, 1, 32 * 32, 2)).to(dtype)
    y, x = target_factors(widths, 32, 32)
    smallest = [float(part[part > 0].min()) for part in (y, x)]
    assert smallest[0] * smallest[1] >= torch.finfo(torch.float32).tiny
    offset = torch.arange(32)[None] - torch.arange(32 * 32)[:, None] // 32
    exponent = -0.5 * (offset / widths.double()[0, 0, :, :1]).square()  # (N, H), of the vertical width
    kernel = exponent.exp()
    torch.testing.assert_close(y[0, 0].double(), kernel / kernel.sum(-1, keepdim=True), rtol=0, atol=tolerance)
    clear = (exponent - LOWEST_EXPONENT).abs() > 1e-3
    assert torch.equal((y[0, 0] > 0)[clear], (exponent > LOWEST_EXPONENT)[clear])


def test_equal_target_and_attention_diverge_by_nothing() -> None:
    """The attention is made of the target, with its logarithm as logits."""
    target_y, target_x = target_factors(torch.full((1, 1, 12, 2), 2.0, dtype=torch.float64), 3, 4)
    target = (target_y[..., :, None] * target_x[..., None, :]).flatten(-2)  # (1, 1, 12, 12)
    key = torch.eye(12, dtype=torch.float64)[None, None]
    result = correlate(target.log() * 12**0.5, key, key, target_y, target_x)
    torch.testing.assert_close(result.output, target)
    torch.testing.assert_close(result.target_divergence, torch.zeros(1, 1, 12, dtype=torch.float64), atol=1e-12, rtol=0)


def test_nothing_of_size_tokens_squared_is_kept() -> None:
    batch, heads, side, depth = 1, 2, 16, 8
    tokens = side * side

    def largest(function: object) -> int:
        sizes: list[int] = []

        def pack(tensor: Tensor) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        leaves = inputs(batch, heads, side, side, depth)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            function(*leaves)  # type: ignore[operator]
        return max(sizes)

    assert largest(correlate) <= batch * heads * tokens * max(depth, side)
    assert largest(written_down) >= batch * heads * tokens * tokens


def test_no_second_derivative_is_pretended() -> None:
    leaves = inputs(1, 1, 2, 3)
    (first,) = torch.autograd.grad(correlate(*leaves).entropy.square().sum(), leaves[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("key", (1, 2, 12, 8)),
        ("key", (2, 2, 12, 9)),
        ("key", (2, 2, 11, 8)),
        ("value", (2, 2, 11, 8)),
        ("value", (2, 2, 12, 16)),
        ("target_y", (2, 2, 9, 3)),
        ("target_x", (2, 1, 10, 4)),
    ],
)
def test_shapes_that_do_not_go_together_are_refused(name: str, shape: tuple[int, ...]) -> None:
    """Compiled code would read and write beside the tensors."""
    tensors = dict(zip(Inputs._fields, Case(2, 2, 10, 3, 4, 8, 1.0, 0.0, 0).inputs(), strict=True))
    with pytest.raises(ValueError, match=rf"^{name} is \({', '.join(map(str, shape))}\); with a query \(2, 2, 10, 8\)"):
        correlate(**tensors | {name: torch.ones(shape)})


@pytest.mark.parametrize("queries", [0, 1])
def test_nothing_to_correlate_is_refused(queries: int) -> None:
    depth, target = 1 - queries, torch.ones(1, 1, queries, 2)
    with pytest.raises(
        ValueError, match=f"^nothing to correlate: {queries} queries and 4 references of {depth} channels"
    ):
        correlate(torch.ones(1, 1, queries, depth), *torch.ones(2, 1, 1, 4, depth), target, target)
