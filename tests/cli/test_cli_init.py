"""`fod-bench init`: the job file that it writes is taken as it stands, and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fod_bench.cli.app import app
from fod_bench.job import load_job
from fod_bench.job.starter import job_name
from tests.helpers.dataset_builders import folder_category, image

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def _working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def photos(name: str = "photos", good: str = "good/{}.png", bad: str = "bad/{}.png") -> Path:
    for number in range(5):
        image(Path(name) / good.format(number), value=10 + number)
    for number in range(2):
        image(Path(name) / bad.format(number), value=100 + number)
    return Path(name)


def test_a_tidy_folder_becomes_a_job(tmp_path: Path) -> None:
    photos()
    result = RUNNER.invoke(app, ["init", "photos"])
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "photos: 5 normal (good), 2 defective (bad), without masks\n"
    assert "wrote     photos.yaml" in result.stderr and "fod-bench plan photos.yaml" in result.stderr
    job = load_job(Path("photos.yaml"), [])
    assert job.name == "photos" and [row for row, _ in job.rows()] == ["PatchCore", "FOD"]
    assert job.datasets["images"].root == str(tmp_path / "photos")
    text = Path("photos.yaml").read_text()
    assert "#   photos: 5 normal (good), 2 defective (bad), without masks" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "photos.yaml"]
    planned = RUNNER.invoke(app, ["plan", "photos.yaml", "--set", "weights=random"])
    assert planned.exit_code == 0 and "4 train, 1 good and 2 defective test images" in planned.stdout


def test_an_untidy_folder_gets_links(tmp_path: Path) -> None:
    photos("Bolts #2", good="IMG_{}.JPG", bad="IMG_{}-NG.png")
    result = RUNNER.invoke(app, ["init", "Bolts #2", "--weights", "random", "--epochs", "3"])
    assert result.exit_code == 0, result.stderr
    assert "no layout reads them as they lie: bolts-2-images has links to them" in result.stdout
    job = load_job(Path("bolts-2.yaml"), [])
    assert job.datasets["images"].root == str(tmp_path / "bolts-2-images")
    planned = RUNNER.invoke(app, ["plan", "bolts-2.yaml"])
    assert planned.exit_code == 0, planned.stderr
    again = RUNNER.invoke(app, ["init", "Bolts #2", "--force"])
    assert again.exit_code == 0, again.stderr


def test_categories_of_a_published_set_keep_their_layout() -> None:
    folder_category(Path("sets"), "bottle")
    folder_category(Path("sets"), "tile")
    result = RUNNER.invoke(app, ["init", "sets", "--out", "jobs/mine.yaml"])
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "sets: mvtec, 2 categories: bottle, tile\n"
    dataset = load_job(Path("jobs/mine.yaml"), []).datasets["mvtec"]
    assert (dataset.layout, dataset.categories) == ("mvtec", ("bottle", "tile"))


def test_strange_names_are_written_as_they_are() -> None:
    photos("a: ${HOME} 'x'", good="[OK]/{}.png", bad="NG #1/{}.png")
    result = RUNNER.invoke(app, ["init", "a: ${HOME} 'x'", "--good", "[[]OK[]]", "--bad", "NG*", "--out", "x.yaml"])
    assert result.exit_code == 0, result.stderr
    planned = RUNNER.invoke(app, ["plan", "x.yaml", "--set", "weights=random"])
    assert planned.exit_code == 0, planned.stderr


def test_what_is_there_stays_unless_forced() -> None:
    photos()
    Path("photos.yaml").write_text("mine")
    refused = RUNNER.invoke(app, ["init", "photos"])
    assert refused.exit_code == 1 and "photos.yaml is there already; --force replaces it" in refused.stderr
    assert Path("photos.yaml").read_text() == "mine"
    assert RUNNER.invoke(app, ["init", "photos", "--force"]).exit_code == 0
    assert Path("photos.yaml").read_text() != "mine"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["none"], 1, "none does not exist: give a folder of images"),
        (["photos", "--out", "job.txt"], 2, "--out: job.txt should end with .yaml"),
        (["photos", "--good", "bad", "--bad", "good", "--backbone", "resnet18x"], 1, "resnet18x"),
        (["single"], 1, "at least two normal images are needed"),
        (["photos", "--out", "photos/good/0.png/x.yaml"], 1, "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: list[str], code: int, said: str) -> None:
    photos()
    image(Path("single/good/0.png"))
    result = RUNNER.invoke(app, ["init", *arguments])
    assert result.exit_code == code and said in result.stderr
    assert "Traceback" not in result.stderr and not list(Path().glob("*.yaml"))


@pytest.mark.parametrize(
    ("folder", "name"),
    [("Bolts", "bolts"), ("all", "job-all"), ("2024", "job-2024"), ("größe & co", "gr-sse-co"), ("部品", "images")],
)
def test_names_of_jobs(folder: str, name: str) -> None:
    assert job_name(folder) == name
