"""`fod-bench init`: the job file that it writes is taken as it stands, and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fod_bench.cli.app import app
from fod_bench.job import load_job
from fod_bench.job.starter import job_name
from tests.helpers.dataset_builders import folder_category, image, mvtec3d_category

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


@pytest.mark.parametrize("bad", ["bad/{}.png", "{}-NG.png"])
def test_what_is_refused_leaves_everything_as_it_was(bad: str) -> None:
    photos(bad=bad, good="good/{}.png" if "/" in bad else "{}.png")
    fresh = RUNNER.invoke(app, ["init", "photos", "--backbone", "resnet18x"])
    assert fresh.exit_code == 1 and "photos.yaml" in fresh.stderr
    assert [path.name for path in Path().iterdir()] == ["photos"]
    assert RUNNER.invoke(app, ["init", "photos"]).exit_code == 0

    def there() -> dict[Path, int]:
        return {path: path.lstat().st_ino for path in Path().rglob("*")}

    before, job = there(), Path("photos.yaml").read_text()
    assert RUNNER.invoke(app, ["init", "photos", "--force", "--backbone", "resnet18x"]).exit_code == 1
    assert there() == before and Path("photos.yaml").read_text() == job


def test_a_folder_in_the_place_of_the_job_file_stays() -> None:
    photos("odd", good="{}.png", bad="{}-NG.png")
    Path("odd.yaml").mkdir()
    result = RUNNER.invoke(app, ["init", "odd", "--force"])
    assert result.exit_code == 1 and "odd.yaml is a folder" in result.stderr
    assert sorted(path.name for path in Path().iterdir()) == ["odd", "odd.yaml"]


def test_what_lies_beside_a_published_set_is_not_dropped_without_a_word() -> None:
    folder_category(Path("mine"), "bottle")
    folder_category(Path("mine"), "my-part")
    own = RUNNER.invoke(app, ["init", "mine"])
    assert own.exit_code == 0, own.stderr
    assert load_job(Path("mine.yaml"), []).datasets["images"].layout == "folder"
    assert "bottle: 5 normal" in own.stdout and "my-part: 5 normal" in own.stdout
    mvtec3d_category(Path("sets"), "bagel")
    folder_category(Path("sets"), "my-part")
    part = RUNNER.invoke(app, ["init", "sets"])
    assert part.stdout.splitlines() == [
        "sets: mvtec3d, 1 category: bagel",
        "left out: my-part, of no category of mvtec3d: `fod-bench init` of each makes a job of its own",
    ]


@pytest.mark.parametrize(
    ("folder", "name"),
    [("Bolts", "bolts"), ("all", "job-all"), ("2024", "job-2024"), ("größe & co", "gr-sse-co"), ("部品", "images")],
)
def test_names_of_jobs(folder: str, name: str) -> None:
    assert job_name(folder) == name
