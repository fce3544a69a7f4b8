"""A finished trial put to work on new images: scores, decisions, maps."""

from fod_bench.predict.load import load_detector
from fod_bench.predict.prediction import Prediction, Unreadable
from fod_bench.predict.predictor import Predictor

__all__ = ["Prediction", "Predictor", "Unreadable", "load_detector"]
