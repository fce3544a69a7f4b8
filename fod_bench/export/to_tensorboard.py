"""To TensorBoard: a folder of event files, one per training, with its parameters for the HParams page. Needs no TensorFlow."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2, summary_v2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from fod_bench.errors import FodBenchError
from fod_bench.export.exported import ExportedRun
from fod_bench.export.target import Written, allowed, check_folder

MARK = "fod-bench.txt"
"""File beside the events: the digest of what they were written from."""
_UNFINISHED = ".unfinished-"


def export(runs: Iterable[ExportedRun], to: str, group: str) -> Written:
    """See `Target`; `to` is a folder, in which `group` is one."""
    top = check_folder(to) / allowed(group, r"\w.+@=-", {})
    written = Written()
    try:
        for left in top.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left)
        for run in runs:
            folder = top.joinpath(*(allowed(name, r"\w.+@=-", {}).lstrip(".") or "_" for name in run.folder))
            if _digest(folder) == run.digest:
                written.kept += 1
                continue
            made = _write(top / f"{_UNFINISHED}{secrets.token_hex(8)}", run)
            replaced = folder.exists()
            if replaced:
                shutil.rmtree(folder)
            folder.parent.mkdir(parents=True, exist_ok=True)
            made.rename(folder)
            written.replaced += replaced
            written.new += not replaced
    except OSError as error:
        raise FodBenchError(f"--to {to}: cannot write event files: {error.strerror or error}") from error
    return written


def _digest(folder: Path) -> str | None:
    try:
        return (folder / MARK).read_text().strip()
    except OSError:
        return None


def _write(folder: Path, run: ExportedRun) -> Path:
    writer = EventFileWriter(str(folder))
    for event in _events(run):
        writer.add_event(event)
    writer.close()
    (folder / MARK).write_text(f"{run.digest}\n")
    return folder


def _events(run: ExportedRun) -> Iterator[Event]:
    parameters = summary_v2.hparams_pb(dict(run.parameters), trial_id=run.key, start_time_secs=run.started)
    yield Event(wall_time=run.started, summary=parameters)
    for epoch, values in run.by_epoch().items():
        yield Event(wall_time=run.time_of(epoch), step=epoch, summary=_scalars(values))
    yield Event(wall_time=run.finished, step=0, summary=_scalars(dict(run.values)))
    yield Event(wall_time=run.finished, summary=_ended(run.finished))


def _ended(at: float) -> Summary:
    """By which the HParams page knows that a run is over; TensorBoard's own function for it wants TensorFlow."""
    session = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=at)
    about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=session))
    value = Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=about, tensor=metadata.NULL_TENSOR)
    return Summary(value=[value])


def _scalars(values: dict[str, float]) -> Summary:
    return Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
