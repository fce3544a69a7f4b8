"""A page's files, one after the other: first every category with its trainings and images, then what is made of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files as package_files
from typing import Any

import jinja2
from markupsafe import Markup

from fod_bench import __version__
from fod_bench.errors import StoreError
from fod_bench.machine.terminal import say
from fod_bench.records.curves import Curves, read_curves
from fod_bench.records.record import COST_SCORE, Record
from fod_bench.report.averages import PROTOCOL
from fod_bench.report.explain import Explanation, explain_all
from fod_bench.report.formats.base import Report
from fod_bench.report.formats.tidy import Tidy
from fod_bench.report.page.folder import MARK
from fod_bench.report.page.galleries import IMAGES_FOLDER, Gallery, GalleryLink, Shown, fill
from fod_bench.report.page.overview import (
    DataShown,
    jobs_shown,
    machines_shown,
    runs_shown,
    table_filters,
    trial_filters,
    trial_tables,
)
from fod_bench.report.page.plots import cost_plots, sweeps
from fod_bench.report.page.scored import NOT_KEPT, Scored, scored
from fod_bench.report.page.sources import Images, ImageSources
from fod_bench.report.page.svg import colour_bar
from fod_bench.report.page.tables import remark, table_shown
from fod_bench.report.page.thumbnails import scale_colours
from fod_bench.report.page.trial_page import trial_page
from fod_bench.report.page.trial_plots import drawn_histogram
from fod_bench.report.results import Selection, part_of
from fod_bench.report.words import describe_damaged, sentence
from fod_bench.schema.hidden import hidden
from fod_bench.text import counted, escaped

PAGES = [
    ("index.html", "Tables"),
    ("galleries.html", "Images"),
    ("trials.html", "Trainings"),
    ("plots.html", "Plots"),
    ("provenance.html", "Where it comes from"),
]
ROOM = 24_000_000
"""Bytes of a page that its images and the pages of its trainings may take together."""
LEAST_ROOM = 6_000_000
"""Bytes for images, however many trainings there are."""
_OF_A_TRIAL = 36_000
"""Bytes that the page of a training takes, about."""

File = tuple[str, bytes]


def page_files(report: Report, selection: Selection) -> Iterator[File]:
    """Names, from the page's folder, and contents of all files of the page. Raises `StoreError`."""
    yield from _Builder(report, selection).files()


class _Builder:
    """Makes one page."""

    def __init__(self, report: Report, selection: Selection) -> None:
        self._report, self._results, self._selection = report, report.results, selection
        self._cells = list(explain_all(self._results))
        self._by_key: dict[str, list[Explanation]] = {}
        for _, one in self._cells:
            if one.cell.key and (one.record is not None or one.problem != "no record yet"):
                self._by_key.setdefault(one.cell.key, []).append(one)
        self._pages = {key: f"trial/{key}.html" for key in self._by_key}
        self._sources = ImageSources(self._results)
        self._galleries: list[GalleryLink] = []
        self._data: dict[tuple[str, str, str], DataShown] = {}
        self._without: dict[str, list[str]] = {}
        self._job = " · ".join(self._results.jobs()) or "no run"
        self._written: set[str] = set()

    def files(self) -> Iterator[File]:
        yield from (
            (name, package_files(__package__).joinpath("static", name).read_bytes()) for name in ("page.css", "page.js")
        )
        places = list(dict.fromkeys((one.cell.dataset, one.cell.category) for _, one in self._cells))
        room = max(LEAST_ROOM, ROOM - _OF_A_TRIAL * len(self._pages))
        for number, place in enumerate(places, 1):
            say(f"page      {'/'.join(place)}, {number} of {len(places)}", err=True)
            for name, content in self._category(place, room // (len(places) - number + 1)):
                room -= len(content) if name.startswith(f"{IMAGES_FOLDER}/") else 0
                yield name, content
        yield from self._around()

    def _category(self, place: tuple[str, str], room: int) -> Iterator[File]:
        """The pages of a category's trainings, its galleries and their images."""
        cells = [(label, one) for label, one in self._cells if (one.cell.dataset, one.cell.category) == place]
        seen: dict[tuple[str, str], Scored | str] = {}
        for _, one in cells:
            key, score = one.cell.key or "", one.cell.score
            if one.record is not None and not one.problem and score != COST_SCORE and (key, score) not in seen:
                seen[key, score] = self._scored(one.record, score)
        links: dict[tuple[str, str], tuple[str, int]] = {}
        gathered = self._gathered(place, cells, seen)
        for gallery in gathered:
            self._galleries.append(gallery.link())
            yield from fill(gallery, room // len(gathered))
            for number, row in enumerate(gallery.rows):
                for key in row.keys:
                    links[key, row.score] = (f"{gallery.page}#row={number}", row.seed)
            yield gallery.page, self._gallery_page(gallery)
        for key in dict.fromkeys(one.cell.key for _, one in cells if one.cell.key in self._pages):
            if key is not None and key not in self._written:
                self._written.add(key)
                shown = {score: found for (of, score), found in seen.items() if of == key}
                yield self._pages[key], self._trial_page(key, shown, links)

    def _scored(self, record: Record, score: str) -> Scored | str:
        store = self._results.store
        return NOT_KEPT if store is None else scored(store, record, score, self._selection)

    def _gathered(
        self,
        place: tuple[str, str],
        cells: Sequence[tuple[str, Explanation]],
        seen: dict[tuple[str, str], Scored | str],
    ) -> list[Gallery]:
        """The galleries of a category: one, unless its rows have different images."""
        rows: dict[tuple[str, str, str], list[Explanation]] = {}
        for label, one in cells:
            if (one.cell.key or "", one.cell.score) in seen:
                rows.setdefault((label, part_of(one.plan, one.cell), one.cell.score), []).append(one)
        found: dict[Any, Gallery] = {}
        for (label, part, score), of_row in rows.items():
            with_scores = [(one, kept) for one in of_row if isinstance(kept := seen[one.cell.key or "", score], Scored)]
            self._note_data(of_row[0])
            if not with_scores:
                reason = seen[of_row[0].cell.key or "", score]
                self._without.setdefault(str(reason), []).append(f"{label} on {'/'.join(place)}")
                continue
            one, kept = with_scores[0]
            record = one.record
            assert record is not None
            images = self._sources.images(one.plan, one.cell, record)
            form = (record.fingerprint, record.features.get("preprocessing"), _crop(images))
            telling = f", images {len(found) + 1}" if found else ""
            number = len(self._galleries) + len(found) + 1
            gallery = found.setdefault(form, Gallery(number, *place, telling, kept.truth, images, []))
            same = [row for row in gallery.rows if row.label == label]
            if any((row.keys[0], row.score) == (record.key, score) for row in same):
                continue
            told = f"{label} ({part})" if same else label
            keys = tuple(scored_one.cell.key or "" for scored_one, _ in with_scores)
            gallery.rows.append(Shown(told, keys, score, one.cell.seed, kept.image.epoch, kept))
        return list(found.values())

    def _note_data(self, one: Explanation) -> None:
        record = one.record
        assert record is not None
        where = (one.cell.dataset, one.cell.category, record.fingerprint)
        if where not in self._data:
            images = self._sources.images(one.plan, one.cell, record)
            told = "from the data set" if isinstance(images, Images) else f"none: {images}"
            counts = (record.counts.train, record.counts.test_good, record.counts.test_defect)
            self._data[where] = DataShown(*where[:2], one.cell.layout, *counts, record.fingerprint, told)

    def _trial_page(
        self, key: str, shown: dict[str, Scored | str], links: dict[tuple[str, str], tuple[str, int]]
    ) -> bytes:
        cells = self._by_key[key]
        page = trial_page(self._results, cells, self._curves(cells[0].record), shown)
        for scoring in page.scorings:
            scoring.gallery, scoring.gallery_of = links.get((key, scoring.score), ("", 0))
        return self._render("trial.html", root="../", trial=page)

    def _curves(self, record: Record | None) -> Curves | None:
        if record is None or self._results.store is None or not record.run.claim:
            return None
        try:
            return read_curves(self._results.store, record)
        except StoreError:  # the record stands without them
            return None

    def _gallery_page(self, gallery: Gallery) -> bytes:
        histograms = [
            drawn_histogram(row.scored.image.histogram, "score of an image", row.scored.threshold)
            for row in gallery.rows
        ]
        return self._render(
            "gallery.html",
            root="../",
            gallery=gallery,
            data=gallery.data(),
            histograms=histograms,
            legend=colour_bar(scale_colours()),
        )

    def _around(self) -> Iterator[File]:
        """The pages that are made of all trainings."""
        results = self._results
        explained = [one for _, one in self._cells]
        tables = [table_shown(number, table, self._pages.get) for number, table in enumerate(self._report.tables, 1)]
        lead = [sentence(PROTOCOL[self._selection]), *self._progress()]
        yield (
            "index.html",
            self._render("index.html", here="index.html", tables=tables, lead=lead, options=table_filters(tables)),
        )
        lists = trial_tables(self._cells, self._pages, self._selection)
        yield "trials.html", self._render("trials.html", here="trials.html", trials=lists, options=trial_filters(lists))
        without = list(self._without.items())
        yield (
            "galleries.html",
            self._render("galleries.html", here="galleries.html", galleries=self._galleries, without=without),
        )
        costs = list(cost_plots(results, explained, self._selection))
        swept = list(sweeps(results, self._selection))
        yield "plots.html", self._render("plots.html", here="plots.html", costs=costs, sweeps=swept)
        yield (
            "provenance.html",
            self._render(
                "provenance.html",
                here="provenance.html",
                store=hidden(results.store.uri) if results.store is not None else "",
                runs=runs_shown(results),
                damaged=hidden(sentence(describe_damaged(results.damaged))) if results.damaged else "",
                data=list(self._data.values()),
                machines=machines_shown(explained),
                jobs=jobs_shown(results),
            ),
        )
        for name, pieces in Tidy().files(self._report):
            yield name, "".join(piece if isinstance(piece, str) else piece.decode() for piece in pieces).encode()

    def _progress(self) -> Iterator[str]:
        done = sum(one.record is not None and not one.problem for _, one in self._cells)
        yield f"{done} of {counted(len(self._cells), 'cell')} have a result."
        for name in self._results.jobs():
            described = {
                job.description
                for plan in self._results.plans
                if plan.job == name and (job := self._results.job_of(plan.run_id))
            }
            yield from sorted(text for text in described if text)

    def _render(self, template: str, *, root: str = "", here: str = "", **content: Any) -> bytes:
        shared = {
            "job": self._job,
            "pages": PAGES,
            "root": root,
            "here": here,
            "version": __version__,
            "protocol": sentence(PROTOCOL[self._selection]),
            "mark": Markup(MARK),
        }
        return _templates().get_template(template).render(shared | content).encode()


def _crop(images: Images | str) -> float | None:
    """How much of the shorter side a square shows, where it is a crop: what tells geometries apart."""
    if isinstance(images, str) or images.resize.shorter_side is None:
        return None
    return images.resize.size / images.resize.shorter_side


@cache
def _templates() -> jinja2.Environment:
    """Every text that a template puts out is escaped, control characters included; only `Markup` is taken as it is."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fod_bench.report.page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: escaped(value) if type(value) is str else value,
    )
    environment.filters["remark"] = remark
    return environment
