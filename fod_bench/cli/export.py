"""`fod-bench export`: results and detectors in the forms of other programs."""

from __future__ import annotations

from fod_bench.cli.export_onnx import onnx
from fod_bench.cli.typer_app import App

app = App(help="Write results and detectors in the forms of other programs.")

app.command(name="onnx")(onnx)
