"""The page of a report in a real browser, opened from disk: it sorts, filters, shows images, asks for nothing and is accessible."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fod_bench.report import render_report
from tests.helpers.browser import Scheme, Visit, chromium
from tests.helpers.page_builders import HOSTILE, page_job, page_results, page_store

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PAGES = ("index.html", "galleries.html", "trials.html", "plots.html", "provenance.html", "gallery/1.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of two categories, three rows and two seeds."""
    place = tmp_path_factory.mktemp("page")
    job = page_job(place)
    render_report(page_results(job, page_store(job)), None, "html", place / "page")
    return place / "page"


@pytest.fixture
def visit(browser: Browser, folder: Path) -> Iterator[Visit]:
    made = Visit(browser, folder)
    yield made
    made.close()


def trial_of(folder: Path) -> str:
    return f"trial/{sorted(path.name for path in (folder / 'trial').iterdir())[0]}"


def first_column(page: Page, body: int = 0) -> list[str]:
    return page.locator("table.results tbody").nth(body).locator("tr:not(.section) th").all_inner_texts()


def shown_columns(page: Page) -> list[str]:
    return [text.split("\xa0")[0].strip() for text in page.locator("thead th:visible").all_inner_texts()]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_every_page_is_accessible_and_fits_in_light_and_dark_on_a_desk_and_a_phone(
    browser: Browser, folder: Path, scheme: Scheme, width: int
) -> None:
    visit = Visit(browser, folder, scheme, width)
    for name in (*PAGES, trial_of(folder), "gallery/1.html#row=1&beside=0"):
        page = visit.open(name)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is wider than the window"
        assert (name, visit.violations()) == (name, [])
    visit.close()


def test_names_of_rows_and_words_of_the_job_are_text_and_never_markup(visit: Visit) -> None:
    page = visit.open("index.html")
    assert page.locator("main b, main i").count() == 0
    assert HOSTILE in first_column(page)
    assert "<i>made up</i>" in page.locator("main").inner_text()
    page = visit.open("gallery/1.html")
    assert page.locator("#shown option").all_inner_texts() == ["good", "poor", HOSTILE]
    page.locator("#beside").select_option(label=HOSTILE)
    assert HOSTILE in page.locator(".item:visible .second-map .who").first.inner_text()
    assert page.locator("[onmouseover]").count() == 0


def test_a_table_is_sorted_by_a_column_upwards_then_downwards_by_the_keyboard(visit: Visit) -> None:
    page = visit.open("index.html")
    assert first_column(page) == ["good", "poor", HOSTILE]
    header = page.locator("thead th[data-column]", has_text="mean")
    header.locator("button").focus()
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "ascending"
    upwards = first_column(page)
    assert upwards[-1] == "good" and sorted(upwards) == sorted(["good", "poor", HOSTILE])
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert first_column(page) == upwards[::-1]


def test_filters_leave_what_fits_and_are_kept_in_the_address(visit: Visit) -> None:
    page = visit.open("index.html")
    page.get_by_label("Category").select_option("board")
    page.get_by_label("Metric").select_option("pixel_auroc")
    page.get_by_label("Method or variant").select_option("poor")
    assert shown_columns(page) == ["Variant", "board"]
    assert page.locator("tbody td:visible").count() == 1
    page.reload()
    assert page.locator("tbody td:visible").count() == 1
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function("document.querySelectorAll('tbody td:not([hidden])').length === 18")
    assert "#" not in page.url.rstrip("#")


def test_a_number_of_several_seeds_leads_to_its_trainings_and_from_there_to_one(visit: Visit) -> None:
    page = visit.open("index.html")
    page.locator("td[data-row=poor][data-category=weave][data-metric=image_auroc] a").click()
    page.wait_for_url("**/trials.html#*")
    assert page.locator("tbody tr:visible").count() == 2
    page.locator("tbody tr:visible a").first.click()
    page.wait_for_url("**/trial/*.html")
    text = page.locator("main").inner_text()
    for told in ("poor on drawn/weave, seed 1", "ROC, pixels", "Loss: total", "host", "--only poor/drawn/weave"):
        assert told in text, told


def test_a_gallery_shows_a_method_and_another_beside_it_and_judges_by_the_threshold(visit: Visit) -> None:
    page = visit.open("gallery/1.html#row=1")
    assert page.locator("section.row:visible h2").inner_text() == "poor"
    items = page.locator(".item:visible")
    assert items.count() > 4 and items.first.locator("figure").count() == 3
    page.locator("#beside").select_option(label="good")
    assert items.first.locator("figure").count() == 4
    near = "i.offsetParent && i.getBoundingClientRect().top < innerHeight"
    page.wait_for_function(f"[...document.images].filter(i => {near}).every(i => i.complete && i.naturalWidth)")
    slider = page.locator("section.row:visible input.wide")
    slider.focus()
    page.keyboard.press("End")
    counts = page.locator("section.row:visible .counts td").all_inner_texts()
    assert counts[1] == "0" and counts[3] == "0", "above every score nothing is taken for defective"
    assert set(page.locator(".item:visible .map:not(.second-map) .verdict").all_inner_texts()) == {"missed", "passed"}
    page.keyboard.press("Home")
    assert set(page.locator(".item:visible .map:not(.second-map) .verdict").all_inner_texts()) == {
        "found",
        "false alarm",
    }


def test_without_scripts_everything_is_there(browser: Browser, folder: Path) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(f"{folder.as_uri()}/gallery/1.html")
    assert page.locator("section.row:visible").count() == 3 and page.locator("form:visible").count() == 0
    page.goto(f"{folder.as_uri()}/index.html")
    assert page.locator("tbody td:visible").count() == 18
    page.context.close()
