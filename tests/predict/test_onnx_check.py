"""The check of an ONNX file against torch, on files that give what they should not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fod_bench.errors import TrialError
from fod_bench.predict.onnx import Check, largest_difference

SIZE = 4


def check(scores: list[float], maps: list[float]) -> Check:
    """Of images whose maps have one value each."""
    values = np.stack([np.full((SIZE, SIZE), value, np.float32) for value in maps])
    return Check(np.zeros((len(scores), SIZE, SIZE, 3), np.uint8), np.array(scores), values)


def constant_model(path: Path, score: float, value: float) -> Path:
    """A file that gives these for every image, whatever it is."""
    pixels = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", SIZE, SIZE, 3])
    score_out = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"])
    map_out = helper.make_tensor_value_info("map", TensorProto.FLOAT, ["n", SIZE, SIZE])
    numbers = [helper.make_tensor(name, TensorProto.FLOAT, [1], [one]) for name, one in (("s", score), ("m", value))]
    numbers.append(helper.make_tensor("shape", TensorProto.INT64, [2], [SIZE, SIZE]))
    nodes = [
        helper.make_node("Shape", ["images"], ["count"], start=0, end=1),
        helper.make_node("Concat", ["count", "shape"], ["whole"], axis=0),
        helper.make_node("Expand", ["s", "count"], ["score"]),
        helper.make_node("Expand", ["m", "whole"], ["map"]),
    ]
    graph = helper.make_graph(nodes, "constant", [pixels], [score_out, map_out], numbers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save_model(model, str(path))
    return path


def test_the_difference_is_the_largest_share_of_scores_and_maps_of_every_check(tmp_path: Path) -> None:
    good, poor = check([1.0, 1.0], [4.0, 4.0]), check([2.0, 1.0], [4.0, 5.0])
    path = constant_model(tmp_path / "m.onnx", 1.0, 4.0)
    assert largest_difference(path, [good]) == 0
    assert largest_difference(path, [good, poor]) == largest_difference(path, [poor, good]) == pytest.approx(1 / 2)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("output", ["score", "map"])
def test_what_is_not_finite_is_refused_wherever_it_is(broken: float, output: str, tmp_path: Path) -> None:
    score, value = (broken, 1.0) if output == "score" else (1.0, broken)
    path = constant_model(tmp_path / "m.onnx", score, value)
    with pytest.raises(TrialError, match="not finite"):
        largest_difference(path, [check([1.0, 1.0], [1.0, 1.0])])
