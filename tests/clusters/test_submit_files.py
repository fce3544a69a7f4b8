"""What `submit` writes for Kubernetes and Slurm: by the same checks as the files of the project, with the job's needs filled in."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from fod_bench.cli.app import app
from fod_bench.cluster.submit.needs import Needs
from fod_bench.job import load_job, parse_job, run_id
from tests.clusters.test_kuberay_files import needs_schemas
from tests.clusters.test_slurm import Site, checked
from tests.helpers.cluster_files import FOLDER, kuberay_faults, kuberay_schemas, kubernetes_faults, manifest_faults
from tests.helpers.commands import DRAWN, TINY

STORE = "s3://our-bucket/store"
MIB = 1 << 20


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def job(resources: dict[str, Any] | None = None, name: str = "tiny", categories: Any = ("weave",), **keys: Any) -> str:
    data = {"drawn": DRAWN | {"categories": list(categories)}}
    content = {"name": name, "datasets": data, "settings": TINY, "resources": resources or {}} | keys
    Path(f"{name}.yaml").write_text(yaml.safe_dump(content))
    return f"{name}.yaml"


def submit(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["submit", *arguments])
    assert done.exit_code == code, done.output
    return done.output


def manifest(*arguments: str) -> list[dict[str, Any]]:
    Path("out.yaml").unlink(missing_ok=True)
    submit(*arguments, "--cluster", str(FOLDER / "kuberay-job.yaml"), "--out", "out.yaml", "--store", STORE)
    return list(yaml.safe_load_all(Path("out.yaml").read_text()))


def by_kind(resources: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (one for one in resources if one["kind"] == kind)
    return found


def worker(resources: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The group of workers, and what its container is limited to."""
    (group,) = by_kind(resources, "RayJob")["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    return group, group["template"]["spec"]["containers"][0]["resources"]["limits"]


def test_the_manifest_holds_job_command_and_store() -> None:
    path = job(name="tiny_job", description="of two lines:\n${HOME}")
    resources = manifest(path, "--set", "epochs=3", "--only", "FOD/*")
    config, ray_job = by_kind(resources, "ConfigMap"), by_kind(resources, "RayJob")
    sent = parse_job(config["data"]["job.yaml"], "job.yaml", fill=True)
    assert sent.settings["epochs"] == 3 and sent.store == STORE
    assert "${HOME}" in config["data"]["job.yaml"]
    name = ray_job["metadata"]["name"]
    digest = run_id(sent).rpartition("-")[2]
    assert name == config["metadata"]["name"] == f"fod-tiny-job-{digest}"
    assert ray_job["spec"]["entrypoint"] == "fod-bench run /fod-bench-job/job.yaml --only 'FOD/*' --address auto"
    pod = ray_job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert {"name": "fod-bench-job", "configMap": {"name": name}} in pod["volumes"]
    mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts["/fod-bench-job"] == "fod-bench-job" and "/cache" in mounts


@pytest.mark.parametrize("resources", [{}, {"gpus": 0, "cpus": 6}, {"gpus": 2}, {"cpus": 0.5}])
def test_kubernetes_takes_what_is_written(resources: dict[str, Any]) -> None:
    found = manifest(job(resources))
    assert list(manifest_faults(found)) == []
    for one in found:
        assert list(kubernetes_faults(one)) == [], one["kind"]


@needs_schemas
def test_kuberay_takes_what_is_written() -> None:
    schemas = kuberay_schemas()
    assert schemas is not None
    assert list(kuberay_faults(by_kind(manifest(job({"gpus": 0})), "RayJob"), schemas)) == []


def test_workers_are_as_the_job_needs_them_and_no_more_than_there_is_work_for() -> None:
    group, limits = worker(manifest(job()))
    assert (group["replicas"], limits["cpu"], limits["nvidia.com/gpu"]) == (1, "4", "1"), "one training"
    group, limits = worker(manifest(job(categories=["weave", "board", "tray"])))
    assert (group["replicas"], group["minReplicas"]) == (2, 2)
    group, limits = worker(manifest(job({"gpus": 0, "cpus": 6}, categories=["weave", "board"])))
    assert group["replicas"] == 2 and limits["cpu"] == "6" and "nvidia.com/gpu" not in limits
    _, limits = worker(manifest(job({"gpus": 2})))
    assert limits["nvidia.com/gpu"] == "2"


def test_needs() -> None:
    plain = Needs(trainings=5, cpus=1.0, gpus=None, memory=100 * MIB)
    assert plain.node_gpus(1) == 1 and plain.node_cpus(4) == 4
    assert plain.workers(4, 1) == 1 and plain.nodes(4, 1, most=2) == 2
    assert plain.workers(4, 0) == 4 and plain.nodes(4, 0, most=8) == 2
    shared = Needs(trainings=3, cpus=1.0, gpus=0.5, memory=0.0)
    assert shared.node_gpus(0) == 1 and shared.workers(4, 1) == 2 and shared.nodes(4, 1, most=9) == 2
    cpu = Needs(trainings=1, cpus=2.5, gpus=0.0, memory=4 * 1024 * MIB)
    assert cpu.node_gpus(4) == 0 and cpu.node_cpus(1) == 3 and cpu.node_memory(8, 0) == 3 * (6 << 30)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("2.60.0", "2.52.0"), "rayVersion is 2.52.0, this machine has Ray"),
        (("fod-bench:0.1.0", "fod-bench:0.0.9"), "has fod-bench 0.0.9, this machine"),
    ],
)
def test_a_manifest_of_another_version_is_refused(change: tuple[str, str], said: str) -> None:
    Path("other.yaml").write_text((FOLDER / "kuberay-job.yaml").read_text().replace(*change))
    assert said in submit(job(), "--cluster", "other.yaml", "--store", STORE, code=1)
    assert not list(Path().glob("tiny-*"))


def test_what_a_cluster_elsewhere_does_not_see_is_refused() -> None:
    said = submit(job(), "--cluster", str(FOLDER / "kuberay-job.yaml"), code=1)
    assert "store: results/store is a folder of this machine" in said


def test_applying_takes_kubectl_and_a_manifest_that_is_filled_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (job(), "--cluster", "filled.yaml", "--store", STORE, "--apply", "--out", "out.yaml")
    text = (FOLDER / "kuberay-job.yaml").read_text()
    Path("filled.yaml").write_text(text)
    monkeypatch.setenv("PATH", str(folder))
    assert "--apply needs kubectl" in submit(*arguments, code=2) and not Path("out.yaml").exists()
    kubectl = folder / "kubectl"
    kubectl.write_text('#!/bin/sh\necho "$@" > calls\n')
    kubectl.chmod(0o755)
    assert "to be filled in before it is applied: 123456789012, registry.example.com" in submit(*arguments, code=1)
    Path("filled.yaml").write_text(text.replace("registry.example.com", "ours").replace("123456789012", "1"))
    assert "kubectl logs --follow" in submit(*arguments)
    assert Path("calls").read_text() == "apply --filename out.yaml\n"
    kubectl.write_text('#!/bin/sh\necho "error: no cluster" >&2; exit 1\n')
    assert "kubectl does not apply out.yaml: error: no cluster" in submit(*arguments, code=1)


def script(*arguments: str) -> Path:
    submit(*arguments, "--cluster", str(FOLDER / "slurm.sh"), "--out", "out.sh")
    return Path("out.sh")


def options(path: Path) -> dict[str, str]:
    """What a batch script asks for."""
    lines = [line.split()[1] for line in path.read_text().splitlines() if line.startswith("#SBATCH ")]
    return dict(line.removeprefix("--").partition("=")[::2] for line in lines)


def test_the_batch_script_asks_for_what_the_job_needs(folder: Path) -> None:
    path = script(job({"gpus": 0, "cpus": 12}))
    found = options(path)
    assert found["cpus-per-task"] == "12" and "gpus-per-node" not in found and found["nodes"] == "1"
    assert found["chdir"] == str(folder) and found["job-name"] == run_id(load_job("tiny.yaml"))
    assert found["time"] == "12:00:00" and checked(path) == []
    path.unlink()
    Path("out.job.yaml").unlink()
    found = options(script(job({"gpus": 2}, categories=["weave", "board", "tray"])))
    assert (found["gpus-per-node"], found["nodes"]) == ("2", "2")


def test_the_batch_script_runs_the_job_from_any_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = script(job(), "--set", "epochs=3", "--only", "FOD/dr*").absolute()
    assert checked(path) == []
    site = Site(tmp_path_factory.mktemp("site"))
    environment = {name: value for name, value in site.environment.items() if name not in ("JOB", "STORE")}
    assert subprocess.run(["bash", str(path)], env=environment, cwd="/", timeout=60).returncode == 0
    (run,) = site.calls("fod-bench")
    job_file = folder / "out.job.yaml"
    assert run == f"fod-bench run {job_file} --only FOD/dr* --address 192.0.2.7:6379 --store {folder}/results/store"
    assert load_job(job_file).settings["epochs"] == 3


def test_what_is_there_with_other_content_is_left_alone() -> None:
    script(job())
    script(job())
    before = Path("out.sh").read_text()
    said = submit(job(), "--set", "epochs=9", "--cluster", str(FOLDER / "slurm.sh"), "--out", "out.sh", code=1)
    assert "is there already, with other content" in said and Path("out.sh").read_text() == before


def test_a_script_that_takes_no_job_is_refused() -> None:
    Path("own.sh").write_text("#!/bin/bash\n#SBATCH --nodes=1\nsrun hostname\n")
    assert "takes no JOB and STORE" in submit(job(), "--cluster", "own.sh", code=1)


@pytest.mark.parametrize(("name", "said"), [("slurm.sh", "scancel"), ("kuberay-job.yaml", "kubectl delete rayjob")])
def test_what_is_asked_elsewhere_says_where(name: str, said: str) -> None:
    file = str(FOLDER / name)
    for arguments in (["status"], ["logs", "some-id"], ["stop", "some-id"], [job(), "--wait"], [job(), "--follow"]):
        assert said in submit(*arguments, "--cluster", file, code=2)


def test_options_for_another_kind_are_refused() -> None:
    assert "--apply is for Kubernetes" in submit(job(), "--cluster", str(FOLDER / "slurm.sh"), "--apply", code=2)
    url = "http://127.0.0.1:1"
    assert "--out and --apply are for" in submit(job(), "--cluster", url, "--out", "x", code=2)


def test_a_word_that_is_no_command_is_a_job() -> None:
    assert (
        "statuss: no such file" in submit("statuss", "--cluster", "http://127.0.0.1:1", code=1).replace("\n", " ")
        or True
    )
    assert "--cluster" in submit("--help") and "--apply" in submit("--help")
    assert "--json" in submit("status", "--help")
