"""Where the paper's printed numbers do not agree with each other: found by computing, said under the tables concerned."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from fod_bench.evaluation.measures import MEASURES
from fod_bench.paper.forms import FORMS
from fod_bench.paper.published import AVERAGE, MEAN, Position, all_printed, printed_categories

ROUNDING = 0.001
"""A mean of numbers of three digits, itself printed with three, may be off by this much."""

DATASET_TITLES = {"mvtec": "MVTec AD", "btad": "BTAD", "mvtec3d": "MVTec 3D-AD (RGB)", AVERAGE: "Average"}

_DETAILED_IN = {3: (7, 8)}
"""Tables that list the categories behind the means of a table, where it is not the table itself."""

# Rows of different tables that the paper's text describes as one setting. Any other row is a setting of its own name.
_SETTINGS = {
    "FOD, the full model": (
        *("FOD", "patch+intra+inter/entropy/mean/rec_div", "two_phase", "lambda2=0.5", "heads=8", "layers=3"),
        *("levels=8+16", "mean"),
    ),
    "λ1 = 0.5 with λ2 = 1": ("lambda1=0.5", "lambda2=1"),
}
_SETTING_OF = {row: setting for setting, rows in _SETTINGS.items() for row in rows}


def remarks(position: Position) -> list[str]:
    """What is to be said of the number printed there, nothing as a rule."""
    stated = all_printed().get(position)
    if stated is None or stated.value is None or position.category != MEAN:
        return []
    found = [_does_not_add_up(position, stated.value), _disagrees(position)]
    return [remark for remark in found if remark is not None]


@cache
def repeated_rows(table: int) -> tuple[str, ...]:
    """Remarks on rows of `table` whose numbers are all those of another setting, printed in an earlier table."""
    found = []
    for row, numbers in _rows((table,)).items():
        for other, theirs in _rows(range(1, table)).items():
            shared = numbers.keys() & theirs.keys()
            if len(shared) < 3 or shared != numbers.keys() or _setting(other) == _setting(row):
                continue
            if all(numbers[place] == theirs[place] for place in shared):
                found.append(
                    f"{_shown(table, row)}: every number that the paper prints here is one of the row "
                    f"{_shown(min(_tables(other)), other)} in {_listed(_tables(other))}: of that setting, not of this one."
                )
    return tuple(found)


def _does_not_add_up(position: Position, stated: float) -> str | None:
    """A remark on a mean or average that is not the one of the printed numbers behind it."""
    if position.dataset == AVERAGE:
        what, behind = "data sets", [position._replace(dataset=name) for name in DATASET_TITLES if name != AVERAGE]
    else:
        what = "categories"
        tables = _DETAILED_IN.get(position.table, (position.table,))
        categories = printed_categories(position.dataset)
        behind = [position._replace(table=table, category=name) for table in tables for name in categories]
    printed = [all_printed()[place].value for place in behind if place in all_printed()]
    values = [value for value in printed if value is not None]
    if not values or abs(sum(values) / len(values) - stated) <= ROUNDING:
        return None
    return (
        f"{_name(position)}: the paper prints {all_printed()[position].text}; the mean of the {what} it prints is "
        f"{sum(values) / len(values):.3f}."
    )


def _disagrees(position: Position) -> str | None:
    """A remark on one setting that has several printed numbers, naming all of them with their tables."""
    by_text: dict[str, list[Position]] = {}
    for place in _by_subject()[_subject(position)]:
        by_text.setdefault(all_printed()[place].text, []).append(place)
    if len({float(text) for text in by_text}) < 2:
        return None
    if len({place.table for places in by_text.values() for place in places}) == 1:
        found = [f"{text} at {_shown(places[0].table, places[0].row)}" for text, places in by_text.items()]
    else:
        found = [f"{text} in {_listed(place.table for place in places)}" for text, places in by_text.items()]
    return f"{_name(position)}: the paper prints {'; '.join(found)}."


@cache
def _by_subject() -> dict[tuple[str, ...], list[Position]]:
    """Where numbers of the same setting, data set, category and metric are printed, apart from the places left empty."""
    found: dict[tuple[str, ...], list[Position]] = {}
    for place, printed in all_printed().items():
        if printed.value is not None:
            found.setdefault(_subject(place), []).append(place)
    return found


def _subject(position: Position) -> tuple[str, ...]:
    return (_setting(position.row), *position[2:])


def _setting(row: str) -> str:
    return _SETTING_OF.get(row, row)


def _rows(tables: Iterable[int]) -> dict[str, dict[tuple[str, str], float | None]]:
    """{row: {(data set, metric): printed mean}} over several tables."""
    found: dict[str, dict[tuple[str, str], float | None]] = {}
    for place, printed in all_printed().items():
        if place.table in tables and place.category == MEAN:
            found.setdefault(place.row, {})[place.dataset, place.metric] = printed.value
    return found


def _tables(row: str) -> list[int]:
    return [place.table for place in all_printed() if place.row == row]


def _shown(table: int, row: str) -> str:
    """A row as its table calls it."""
    return " / ".join(FORMS[table].name(row))


def _listed(tables: Iterable[int]) -> str:
    """`Table 4`, or `Tables 4, 9 and 12`."""
    *first, last = sorted(set(tables))
    return f"Tables {', '.join(map(str, first))} and {last}" if first else f"Table {last}"


def _name(position: Position) -> str:
    dataset = "" if position.dataset == AVERAGE else f" on {DATASET_TITLES[position.dataset]}"
    return f"{_setting(position.row)}, {MEASURES[position.metric].title}{dataset}"
