"""The network, its losses and its gradients against the plain implementation, and the parts it is made of."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import plain_fod
from fod_bench.methods.fod.network import FODNetwork, NetworkShape, View, position_code
from fod_bench.methods.fod.target import kernel_widths, target_factors, target_factors_plain
from fod_bench.methods.fod.train import LevelTrainer, LossWeights, build_network, losses
from tests.helpers.trial_builders import VIEWS, features, network

SHAPE = NetworkShape(height=3, width=4, channels=5, d_model=8, heads=2, layers=2, view="full")


def gradients(model: FODNetwork, loss: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for name, parameter, gradient in zip(names, parameters, found, strict=True)
    }


def same(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-12)


def direct_loss(model: FODNetwork, given: Tensor, reference: Tensor, lambda1: float, lambda2: float) -> Tensor:
    """Eq. 11, without a stop-gradient."""
    output, intra, inter = plain_fod.forward(model, given, reference)
    total = functional.mse_loss(output, given) + (1 - functional.cosine_similarity(output, given, dim=-1)).mean()
    for pairs, sign in ((intra, 1.0), (inter, -1.0)):
        for attention, target in pairs:
            term = lambda1 * plain_fod.divergence(target, attention) - lambda2 * plain_fod.entropy(attention)
            total = total + sign * term.mean() / len(pairs)
    return total


class TestLosses:
    @pytest.mark.parametrize("view", VIEWS)
    @pytest.mark.parametrize(("height", "width", "batch"), [(3, 4, 2), (4, 2, 1)])
    def test_two_phases_are_those_of_the_plain_implementation(
        self, view: View, height: int, width: int, batch: int
    ) -> None:
        model = network(view, height, width)
        given, reference = features(batch, height, width)
        terms = losses(model(given, reference), given, LossWeights(0.3, 0.7))
        first, second = plain_fod.phase_losses(model, given, reference, 0.3, 0.7)
        torch.testing.assert_close((terms.phase1, terms.phase2), (first, second), rtol=1e-10, atol=1e-12)
        expected = first if view == "patch" else first + second  # patch has nothing to divide into phases
        torch.testing.assert_close(terms.total, expected, rtol=1e-10, atol=1e-12)
        same(gradients(model, terms.total), gradients(model, expected))

    @pytest.mark.parametrize("view", VIEWS)
    def test_direct_optimisation_descends_equation_11(self, view: View) -> None:
        model, (given, reference) = network(view), features()
        terms = losses(model(given, reference), given, LossWeights(0.3, 0.7, "direct"))
        expected = direct_loss(model, given, reference, 0.3, 0.7)
        torch.testing.assert_close(terms.total, expected, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close((terms.phase1, terms.phase2), (expected, expected), rtol=1e-10, atol=1e-12)
        same(gradients(model, terms.total), gradients(model, expected))

    @pytest.mark.parametrize("optimization", ["two_phase", "direct"])
    def test_a_weight_of_zero_takes_its_term_away(self, optimization: str) -> None:
        model, (given, reference) = network("full"), features()

        def ours(lambda1: float, lambda2: float) -> dict[str, Tensor]:
            weights = LossWeights(lambda1, lambda2, optimization)  # type: ignore[arg-type]
            return gradients(model, losses(model(given, reference), given, weights).total)

        output, intra, inter = plain_fod.forward(model, given, reference)
        rec = functional.mse_loss(output, given) + (1 - functional.cosine_similarity(output, given, dim=-1)).mean()
        times = 2 if optimization == "two_phase" else 1
        without_divergence = times * rec
        for pairs, sign in ((intra, -1.0), (inter, 1.0)):
            for attention, _ in pairs:
                without_divergence = without_divergence + sign * 0.7 * plain_fod.entropy(attention).mean() / len(pairs)
        same(ours(0.0, 0.0), gradients(model, times * rec))
        same(ours(0.0, 0.7), gradients(model, without_divergence))
        if optimization == "two_phase":
            first, second = plain_fod.phase_losses(model, given, reference, 0.3, 0.0)
            same(ours(0.3, 0.0), gradients(model, first + second))
        else:
            same(ours(0.3, 0.0), gradients(model, direct_loss(model, given, reference, 0.3, 0.0)))

    @pytest.mark.parametrize("view", VIEWS)
    def test_terms_of_a_missing_branch_are_zero(self, view: View) -> None:
        given, reference = features()
        terms = losses(network(view)(given, reference), given, LossWeights())
        assert (terms.intra_divergence == 0) == (terms.intra_entropy == 0) == (view in ("patch", "inter"))
        assert (terms.inter_divergence == 0) == (terms.inter_entropy == 0) == (view in ("patch", "intra"))


class TestStep:
    def test_is_adam_on_the_sum_of_both_phases(self) -> None:
        given, reference = features()
        trained, twin = network("full"), network("full")
        trainer = LevelTrainer(trained, LossWeights(), 1e-3)
        optimizer = torch.optim.Adam(twin.parameters(), lr=1e-3, foreach=False)
        for _ in range(4):
            terms = trainer.step(given, reference)
            phases = plain_fod.step(twin, optimizer, given, reference)
            torch.testing.assert_close((terms.phase1, terms.phase2), phases, rtol=1e-8, atol=1e-10)
        same(dict(trained.named_parameters()), dict(twin.named_parameters()))

    def test_goes_backward_once_and_leaves_no_gradient(self) -> None:
        model, (given, reference) = network("full"), features()
        count = dict.fromkeys((name for name, _ in model.named_parameters()), 0)

        for name, parameter in model.named_parameters():

            def counted(_: Tensor, name: str = name) -> None:
                count[name] += 1

            parameter.register_post_accumulate_grad_hook(counted)
        LevelTrainer(model, LossWeights(), 1e-3).step(given, reference)
        assert set(count.values()) == {1}
        assert all(parameter.grad is None for parameter in model.parameters())

    @pytest.mark.parametrize("view", VIEWS)
    def test_keeps_nothing_of_size_tokens_squared(self, view: View) -> None:
        side, batch = 12, 1
        model = network(view, side, side).float()
        given, reference = (tensor.float() for tensor in features(batch, side, side))

        def largest(function: object) -> int:
            sizes: list[int] = []

            def pack(tensor: Tensor) -> Tensor:
                sizes.append(tensor.numel())
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                function()  # type: ignore[operator]
            return max(sizes)

        tokens, widest = side * side, 4 * model.shape.d_model
        fused = largest(lambda: losses(model(given, reference), given, LossWeights()))
        assert fused <= batch * tokens * widest
        assert largest(lambda: plain_fod.phase_losses(model, given, reference, 0.5, 0.5)) >= batch * 2 * tokens * tokens


class TestNetwork:
    def test_a_reference_is_shared_by_the_batch(self) -> None:
        model, (given, reference) = network("full"), features(batch=3)
        expected = model(given, reference.repeat(3, 1, 1))
        torch.testing.assert_close(model(given, reference), expected)
        for index in range(3):
            alone = model(given[index : index + 1], reference).reconstruction
            torch.testing.assert_close(alone, expected.reconstruction[index : index + 1])

    @pytest.mark.parametrize("view", ["inter", "full"])
    @pytest.mark.parametrize("references", [1, 2, 3])
    def test_several_references_per_position_are_those_of_the_plain_implementation(
        self, view: View, references: int
    ) -> None:
        model, (given, _) = network(view), features(batch=2)
        known = torch.randn(2, 12 * references, 5, generator=torch.Generator().manual_seed(3)).double()
        terms = losses(model(given, known), given, LossWeights(0.3, 0.7))
        first, second = plain_fod.phase_losses(model, given, known, 0.3, 0.7)
        torch.testing.assert_close((terms.phase1, terms.phase2), (first, second), rtol=1e-10, atol=1e-12)
        same(gradients(model, terms.total), gradients(model, first + second))

    @pytest.mark.parametrize("view", ["inter", "full"])
    def test_the_same_reference_twice_at_each_position_is_as_good_as_once(self, view: View) -> None:
        """Attention is shared out among equals, and so is the target; only ε tells halves from wholes."""
        model, (given, reference) = network(view), features()
        once, twice = model(given, reference), model(given, reference.repeat_interleave(2, 1))
        torch.testing.assert_close(twice.reconstruction, once.reconstruction)
        _, _, pairs = plain_fod.forward(model, given, reference)
        _, _, halves = plain_fod.forward(model, given, reference.repeat_interleave(2, 1))
        for whole, half in zip(pairs, halves, strict=True):
            for one, other in zip(whole, half, strict=True):  # S, then T
                torch.testing.assert_close(other, one.repeat_interleave(2, -1) / 2)

    def test_references_that_are_not_the_same_number_for_each_patch_are_refused(self) -> None:
        given, reference = features()
        with pytest.raises(ValueError, match="18 references are not the same number for each of 12 patches"):
            network("full")(given, torch.cat((reference, reference[:, :6]), 1))

    @pytest.mark.parametrize("view", VIEWS)
    def test_needs_a_reference_only_where_it_looks_at_one(self, view: View) -> None:
        model, (given, reference) = network(view), features()
        if view in ("inter", "full"):
            with pytest.raises(ValueError, match=f"the view '{view}' needs reference features"):
                model(given)
        else:
            assert torch.equal(model(given).reconstruction, model(given, reference).reconstruction)

    def test_sizes_that_do_not_divide_are_refused(self) -> None:
        for changes, message in (
            ({"d_model": 10, "heads": 4}, "10 is not divisible by 4 heads"),
            ({"d_model": 6, "heads": 2}, "6 is not divisible by 4, as the position code"),
        ):
            with pytest.raises(ValueError, match=message):
                replace(SHAPE, **changes)  # type: ignore[arg-type]

    def test_initial_weights_follow_the_seed_alone(self) -> None:
        torch.manual_seed(1)
        expected = torch.rand(3)
        torch.manual_seed(1)
        first = build_network(SHAPE, 5).state_dict()
        assert torch.equal(torch.rand(3), expected), "the global generator moved"
        torch.rand(17)
        second, other = build_network(SHAPE, 5).state_dict(), build_network(SHAPE, 6).state_dict()
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert not torch.equal(first["embed.weight"], other["embed.weight"])

    def test_embeddings_start_as_kaiming_normal(self) -> None:
        shape = replace(SHAPE, channels=200, d_model=512, heads=8, layers=1)
        model = build_network(shape, 0)
        assert model.ref_embed is not None
        for weight in (model.embed.weight, model.ref_embed.weight):
            # gain² of the leaky ReLU with its slope of 0.01 is 2 / (1 + 0.01²)
            assert float(weight.detach().std()) == pytest.approx(math.sqrt(2 / (1 + 1e-4) / 200), rel=0.02)
            assert abs(float(weight.detach().mean())) < 2e-3


class TestPositionCode:
    def test_equals_its_definition(self) -> None:
        height, width, size = 3, 5, 12
        half = size // 2
        code = position_code(size, height, width)
        assert code.shape == (height * width, size)
        for y in range(height):
            for x in range(width):
                for channel in range(size):
                    place, inner = (x, channel) if channel < half else (y, channel - half)
                    angle = place / 10000 ** (2 * (inner // 2) / half)
                    wave = math.cos(angle) if inner % 2 else math.sin(angle)
                    assert float(code[y * width + x, channel]) == pytest.approx(wave, abs=1e-5)

    def test_tells_every_place_of_a_grid_apart(self) -> None:
        code = position_code(64, 16, 24)
        assert float(torch.cdist(code, code).fill_diagonal_(1.0).min()) > 0.1
        torch.testing.assert_close(code.square().sum(1), torch.full((16 * 24,), 32.0))


class TestTarget:
    @pytest.mark.parametrize(("height", "width"), [(3, 5), (4, 4), (1, 7)])
    def test_rows_are_the_normalised_kernel(self, height: int, width: int) -> None:
        torch.manual_seed(0)
        widths = kernel_widths(torch.randn(2, 3, height * width, 2, dtype=torch.float64))
        target_y, target_x = target_factors(widths, height, width)
        target = (target_y[..., :, None] * target_x[..., None, :]).flatten(-2)
        torch.testing.assert_close(target.sum(-1), torch.ones(2, 3, height * width, dtype=torch.float64))
        for head in range(3):
            for patch in range(height * width):
                vertical, horizontal = widths[1, head, patch].tolist()
                y, x = divmod(patch, width)
                row = [
                    math.exp(-((y - v) ** 2) / (2 * vertical**2) - (x - u) ** 2 / (2 * horizontal**2))
                    / (2 * math.pi * vertical * horizontal)
                    for v in range(height)
                    for u in range(width)
                ]
                expected = torch.tensor(row, dtype=torch.float64) / sum(row)
                torch.testing.assert_close(target[1, head, patch], expected)

    def test_references_of_one_position_share_its_part_equally(self) -> None:
        torch.manual_seed(0)
        widths = kernel_widths(torch.randn(2, 3, 12, 2, dtype=torch.float64))
        one, several = ((y[..., :, None] * x[..., None, :]).flatten(-2) for y, x in _factors(widths, 1, 3))
        assert several.shape == (2, 3, 12, 36)
        for patch in range(12):
            for reference in range(3):
                torch.testing.assert_close(several[..., 3 * patch + reference], one[..., patch] / 3)

    def test_widths_lie_between_nothing_and_two_patches(self) -> None:
        raw = torch.cat((torch.tensor([-1e6]), torch.linspace(-2, 2, 101), torch.tensor([1e6])))
        widths = kernel_widths(raw)
        assert float(widths[0]) == pytest.approx(3**1e-5 - 1, rel=0.02)  # what float32 makes of 1.1e-5
        assert float(widths[-1]) == pytest.approx(2.0, abs=1e-4)
        assert bool((widths.diff() > 0).all())
        assert float(kernel_widths(torch.zeros(()))) == pytest.approx(math.sqrt(3) - 1, abs=1e-4)

    def test_the_narrowest_kernel_is_the_patch_itself(self) -> None:
        raw = torch.full((1, 1, 12, 2), -1e6, requires_grad=True)
        target_y, target_x = target_factors(kernel_widths(raw), 3, 4)
        target = (target_y[..., :, None] * target_x[..., None, :]).flatten(-2)
        assert torch.equal(target[0, 0], torch.eye(12))
        target.square().sum().backward()
        assert raw.grad is not None and bool(raw.grad.isfinite().all())


class TestTargetOnACpu:
    """In compiled code, beside the operations of PyTorch in float64."""

    @pytest.mark.parametrize("references", [1, 3])
    @pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (3, 5), (16, 16), (32, 20)])
    def test_is_what_the_equation_says_and_so_is_its_gradient(self, height: int, width: int, references: int) -> None:
        torch.manual_seed(0)
        raw = torch.randn(2, 3, height * width, 2)
        upstream = [torch.randn(2, 3, height * width, length) + 2 for length in (height, width * references)]

        def outcome(dtype: torch.dtype) -> list[Tensor]:
            leaf = raw.to(dtype, copy=True).requires_grad_()
            made = target_factors(kernel_widths(leaf), height, width, references)
            compiled = [part.grad_fn.name() for part in target_factors(leaf, height, width)] == ["_FactorBackward"] * 2  # type: ignore[union-attr]
            assert compiled == (dtype == torch.float32)
            made_of = sum((part * above).sum() for part, above in zip(made, upstream, strict=True))
            return [*made, *torch.autograd.grad(made_of, [leaf])]

        for ours, expected in zip(outcome(torch.float32), outcome(torch.float64), strict=True):
            torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("fault", [math.nan, -math.nan, math.inf])
    def test_a_width_that_is_not_finite_is_seen(self, fault: float) -> None:
        widths = torch.full((1, 1, 6, 2), 0.5)
        widths[0, 0, 2, 0] = fault
        over_y, over_x = target_factors(widths, 2, 3)
        assert over_y.isnan().any(-1)[0, 0].nonzero().tolist() == [[2]] and bool(over_x.isfinite().all())

    @pytest.mark.parametrize("fault", [math.nan, math.inf])
    def test_a_gradient_that_is_not_finite_is_handed_on(self, fault: float) -> None:
        widths = torch.full((1, 1, 6, 2), 0.5, requires_grad=True)
        over_y, _ = target_factors(widths, 2, 3)
        upstream = torch.ones_like(over_y)
        upstream[0, 0, 2, 1] = fault
        (gradient,) = torch.autograd.grad(over_y, [widths], upstream)
        assert (~gradient.isfinite()).nonzero().tolist() == [[0, 0, 2, 0]]

    def test_other_numbers_than_float32_are_left_to_pytorch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FOD_BENCH_CORRELATION", "numba")
        widths = torch.full((1, 1, 6, 2), 0.5, dtype=torch.float64)
        assert [part.dtype for part in target_factors(widths, 2, 3)] == [torch.float64] * 2

    def test_the_variable_for_other_implementations_counts_here_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FOD_BENCH_CORRELATION", "tiled")
        widths = torch.full((1, 1, 6, 2), 0.5, requires_grad=True)
        made = [target_factors(widths, 2, 3), target_factors_plain(widths, 2, 3)]
        assert all(torch.equal(*parts) for parts in zip(*made, strict=True))
        assert [part.grad_fn.name() for part in made[0]] == ["SoftmaxBackward0"] * 2  # type: ignore[union-attr]


def _factors(widths: Tensor, *references: int) -> list[tuple[Tensor, Tensor]]:
    return [target_factors(widths, 3, 4, count) for count in references]
