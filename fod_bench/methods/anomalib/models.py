"""The models of anomalib that run here, each with the arguments of anomalib's that a job can set. Does not import anomalib.

A model needs no weights beside those of its timm backbone and no data beside the training images. docs/anomalib.md tells which
others there are, and why they do not run. Defaults are anomalib's own; epochs are those of its published configurations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from fod_bench.errors import JobError
from fod_bench.methods.anomalib.package import INSTALL, installed
from fod_bench.methods.anomalib.settings import AnomalibSettings, OnBackbone, Trained, defaults
from fod_bench.methods.settings import MethodSettings
from fod_bench.records.record import Counts
from fod_bench.schema.fields import NonNegativeNumber, PositiveNumber, PositiveWholeNumber, Switch, WholeNumber
from fod_bench.schema.problems import Problem, unknown

_RESNETS = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnext50_32x4d", "resnext101_32x8d", "wide_resnet50_2", "wide_resnet101_2"),
)
_N_FEATURES = {"resnet18": 100, "wide_resnet50_2": 550}


@defaults(method="anomalib/padim", backbone="resnet18", levels=(4, 8, 16))
class Padim(OnBackbone):
    """PaDiM as anomalib has it."""

    model: ClassVar[str] = "Padim"
    summary: ClassVar[str] = "a Gaussian of the features at every position"
    source: ClassVar[str] = "Defard et al., PaDiM, ICPR 2020"

    n_features: PositiveWholeNumber | Literal["auto", "all"] = "auto"
    """Channels kept, drawn by the trial's seed, or `all`; `auto` is anomalib's number, 100 for resnet18 and 550 for
    wide_resnet50_2."""

    @classmethod
    def least(cls, setting: dict[str, Any]) -> int:
        return 2

    @property
    def kept(self) -> int | None:
        """Channels kept; None where they cannot be told."""
        if self.n_features == "auto":
            return _N_FEATURES.get(self.backbone.partition(".")[0])
        return self.channels if self.n_features == "all" else self.n_features

    def contradictions(self) -> Iterator[Problem]:
        yield from super().contradictions()
        if self.kept is None:
            known = " and ".join(_N_FEATURES)
            text = f"anomalib has a number for {known} alone, not for {self.backbone}; give one, or `all`"
            yield Problem(("n_features",), text)
        elif self.kept > self.channels:
            text = f"{self.kept} cannot be kept of {self.channels}; take at most that, or `all`"
            yield Problem(("n_features",), text)

    def training(self) -> dict[str, Any]:
        return super().training() | {"n_features": self.kept}


@defaults(method="anomalib/patchcore", backbone="wide_resnet50_2", levels=(8, 16))
class Patchcore(OnBackbone):
    """PatchCore as anomalib has it."""

    model: ClassVar[str] = "Patchcore"
    summary: ClassVar[str] = "distance of a patch to the nearest of a memory of normal ones, a greedy coreset"
    source: ClassVar[str] = "Roth et al., Towards Total Recall in Industrial Anomaly Detection, CVPR 2022"

    coreset_sampling_ratio: PositiveNumber = 0.1
    """Share of all training patches that the memory keeps, at most 1."""
    num_neighbors: PositiveWholeNumber = 9
    """Memory rows around the nearest by which an image's score is weighted; 1 has no weight."""

    def contradictions(self) -> Iterator[Problem]:
        yield from super().contradictions()
        if self.coreset_sampling_ratio > 1:
            yield Problem(("coreset_sampling_ratio",), "should be above 0 and at most 1")

    def too_small(self, counts: Counts) -> str | None:
        patches = counts.train * (self.image_size // min(self.levels)) ** 2
        if int(patches * self.coreset_sampling_ratio):
            return None
        return f"a share of {self.coreset_sampling_ratio} of {patches} patches is not one; take a larger `coreset_sampling_ratio`"


@defaults(method="anomalib/mh_patchcore", backbone="wide_resnet50_2", levels=(8, 16))
class MhPatchcore(OnBackbone):
    """PatchCore with distances by Mahalanobis, as anomalib has it."""

    model: ClassVar[str] = "MHPatchcore"
    passes: ClassVar[int] = 3
    summary: ClassVar[str] = (
        "distance to a memory of normal patches after a PCA and whitening, kept as images stream by"
    )

    pca_variance_ratio: PositiveNumber = 0.99
    """Share of the variance that the PCA keeps, at most 1."""
    covariance_shrinkage: NonNegativeNumber = 0.07
    """Weight of the diagonal in the covariance, at most 1."""
    memory_bank_size: PositiveWholeNumber = 1000
    """Patches that the memory keeps at most."""
    local_coreset_size: PositiveWholeNumber = 256
    """Patches that are kept of a batch."""
    num_neighbors: PositiveWholeNumber = 9
    """Memory rows around the nearest by which an image's score is weighted; 1 has no weight."""

    def contradictions(self) -> Iterator[Problem]:
        yield from super().contradictions()
        for key in ("pca_variance_ratio", "covariance_shrinkage"):
            if getattr(self, key) > 1:
                yield Problem((key,), "should be at most 1")


@defaults(method="anomalib/dfkde", backbone="resnet18", levels=(32,))
class Dfkde(OnBackbone):
    """DFKDE."""

    model: ClassVar[str] = "Dfkde"
    scores_maps: ClassVar[bool] = False
    summary: ClassVar[str] = "a kernel density of an image's mean features after a PCA; it gives no map"

    n_pca_components: PositiveWholeNumber = 16
    """Components that are kept, fewer than training images."""
    feature_scaling_method: Literal["scale", "norm"] = "scale"
    """`scale` divides by the longest training vector, `norm` makes every vector of length 1."""
    max_training_points: PositiveWholeNumber = 40000
    """Training vectors that are kept, at random."""

    @classmethod
    def least(cls, setting: dict[str, Any]) -> int:
        return int(setting["n_pca_components"]) + 1

    def contradictions(self) -> Iterator[Problem]:
        yield from super().contradictions()
        if len(self.levels) != 1:
            yield Problem(("levels",), f"{self.method} takes one level, not {len(self.levels)}")


class _Pooled(OnBackbone):
    """A model that averages the features of one level over squares."""

    levels_argument: ClassVar[str] = "layer"

    pooling_kernel_size: PositiveWholeNumber = 4
    """Side of the squares over which features are averaged, in positions of the level."""

    @property
    def side(self) -> int:
        """Of the grid of means."""
        return self.image_size // self.levels[0] // self.pooling_kernel_size

    def contradictions(self) -> Iterator[Problem]:
        yield from super().contradictions()
        if not self.side:
            text = (
                f"{self.pooling_kernel_size} is more than the {self.image_size // self.levels[0]} positions of a side"
            )
            yield Problem(("pooling_kernel_size",), text)


@defaults(method="anomalib/dfm", backbone="resnet50", levels=(16,))
class Dfm(_Pooled):
    """DFM."""

    model: ClassVar[str] = "Dfm"
    summary: ClassVar[str] = "error of the features' reconstruction from their principal components"
    source: ClassVar[str] = "Ahuja et al., Probabilistic Modeling of Deep Features, 2019"

    pca_level: PositiveNumber = 0.97
    """Share of the variance that the components keep, or above 1 how many there are."""

    @classmethod
    def least(cls, setting: dict[str, Any]) -> int:
        return 2


@defaults(method="anomalib/fre", backbone="resnet50", levels=(16,), pooling_kernel_size=2, epochs=6)
class Fre(Trained, _Pooled):
    """FRE."""

    model: ClassVar[str] = "Fre"
    summary: ClassVar[str] = "error of the features' reconstruction by a linear autoencoder"
    source: ClassVar[str] = "Ndiour et al., FRE: A Fast Method For Anomaly Detection And Segmentation, 2022"

    latent_dim: PositiveWholeNumber = 220
    """Numbers that the autoencoder squeezes an image's features to."""

    def training(self) -> dict[str, Any]:
        return super().training() | {"input_dim": self.channels * self.side**2}

    @classmethod
    def arguments(cls, setting: dict[str, Any]) -> dict[str, Any]:
        return super().arguments(setting) | {"input_dim": setting["input_dim"]}


@defaults(method="anomalib/stfpm", backbone="resnet18", levels=(4, 8, 16), epochs=100)
class Stfpm(Trained, OnBackbone):
    """STFPM."""

    model: ClassVar[str] = "Stfpm"
    summary: ClassVar[str] = "a student of the backbone's own shape imitates its features"
    source: ClassVar[str] = "Wang et al., Student-Teacher Feature Pyramid Matching, BMVC 2021"


@defaults(method="anomalib/reverse_distillation", backbone="wide_resnet50_2", levels=(4, 8, 16), epochs=200)
class ReverseDistillation(Trained, OnBackbone):
    """Reverse distillation."""

    model: ClassVar[str] = "ReverseDistillation"
    backbones: ClassVar[tuple[str, ...]] = _RESNETS
    fixed_levels: ClassVar[tuple[int, ...]] = (4, 8, 16)
    summary: ClassVar[str] = "a decoder gives the backbone's features back from a bottleneck"
    source: ClassVar[str] = "Deng and Li, Anomaly Detection via Reverse Distillation, CVPR 2022"

    anomaly_map_mode: Literal["add", "multiply"] = "add"
    """How the levels' maps become one."""


@defaults(method="anomalib/fastflow", backbone="resnet18", levels=(4, 8, 16), epochs=500)
class Fastflow(Trained, OnBackbone):
    """FastFlow."""

    model: ClassVar[str] = "Fastflow"
    backbones: ClassVar[tuple[str, ...]] = ("resnet18", "wide_resnet50_2")
    fixed_levels: ClassVar[tuple[int, ...]] = (4, 8, 16)
    levels_argument: ClassVar[str] = ""
    summary: ClassVar[str] = "a normalising flow of convolutions per level"
    source: ClassVar[str] = "Yu et al., FastFlow, 2021"

    flow_steps: PositiveWholeNumber = 8
    """Coupling blocks per level."""
    conv3x3_only: Switch = False
    """Whether all convolutions are 3×3; otherwise every other one is 1×1."""
    hidden_ratio: PositiveNumber = 1.0
    """Width of a block's hidden layer, by its input's."""


@defaults(method="anomalib/cflow", backbone="wide_resnet50_2", levels=(8, 16, 32), epochs=50)
class Cflow(Trained, OnBackbone):
    """CFLOW as anomalib has it."""

    model: ClassVar[str] = "Cflow"
    scores_together: ClassVar[bool] = True
    summary: ClassVar[str] = "a normalising flow per level, told the position"
    source: ClassVar[str] = "Gudovskiy et al., CFLOW-AD, WACV 2022"

    fiber_batch_size: PositiveWholeNumber = 64
    """Feature vectors per gradient step."""
    condition_vector: PositiveWholeNumber = 128
    """Numbers that tell the position, a multiple of 4."""
    coupling_blocks: PositiveWholeNumber = 8
    """Coupling blocks per level."""
    clamp_alpha: PositiveNumber = 1.9
    """Bound of a block's logarithmic scale."""
    permute_soft: Switch = False
    """Whether blocks are joined by random rotations, or by permutations."""
    lr: PositiveNumber = 1e-4
    """Learning rate of Adam."""

    def too_small(self, counts: Counts) -> str | None:
        last, coarsest = (counts.train - 1) % self.batch_size + 1, max(self.levels)
        there = last * (self.image_size // coarsest) ** 2
        if there >= self.fiber_batch_size:
            return super().too_small(counts)
        return (
            f"the last batch of an epoch has {last} images, which give {there} feature vectors of level {coarsest}, fewer than "
            f"`fiber_batch_size` {self.fiber_batch_size}; choose another `batch_size`"
        )


@defaults(method="anomalib/uflow", backbone="wide_resnet50_2", levels=(4, 8, 16), epochs=200)
class Uflow(Trained, OnBackbone):
    """U-Flow."""

    model: ClassVar[str] = "Uflow"
    backbones: ClassVar[tuple[str, ...]] = ("resnet18", "wide_resnet50_2")
    fixed_levels: ClassVar[tuple[int, ...]] = (4, 8, 16)
    levels_argument: ClassVar[str] = ""
    summary: ClassVar[str] = "one normalising flow over all levels, in the form of a U"
    source: ClassVar[str] = "Tailanian et al., U-Flow, 2022"

    flow_steps: PositiveWholeNumber = 4
    """Coupling blocks per level."""
    affine_clamp: PositiveNumber = 2.0
    """Bound of a block's logarithmic scale."""
    affine_subnet_channels_ratio: PositiveNumber = 1.0
    """Width of a block's hidden layer, by its input's."""
    permute_soft: Switch = False
    """Whether blocks are joined by random rotations, or by permutations."""


@defaults(method="anomalib/patchflow", backbone="tf_efficientnet_b5", levels=(8, 16, 32), epochs=200)
class Patchflow(Trained, OnBackbone):
    """PatchFlow."""

    model: ClassVar[str] = "Patchflow"
    fixed_levels: ClassVar[tuple[int, ...]] = (8, 16, 32)
    levels_argument: ClassVar[str] = ""
    summary: ClassVar[str] = "one normalising flow over the features of an image in several sizes"

    flow_steps: PositiveWholeNumber = 1
    """Coupling blocks."""
    flow_feature_dim: PositiveWholeNumber = 128
    """Channels that the features are brought to."""
    num_scales: PositiveWholeNumber = 3
    """Sizes of an image, each half of the one before."""
    patch_size: PositiveWholeNumber = 3
    """Side of the neighbourhood over which features are averaged, odd."""
    flow_hidden_dim: PositiveWholeNumber = 128
    """Width of a block's hidden layer."""
    lr: PositiveNumber = 1e-3
    """Learning rate of Adam."""
    weight_decay: NonNegativeNumber = 1e-4
    """Weight decay of Adam."""


@defaults(method="anomalib/supersimplenet", backbone="wide_resnet50_2.tv_in1k", levels=(8, 16), epochs=300)
class Supersimplenet(Trained, OnBackbone):
    """SuperSimpleNet, unsupervised."""

    model: ClassVar[str] = "Supersimplenet"
    summary: ClassVar[str] = "two small networks tell features from features with noise in places"
    source: ClassVar[str] = "Rolih et al., SuperSimpleNet, ICPR 2024"

    perlin_threshold: NonNegativeNumber = 0.2
    """Where the drawn noise is above it, features become anomalous."""
    adapt_cls_features: Switch = False
    """Whether the image's score is taken of adapted features."""

    def contradictions(self) -> Iterator[Problem]:
        yield from super().contradictions()
        if self.image_size // self.levels[0] <= 8:
            least = 9 * self.levels[0]
            yield Problem(
                ("image_size",), f"anomalib draws its noise on 18×18 positions at least; take {least} pixels or more"
            )


@defaults(method="anomalib/glass", backbone="wide_resnet50_2", levels=(8, 16), epochs=100)
class Glass(Trained, OnBackbone):
    """GLASS, without a folder of textures."""

    model: ClassVar[str] = "Glass"
    summary: ClassVar[str] = "a small network tells features from anomalies made by gradient ascent and by drawn noise"
    source: ClassVar[str] = "Chen et al., GLASS, ECCV 2024"

    pretrain_embed_dim: PositiveWholeNumber = 1536
    """Numbers of a patch per level."""
    target_embed_dim: PositiveWholeNumber = 1536
    """Numbers of a patch."""
    discriminator_layers: PositiveWholeNumber = 2
    """Layers of the discriminator."""
    discriminator_hidden: PositiveWholeNumber = 1024
    """Its width."""
    step: PositiveWholeNumber = 20
    """Steps of gradient ascent."""
    svd: WholeNumber = 0
    """1 takes features for a hypersphere, 0 for a manifold."""
    gaussian_noise_std: PositiveNumber = 0.015
    """Standard deviation of the noise that ascent begins with."""
    learning_rate: PositiveNumber = 1e-4
    """Learning rate."""

    @classmethod
    def arguments(cls, setting: dict[str, Any]) -> dict[str, Any]:
        return super().arguments(setting) | {"input_shape": (setting["image_size"],) * 2}


@defaults(method="anomalib/ganomaly", epochs=100)
class Ganomaly(Trained):
    """GANomaly."""

    model: ClassVar[str] = "Ganomaly"
    losses: ClassVar[tuple[str, ...]] = ("generator_loss", "discriminator_loss")
    scores_maps: ClassVar[bool] = False
    summary: ClassVar[str] = "difference of the codes of an image and its reconstruction; it gives no map"
    source: ClassVar[str] = "Akcay et al., GANomaly, ACCV 2018"

    n_features: PositiveWholeNumber = 64
    """Channels of the first layer."""
    latent_vec_size: PositiveWholeNumber = 100
    """Numbers of a code."""
    wadv: WholeNumber = 1
    """Weight of the adversarial loss."""
    wcon: WholeNumber = 50
    """Weight of the reconstruction."""
    wenc: WholeNumber = 1
    """Weight of the codes' difference."""
    lr: PositiveNumber = 2e-4
    """Learning rate of Adam."""

    @classmethod
    def arguments(cls, setting: dict[str, Any]) -> dict[str, Any]:
        return super().arguments(setting) | {"batch_size": setting["batch_size"]}


_KINDS: tuple[type[AnomalibSettings], ...] = (
    *(Padim, Patchcore, MhPatchcore, Dfkde, Dfm, Fre, Stfpm, ReverseDistillation),
    *(Fastflow, Cflow, Uflow, Patchflow, Supersimplenet, Glass, Ganomaly),
)
MODELS: dict[str, type[AnomalibSettings]] = {str(kind.model_fields["method"].default): kind for kind in _KINDS}
"""By the name in a job, `anomalib/<model>`."""


def settings_of(name: str) -> type[MethodSettings]:
    """The settings of `anomalib/<model>`. Raises `JobError` for a model that is not offered."""
    if name not in MODELS:
        raise JobError(f"{unknown('model of anomalib', name, MODELS)} (docs/anomalib.md tells why others do not run)")
    return MODELS[name]


def names() -> list[str]:
    """Every `anomalib/<model>`."""
    return list(MODELS)


def about() -> str:
    """The library with its version, or how to get it."""
    found = installed()
    return f"anomalib {found}" if found is not None else f"not installed: {INSTALL}"
