"""The real `fod-bench` command on tiny jobs, each in a folder and an environment of its own, with nothing left behind."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml

from fod_bench.machine.system import cores
from fod_bench.records.record import Record

LIMIT = 900.0
"""Seconds that a test waits for anything: more than a machine takes on whose two cores ten other processes are busy."""

TINY: dict[str, Any] = {
    "backbone": "resnet18",
    "weights": "random",
    "image_size": 64,
    "d_model": {8: 16, 16: 16},
    "heads": 2,
    "layers": 1,
    "learning_rate": 1e-3,
    "epochs": 2,
}
"""Settings of a training that takes a moment."""

LONG: dict[str, Any] = {"epochs": 80, "evaluate_every": 40}
"""What makes it one of some seconds, so that things happen to it, on a fast machine too."""

DRAWN: dict[str, Any] = {
    "layout": "synthetic",
    "categories": ["weave"],
    "synthetic": {"train": 6, "test_good": 3, "test_defect_per_type": 1, "size": 64},
}

T = TypeVar("T")
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_LIBC = ctypes.CDLL(None, use_errno=True)


class Finished(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


class Running:
    """A command under way; its output goes to files."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path, mark: str) -> None:
        self.process, self._out, self._err, self._mark = process, out, err, mark

    def signal(self, number: int, group: bool = True) -> float:
        """Send a signal to the command, or to its whole process group as a terminal does; the time it was sent."""
        sent = time.time()
        (os.killpg if group else os.kill)(self.process.pid, number)
        return sent

    def said(self) -> str:
        """What has come on standard error so far."""
        return self._err.read_text(errors="replace")

    def out(self) -> str:
        """What has come on standard output so far."""
        return self._out.read_text(errors="replace")

    def finished(self) -> Finished:
        """Wait for the end."""
        code = self.process.wait(LIMIT)
        return Finished(code, self._out.read_text(errors="replace"), self.said())

    def reaches(self, condition: Callable[[], T], what: str) -> T:
        """Poll until `condition` holds, which must be before the command ends, and return what it returned."""

        def held() -> T:
            ended = self.process.poll() is not None
            found = condition()
            assert found or not ended, f"the command ended with {self.process.returncode} before {what}: {self.said()}"
            return found

        return wait_for(held, what)

    def processes(self) -> dict[int, str]:
        """Living processes that descend from this command: id to command line."""
        return _marked(self._mark)

    def family(self) -> dict[int, str]:
        """The same and all that descend from them: Ray's agents overwrite their environment, and so their mark."""
        found, grown = self.processes(), True
        while grown:
            grown = False
            for process, (parent, command) in _all_processes().items():
                if parent in found and process not in found:
                    found[process], grown = command, True
        return found


class Bench:
    """A working folder in which commands run. Their processes are known by a mark in their environment."""

    def __init__(self, folder: Path, temporary: Path = Path("/tmp")) -> None:
        """`temporary`: where sockets, logs and caches lie, in a folder that `close` removes."""
        self.folder = folder
        self.mark = f"fod-bench-test-{uuid.uuid4().hex}"
        self._started = 0
        # Ray makes sockets below it, whose paths must be short: see `longest_place`.
        self._temporary = Path(tempfile.mkdtemp(prefix="fb", dir=temporary))
        (self._temporary / "r").mkdir()
        kept = {
            name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH", "PYTHONPATH") if name in os.environ
        }
        self.environment = kept | {
            "HOME": str(self._temporary / "home"),  # where Ray would find the user's token
            "RAY_TMPDIR": str(self._temporary / "r"),
            "XDG_CACHE_HOME": str(self._temporary / "cache"),
            "HF_HOME": str(self._temporary / "hub"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",  # see `conftest.py`
            "RAY_worker_niceness": "0",  # Ray's 15 leaves workers hardly a turn beside anything else on a busy machine
            "COLUMNS": "200",
        }

    def start(self, *arguments: str, **environment: str) -> Running:
        """Start `fod-bench ARGUMENTS` in a process group of its own."""
        return self.start_process(sys.executable, "-m", "fod_bench.cli.app", *arguments, **environment)

    def start_process(self, *command: str, **environment: str) -> Running:
        """Start any command that way."""
        self._started += 1
        mark = f"{self.mark}-{self._started:04d}"
        out, err = (self._temporary / f"{self._started}.{kind}" for kind in ("out", "err"))
        with out.open("wb") as out_file, err.open("wb") as err_file:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment | environment | {"FOD_BENCH_TEST_MARK": mark},
                stdin=subprocess.DEVNULL,
                stdout=out_file,
                stderr=err_file,
                start_new_session=True,
                preexec_fn=heed_interrupts,
            )
        return Running(process, out, err, mark)

    def run(self, *arguments: str, code: int = 0, **environment: str) -> Finished:
        """Run `fod-bench ARGUMENTS` to its end, which must be exit code `code`."""
        done = self.start(*arguments, **environment).finished()
        assert done.code == code, f"exit code {done.code}, not {code}\n{done.out}\n{done.err}"
        return done

    def job(self, name: str = "tiny", settings: dict[str, Any] | None = None, **keys: Any) -> str:
        """Write a job file and return its name."""
        content = {"name": name, "datasets": {"drawn": DRAWN}} | keys
        content["settings"] = TINY | (settings or {})
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        return f"{name}.yaml"

    def stored(self, pattern: str, store: str = "results/store") -> list[Path]:
        """Files of a store, by a glob pattern."""
        return sorted((self.folder / store).glob(pattern))

    def records(self, store: str = "results/store") -> dict[str, Record]:
        """Train key to record."""
        paths = self.stored("trials/*/record.json", store)
        return {path.parent.name: Record.model_validate_json(path.read_text()) for path in paths}

    def digests(self, store: str = "results/store") -> dict[str, str]:
        """Train key to the digest of its result."""
        return {key: record.result_digest() for key, record in self.records(store).items()}

    def ray_started(self) -> int:
        """Changes whenever a Ray of a run's own is started, which leaves nothing else."""
        return Path(self.environment["RAY_TMPDIR"]).stat().st_mtime_ns

    def processes(self) -> dict[int, str]:
        """All that descend from any command of this folder, a cluster's too: id to command line."""
        return _marked(self.mark)

    def own_rays(self) -> list[Path]:
        """Folders of the Rays that runs have started."""
        return sorted(Path(self.environment["RAY_TMPDIR"]).glob("fod-*"))

    def cluster(self, cpus: int) -> str:
        """Start a Ray cluster of one node, as somebody else would, which asks for the user's token; its address."""
        token = Path(self.environment["HOME"]) / ".ray/auth_token"
        token.parent.mkdir(parents=True, exist_ok=True)
        token.write_text(uuid.uuid4().hex * 2)
        ray = str(Path(sys.executable).with_name("ray"))
        options = ["--head", "--port=0", f"--num-cpus={cpus}", "--include-dashboard=false", "--disable-usage-stats"]
        done = self.start_process(ray, "start", *options).finished()
        assert done.code == 0, done.err
        return (self._temporary / "r" / "ray" / "ray_current_cluster").read_text().strip()

    def close(self) -> None:
        """End whatever is left and remove it."""

        def kill_all() -> bool:
            left = _marked(self.mark)
            for process in left:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            return not left

        wait_for(kill_all, "the processes to end")
        shutil.rmtree(self._temporary, ignore_errors=True)


@contextmanager
def one_core() -> Iterator[None]:
    """What this thread starts while the block lasts may use one core only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def heed_interrupts() -> None:
    """A shell that runs the tests in the background has them ignore interrupts, and what they start inherits that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def die_with_parent() -> Callable[[], None]:
    """What a child does before anything else, so that it is killed when this process ends, however that comes about."""
    parent = os.getpid()

    def ask() -> None:
        _LIBC.prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return ask


def promised(seconds: float) -> float:
    """Seconds in which this machine has to do what a machine that is not busy is promised to do within `seconds`.

    Processes share the cores, so everything takes as many times longer as there are processes to a core that want to run.
    """
    average, _, _, running, _ = Path("/proc/loadavg").read_text().split()
    wanting = max(float(average), float(running.partition("/")[0]))
    return seconds * (1 + wanting / cores())


def wait_for(condition: Callable[[], T], what: str, limit: float = LIMIT) -> T:
    """Poll until `condition` holds, and return what it returned."""
    end = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {limit:g} s for {what}"
        time.sleep(0.02)
    return found


def alive(processes: Iterable[int]) -> dict[int, str]:
    """Those of these processes that have not ended: id to command line."""
    living = _all_processes()
    return {process: living[process][1] for process in processes if process in living}


def children(process: int) -> dict[int, str]:
    """Living processes that this one has started: id to command line."""
    return {number: command for number, (parent, command) in _all_processes().items() if parent == process}


def _all_processes() -> dict[int, tuple[int, str]]:
    """Living processes of this machine: id to parent and command line."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:  # it ended meanwhile
            continue
        if command:  # a zombie has none
            found[int(entry.name)] = parent, command
    return found


def _marked(mark: str) -> dict[int, str]:
    """Living processes with this mark in their environment: id to command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if mark.encode() in (entry / "environ").read_bytes():
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                if command:  # a zombie has none
                    found[int(entry.name)] = command
        except OSError:  # it ended meanwhile
            continue
    return found
