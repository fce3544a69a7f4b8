"""One trial for a notebook: what it is, its curves, the maps of its test images."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fod_bench.errors import FodBenchError, UsageError
from fod_bench.evaluation.measures import MEASURES
from fod_bench.features.truth import TruthSet, load_truth
from fod_bench.predict.drawing import coloured, overlay, png, relative
from fod_bench.predict.figures.choose import TrialMaps
from fod_bench.predict.find import FoundTrial, find_trial
from fod_bench.predict.load import predictor_of
from fod_bench.predict.predictor import Predictor
from fod_bench.records.curves import read_curves
from fod_bench.records.record import Record
from fod_bench.records.scores import EPOCHS, load_scores
from fod_bench.report.words import nearest
from fod_bench.store import DEFAULT_STORE, Store, store_to_read
from fod_bench.trials.scores import as_tensors, scorings

if TYPE_CHECKING:
    import pandas

_HEIGHT = 180
"""Pixels of an image that a notebook shows."""
_LEFT = "<{0} style='text-align:left'>{1}</{0}>"


@dataclass(frozen=True, eq=False)
class ScoreMap:
    """The map of one test image."""

    name: str
    """Of the image, below its category's folder."""
    label: int
    """0 for a normal image, 1 for a defective one."""
    score: float
    map: NDArray[np.float32]
    """(s, s), larger is more anomalous."""
    truth: NDArray[np.uint8] | None
    """(s, s), 1 for a defective pixel; None where it is not known."""
    scale: tuple[float, float]
    """Of drawings, the same for all test images: see `NormalScores.scale`."""
    image: Image.Image | None
    """As the detector sees it; None where the data set is not here."""

    def panels(self) -> dict[str, Image.Image]:
        """Image, truth and map as images, as far as they are known; the map over the image where there is one."""
        found = {} if self.image is None else {"image": self.image}
        if self.truth is not None:
            found["truth"] = Image.fromarray(self.truth * np.uint8(255)).convert("RGB")
        if self.image is None:
            drawn = np.round(coloured(relative(self.map, self.scale))).astype(np.uint8)
            return found | {"map": Image.fromarray(drawn)}
        return found | {"map": overlay(self.image, self.map, self.scale)}

    def plot(self, axes: Sequence[Any] | None = None) -> Any:
        """Draw them beside each other with matplotlib; the axes are returned."""
        panels = self.panels()
        if axes is None:
            import matplotlib.pyplot as plt

            figure, areas = plt.subplots(1, len(panels), squeeze=False, figsize=(2.5 * len(panels), 2.8))
            figure.suptitle(self._said(), fontsize="small")
            axes = list(areas[0])
        for area, (what, panel) in zip(axes, panels.items(), strict=True):
            area.imshow(np.asarray(panel))
            area.set_title(what, fontsize="small")
            area.set_axis_off()
        return axes

    def _repr_html_(self) -> str:
        said = html.escape(self._said())
        shown = "".join(
            f'<img height="{_HEIGHT}" style="margin:2px" alt="{what} of {html.escape(self.name)}" '
            f'src="data:image/png;base64,{base64.b64encode(png(panel)).decode()}">'
            for what, panel in self.panels().items()
        )
        return f"<figure>{shown}<figcaption>{said}</figcaption></figure>"

    def _said(self) -> str:
        return f"{self.name}: {'defective' if self.label else 'normal'}, score {self.score:.4g}"


class TestMaps(Sequence[ScoreMap]):
    """The maps of all test images of a trial, made when they are asked for; by number, or by the end of an image's name."""

    __test__ = False  # for pytest it is no test

    def __init__(self, found: FoundTrial, epoch: str) -> None:
        """Raises `FodBenchError` where no scores were kept of the epoch, or what they belong to is gone."""
        if epoch not in EPOCHS:
            raise UsageError(f"no epoch {epoch!r}: scores are kept of {', '.join(EPOCHS)}")
        record, store = found.record, found.store
        kept = load_scores(store, record, epoch)
        if kept is None or "truth" not in record.sets:
            raise FodBenchError(
                f"{found.name} keeps no scores of its test images at epoch {epoch} (`keep_scores` in its job); "
                "load_detector scores images by its weights"
            )
        scored = next(scorings(record, as_tensors(kept), found.cell.score))
        self._maps, self._scores = scored.pixels.float().numpy(), scored.images.double().numpy()
        self._truth: TruthSet = load_truth(store, record.sets["truth"])
        self._shown = TrialMaps(found)

    @property
    def names(self) -> list[str]:
        """Of the test images, in order."""
        return list(self._truth.about["images"])

    @cached_property
    def _masks(self) -> dict[int, NDArray[np.uint8]]:
        truth = self._truth.truth
        known = np.arange(len(truth.labels)) if truth.masked is None else np.flatnonzero(truth.masked)
        return dict(zip(known.tolist(), truth.masks, strict=True))

    @cached_property
    def _scale(self) -> tuple[float, float]:
        labels = self._truth.truth.labels
        return self._shown.scale_of(self._maps, self._scores, np.flatnonzero(labels == 0).tolist())

    def __len__(self) -> int:
        return len(self._maps)

    @overload
    def __getitem__(self, which: int | str) -> ScoreMap: ...
    @overload
    def __getitem__(self, which: slice) -> list[ScoreMap]: ...
    def __getitem__(self, which: int | str | slice) -> ScoreMap | list[ScoreMap]:
        if isinstance(which, slice):
            return [self._one(number) for number in range(len(self))[which]]
        return self._one(self._number(which) if isinstance(which, str) else range(len(self))[which])

    def __iter__(self) -> Iterator[ScoreMap]:
        return map(self._one, range(len(self)))

    def _number(self, name: str) -> int:
        found = [number for number, one in enumerate(self.names) if f"/{one}".endswith(f"/{name.strip('/')}")]
        if len(found) != 1:
            told = (
                f"{len(found)} test images are called so; write more of the path"
                if found
                else nearest(name, self.names)
            )
            raise UsageError(f"no test image {name!r}: {told}")
        return found[0]

    def _one(self, number: int) -> ScoreMap:
        try:
            image = self._shown.square(number)
        except FodBenchError:  # the data set is not here
            image = None
        label, score = int(self._truth.truth.labels[number]), float(self._scores[number])
        return ScoreMap(
            self.names[number], label, score, self._maps[number], self._masks.get(number), self._scale, image
        )

    def _repr_html_(self) -> str:
        """The highest scores of normal images and the lowest of defective ones, which a threshold finds hardest."""
        labels = self._truth.truth.labels
        order = np.argsort(self._scores)
        defective = [number for number in order.tolist() if labels[number]][:3]
        normal = [number for number in order.tolist()[::-1] if not labels[number]][:3]
        shown = "".join(self._one(number)._repr_html_() for number in (*normal, *defective))
        return f"<p>{len(self)} test images; the highest normal and the lowest defective ones:</p>{shown}"


class StoredTrial:
    """A finished trial; made by `load_trial`."""

    def __init__(self, found: FoundTrial) -> None:
        self._found = found

    @property
    def name(self) -> str:
        """`row/dataset/category`."""
        return self._found.name

    @property
    def record(self) -> Record:
        """All that is kept of its outcome."""
        return self._found.record

    @property
    def score_name(self) -> str:
        """The scoring of its row."""
        return self._found.cell.score

    def metrics(self) -> pandas.DataFrame:
        """A line for each metric: `best` on the test data with its epoch, `last` with its."""
        import pandas

        values = self.record.selected[self.score_name]
        columns = ["best", "best_epoch", "last", "last_epoch"]
        return pandas.DataFrame.from_dict(values, orient="index", columns=columns).rename_axis("metric")

    def curves(self) -> pandas.DataFrame:
        """A line for each epoch: mean losses, and the metrics of the row's scoring where the epoch was evaluated.

        Raises `FodBenchError` where its curves are gone.
        """
        import pandas

        curves = read_curves(self._found.store, self.record)
        if curves is None:
            return pandas.DataFrame(index=pandas.RangeIndex(1, self.record.epochs + 1, name="epoch"))
        epochs = pandas.RangeIndex(1, self.record.epochs + 1, name="epoch")
        losses = pandas.DataFrame(curves.losses, index=epochs)
        metrics = pandas.DataFrame(
            curves.metrics.get(self.score_name, {}), index=pandas.Index(curves.evaluated, name="epoch"), dtype=float
        )
        return losses.join(metrics)

    def score_maps(self, epoch: str = "last") -> TestMaps:
        """The maps of its test images at an epoch that was kept. Raises `FodBenchError` where none were."""
        return TestMaps(self._found, epoch)

    def detector(self, epoch: str = "last") -> Predictor:
        """What scores new images, see `fod_bench.load_detector`. Raises as that does."""
        return predictor_of(self._found, torch.device("cuda" if torch.cuda.is_available() else "cpu"), epoch)

    def plot(self, axes: Any = None) -> Any:
        """Draw image and pixel AUROC of every evaluated epoch with matplotlib; the axes are returned."""
        curves = self.curves()
        if axes is None:
            import matplotlib.pyplot as plt

            _, axes = plt.subplots()
        for metric in ("image_auroc", "pixel_auroc"):
            if metric in curves and curves[metric].notna().any():
                values = curves[metric].dropna()
                axes.plot(values.index, values, marker="o", markersize=3, label=MEASURES[metric].title)
        axes.set_xlabel("epochs")
        axes.set_title(f"{self.name}, {self.score_name}", fontsize="small")
        axes.legend(frameon=False)
        return axes

    def _repr_html_(self) -> str:
        record = self.record
        facts = {
            "method": record.method,
            "setting": ", ".join(f"{key}={value}" for key, value in record.setting.items() if key != "method"),
            "images": f"{record.counts.train} to train on, {record.counts.test_good} good and {record.counts.test_defect} "
            "defective to test on",
            "seed": record.seed,
            "epochs": record.epochs,
            "training": f"{record.run.train_seconds:.1f} s on {record.run.device}, finished {record.run.finished}",
            "key": record.key,
        }
        lines = "".join(
            f"<tr>{_LEFT.format('th', html.escape(name))}{_LEFT.format('td', html.escape(str(value)))}</tr>"
            for name, value in facts.items()
        )
        title = html.escape(f"{self.name}, {self.score_name}")
        return f"<p><b>{title}</b></p><table>{lines}</table>{self.metrics().round(4).to_html()}"


def load_trial(
    name: str, store: str | Path | Store = DEFAULT_STORE, *, seed: int | None = None, run: str | None = None
) -> StoredTrial:
    """A finished trial by `row/dataset/category`.

    Args:
        seed: needed where the row was trained with several.
        run: id of a run, needed where several have different trials of that name.

    Raises:
        UsageError: there is no such trial, or several; the message names those there are.
        FodBenchError: it has no record.
    """
    opened = store_to_read(store)
    return StoredTrial(find_trial(opened, name, run, seed))
