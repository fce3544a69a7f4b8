"""The page of a report: its files, its links, what it says where something is not there. No browser; see tests/system for one."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from typer.testing import CliRunner

from fod_bench.cli.app import app
from fod_bench.job import Job
from fod_bench.records.names import failure_log_name, record_name, scores_name
from fod_bench.report import read_results, render_report
from fod_bench.report.explain import explain_all
from fod_bench.report.page.trial_page import repeating
from fod_bench.store import Store
from tests.helpers.page_builders import CLAIM, HOSTILE, page_job, page_results, page_store
from tests.helpers.report_builders import MemoryStore, Run, full_store


class Outline(HTMLParser):
    """Links, ids, tags and text of a file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._pieces: list[str] = []
        self.feed(path.read_text("utf-8"))
        self.text = re.sub(r"\s+", " ", " ".join(self._pieces))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        self.links += [value for name in ("href", "src") if (value := given.get(name))]

    def handle_data(self, data: str) -> None:
        self._pieces.append(data)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, Store, Path]:
    """A job, its store and its page."""
    place = tmp_path_factory.mktemp("page")
    job = page_job(place)
    store = page_store(job)
    return job, store, written(job, store, place / "page")


def written(job: Job, store: Store, folder: Path, **options: str) -> Path:
    render_report(page_results(job, store), None, "html", folder, **options)  # type: ignore[arg-type]
    return folder


def pages(folder: Path) -> Iterator[tuple[Path, Outline]]:
    return ((path, Outline(path)) for path in sorted(folder.rglob("*.html")))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_link_leads_to_a_file_of_the_folder_and_every_file_is_led_to(made: tuple[Job, Store, Path]) -> None:
    *_, folder = made
    led = {folder / "index.html"}
    for path, outline in pages(folder):
        for link in outline.links:
            if link.startswith(("#", "data:")):
                continue
            target = (path.parent / unquote(link.partition("#")[0])).resolve()
            assert target.is_file() and target.is_relative_to(folder.resolve()), (path, link)
            led.add(target)
    # maps that only the side-by-side view shows are named in its data
    unled = {path for path in folder.rglob("*") if path.is_file()} - {one.resolve() for one in led}
    data = "".join(path.read_text() for path in (folder / "gallery").iterdir())
    assert all(f"../images/{path.parent.name}/{path.name}" in data for path in unled)


def test_equal_results_give_equal_bytes(made: tuple[Job, Store, Path], tmp_path: Path) -> None:
    job, store, folder = made
    assert contents(written(job, store, tmp_path / "again")) == contents(folder)


def test_no_name_becomes_markup_and_scripts_are_files_alone(made: tuple[Job, Store, Path]) -> None:
    *_, folder = made
    for path, outline in pages(folder):
        assert not [tag for tag, given in outline.tags if any(name.startswith("on") for name in given)], path
        assert not {tag for tag, _ in outline.tags} & {"b", "i", "iframe", "object", "style"}, path
        scripts = [given for tag, given in outline.tags if tag == "script"]
        assert all("src" in given or given.get("type") == "application/json" for given in scripts)
        assert not [given for _, given in outline.tags if "style" in given], path
    assert HOSTILE in Outline(folder / "index.html").text


def test_tables_have_headers_and_images_are_told(made: tuple[Job, Store, Path]) -> None:
    *_, folder = made
    for path, outline in pages(folder):
        assert all(given.get("scope") for tag, given in outline.tags if tag == "th"), path
        images = [given for tag, given in outline.tags if tag == "img"]
        assert all(given.get("alt") and given.get("width") and given.get("loading") == "lazy" for given in images), path
        plots = [given for tag, given in outline.tags if tag == "svg" and "plot" in str(given.get("class"))]
        assert all(given.get("aria-label") for given in plots), path


def test_a_number_leads_to_its_trial_which_tells_where_it_comes_from(made: tuple[Job, Store, Path]) -> None:
    job, store, folder = made
    results = page_results(job, store)
    for _, one in explain_all(results):
        text = Outline(folder / f"trial/{one.cell.key}.html").text
        best = one.metrics["image_auroc"].best
        assert best is not None and one.record is not None
        told = (
            f"image AUROC {best:.4f}",
            one.record.fingerprint,
            "cpu (x86_64)",
            "box",
            "learning_rate",
            "Loss: total",
            "ROC, pixels",
        )
        for word in told:
            assert word in text, word
    last = written(job, store, folder.parent / "last", selection="last")
    assert "Last epoch, no selection." in Outline(last / "index.html").text


def test_the_command_that_repeats_a_training_is_of_it_alone(made: tuple[Job, Store, Path]) -> None:
    job, store, _ = made
    results = page_results(job, store)
    cells = [one for _, one in explain_all(results)]
    for one in cells:
        command = shlex.split(repeating(results, one) or "")
        assert command[:3] == ["fod-bench", "run", "page.yaml"] and f"seeds=[{one.cell.seed}]" in command
        only = command[command.index("--only") + 1]
        same = [other.cell for other in cells if other.cell.matches(only)]
        assert {(cell.row, cell.category) for cell in same} == {(one.cell.row, one.cell.category)}


def test_without_kept_scores_the_page_says_so_and_how_to_keep_them(tmp_path: Path) -> None:
    job = page_job(tmp_path)
    folder = written(job, page_store(job, keep=False), tmp_path / "page")
    assert not (folder / "gallery").exists() and not (folder / "images").exists()
    for name in ("galleries.html", f"trial/{next((folder / 'trial').iterdir()).name}"):
        text = Outline(folder / name).text
        assert "keep_scores: selected" in text and "--store" in text, name
    assert "12 of 12 cells have a result." in Outline(folder / "index.html").text


def test_damaged_scores_concern_their_training_alone(tmp_path: Path) -> None:
    job = page_job(tmp_path)
    store = page_store(job)
    ((_, broken), *_) = list(explain_all(page_results(job, store)))
    assert broken.cell.key is not None
    for epoch in ("best_image", "best_pixel", "last"):
        store.put(scores_name(broken.cell.key, CLAIM, epoch), b"no tensors")
    folder = written(job, store, tmp_path / "page")
    assert "The kept scores cannot be used:" in Outline(folder / f"trial/{broken.cell.key}.html").text
    gallery = Outline(folder / "gallery/1.html").text
    assert "good" in gallery and "Seed 2; maps" in gallery, "the other seed is shown"


@pytest.mark.parametrize("how", ["gone", "other"])
def test_where_the_images_are_not_those_of_the_training_the_page_says_so(tmp_path: Path, how: str) -> None:
    job = page_job(tmp_path)
    store = page_store(job)
    weave = tmp_path / "drawn/weave"
    if how == "gone":
        shutil.rmtree(weave)
    else:
        first, second, *_ = sorted((weave / "test/good").iterdir())
        shutil.copy(second, first)
    render_report(read_results(store), None, "html", tmp_path / "page")
    galleries = {path.name: Outline(path) for path in (tmp_path / "page/gallery").iterdir()}
    told = {"gone": "category weave is not in", "other": "their content differs"}[how]
    assert "The images cannot be shown here: " in galleries["1.html"].text and told in galleries["1.html"].text
    assert not [link for link in galleries["1.html"].links if re.search(r"/\d+\.webp$", link)]
    assert [link for link in galleries["1.html"].links if re.search(r"/\d+-\d+\.webp$|-truth\.png$", link)]
    assert [link for link in galleries["2.html"].links if re.search(r"/\d+\.webp$", link)], (
        "the other category is whole"
    )


def test_what_is_missing_or_failed_is_named(tmp_path: Path) -> None:
    job = page_job(tmp_path)
    store = page_store(job, failing="poor")
    results = page_results(job, store)
    missing = [one.cell.key for _, one in explain_all(results) if one.cell.row == "poor"]
    assert missing[0] is not None
    store.put(failure_log_name(missing[0]), b"2026-01-01 poor\nimage a.png cannot be read\n\nTraceback")
    folder = written(job, store, tmp_path / "page")
    index, lists = Outline(folder / "index.html").text, Outline(folder / "trials.html").text
    assert "8 of 12 cells have a result." in index and "fod-bench run page.yaml" in index and "failed" in lists
    failed = Outline(folder / f"trial/{missing[0]}.html").text
    assert "No result: failed: image a.png cannot be read" in failed and "Its log:" in failed
    assert not (folder / f"trial/{missing[1]}.html").exists()


def test_the_papers_tables_and_plots_are_there_beside_what_rows_vary(tmp_path: Path) -> None:
    store = full_store()
    run = Run(store, "run-2", "sweep", [])
    for heads in (1, 2, 4):
        for category in ("a", "b"):
            run.add(f"FOD, heads={heads}", "mine", category, [(0.5 + heads / 10, 0.4)])
    run.save()
    render_report(store.read(), None, "html", tmp_path / "page")
    index, plots = Outline(tmp_path / "page/index.html"), Outline(tmp_path / "page/plots.html")
    assert "Table 2. " in index.text and "Δ" in index.text and "paper 0." in index.text
    assert "sweep: heads" in plots.text and "Cost against quality: paper on mvtec" in plots.text


def test_a_store_without_a_result_gives_a_page_that_says_so(tmp_path: Path) -> None:
    render_report(MemoryStore().read(), None, "html", tmp_path / "page")
    assert "There is no table here." in Outline(tmp_path / "page/index.html").text


def called(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["report", *arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_the_command_writes_it_and_keeps_one_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    job = page_job(tmp_path)
    page_store(job)
    where = (str(tmp_path / "page.yaml"), "--format", "html", "--out", str(tmp_path / "page"))
    assert str(tmp_path / "page/index.html") in called(*where)
    before = contents(tmp_path / "page")
    assert "give --force to replace it" in called(*where, code=2)
    assert contents(tmp_path / "page") == before
    (tmp_path / "page/trials.html").unlink()
    called(*where, "--force")
    assert contents(tmp_path / "page") == before
    assert "--format html needs --out FOLDER" in called(*where[:3], code=2)
    assert "--force is for --format html" in called(where[0], "--force", code=2)
    assert "take two commands" in called(*where, "--force", "--figure", "lambda", code=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drawn", "page", "page.yaml", "store"]


def test_values_of_variables_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = page_job(tmp_path)
    page_store(job)
    path = tmp_path / "page.yaml"
    path.write_text(path.read_text().replace(str(tmp_path / "drawn"), "${SECRET_PLACE}"))
    monkeypatch.setenv("SECRET_PLACE", str(tmp_path / "drawn"))
    called(str(path), "--format", "html", "--out", str(tmp_path / "page"))
    assert "12 of 12 cells" in Outline(tmp_path / "page/index.html").text
    assert not [
        name for name, content in contents(tmp_path / "page").items() if b"/drawn\n" in content or b"/drawn<" in content
    ]


def test_a_record_without_curves_or_of_a_damaged_store_has_its_page(tmp_path: Path) -> None:
    job = page_job(tmp_path)
    store = page_store(job)
    ((_, broken), *_) = list(explain_all(page_results(job, store)))
    assert broken.cell.key is not None
    store.put(record_name(broken.cell.key), b"{")
    folder = written(job, store, tmp_path / "page")
    assert "No result: its record is damaged" in Outline(folder / f"trial/{broken.cell.key}.html").text
    assert "11 of 12 cells have a result." in Outline(folder / "index.html").text
