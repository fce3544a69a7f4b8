"""The keys of `settings`, `variants` and `grid`: which method each belongs to, and what follows for a row.

A key under `settings` is one that a method of some row has, and applies to the rows whose method has it. In a variant,
or in the grid, it has to be one of the row's own method.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from fod_bench.errors import JobError
from fod_bench.methods.registry import DEFAULT, method_names, settings_class
from fod_bench.methods.settings import MethodSettings
from fod_bench.schema.problems import MAX_SHOWN, KeyPath, MappingKey, Problem, describe, problems_of, suggest

Given = dict[str, Any]
"""Keys of settings with checked values."""


@dataclass
class Rows:
    """What a job says of its rows, checked; `problems` has what is wrong with it."""

    settings: Given = field(default_factory=dict)
    """What is given for all rows, and the defaults that all methods of the job agree on."""
    variants: dict[str, Given] = field(default_factory=dict)
    grid: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


@cache
def setting_keys() -> dict[str, tuple[str, ...]]:
    """Every key of settings that there is, to the methods that have it. A method that cannot be imported has none."""
    found: dict[str, list[str]] = {}
    for name in method_names():
        try:
            keys = settings_class(name).model_fields
        except JobError:
            continue
        for key in keys:
            found.setdefault(key, []).append(name)
    return {key: tuple(names) for key, names in found.items()}


def check_rows(settings: Any, variants: Any, grid: Any) -> Rows:
    """Check what a job says under the three keys; values come in the form that its methods' settings give them."""
    rows = Rows()
    plain: dict[str, Any] = {}
    for key, given in (("settings", settings), ("variants", variants), ("grid", grid)):
        if isinstance(given, Mapping):
            plain[key] = given
        else:
            text = "a mapping of setting to list of values" if key == "grid" else "a mapping (`key: value` lines)"
            rows.problems.append(Problem((key,), f"should be {text}, not {describe(given)}"))
            plain[key] = {}
    named = {name: given for name, given in plain["variants"].items() if isinstance(given, Mapping)}
    for name in plain["variants"].keys() - named.keys():
        text = f"should be a mapping (`key: value` lines), not {describe(plain['variants'][name])}"
        rows.problems.append(Problem(("variants", name), text))
    methods = _methods(plain["settings"], named, plain["grid"], rows.problems)
    everywhere = _classes(itertools.chain.from_iterable(methods.values()))

    rows.settings = _checked(("settings",), plain["settings"], everywhere, False, rows.problems)
    for name, given in named.items():
        rows.variants[name] = _checked(("variants", name), given, _classes(methods[name]), True, rows.problems)
    for key, values in plain["grid"].items():
        rows.grid[key] = tuple(_grid_values(key, values, everywhere, rows.problems))
    _fill_in(rows, everywhere)
    return rows


def row_settings(rows: Rows, variant: str | None, combination: Given) -> MethodSettings:
    """The settings of one row.

    Raises:
        pydantic.ValidationError: settings that contradict each other.
    """
    own = rows.variants[variant] if variant is not None else {}
    layers = (rows.settings, own, combination)
    method = next(layer["method"] for layer in reversed(layers) if "method" in layer)
    kind = settings_class(method)
    merged: Given = {}
    for key in kind.model_fields:
        values = [layer[key] for layer in layers if key in layer]
        if values:
            merged[key] = _laid_over(values)
    return kind.complete(merged)


def _laid_over(values: list[Any]) -> Any:
    """The last of the values; a mapping is laid over those before it."""
    if not all(isinstance(value, dict) for value in values):
        return values[-1]
    return {key: item for value in values for key, item in value.items()}


def _methods(
    settings: Mapping[str, Any],
    variants: Mapping[str, Mapping[str, Any]],
    grid: Mapping[str, Any],
    problems: list[Problem],
) -> dict[str | None, list[str]]:
    """Methods of the rows of each variant, or of the one row without variants (None); an unknown one is a problem."""

    def known(path: KeyPath, name: Any) -> list[str]:
        try:
            settings_class(name if isinstance(name, str) else str(name))
        except JobError as error:
            problems.append(Problem(path, str(error)))
            return [DEFAULT]  # so that the other keys are checked too
        return [name]

    base = known(("settings", "method"), settings["method"]) if settings.get("method") is not None else [DEFAULT]
    if isinstance(grid.get("method"), list | tuple):
        base = [found for at, name in enumerate(grid["method"]) for found in known(("grid", "method", at), name)]
    found: dict[str | None, list[str]] = {
        name: known(("variants", name, "method"), given["method"]) if given.get("method") is not None else base
        for name, given in variants.items()
    }
    return found or {None: base}


def _classes(methods: Iterable[str]) -> dict[str, type[MethodSettings]]:
    return {name: settings_class(name) for name in dict.fromkeys(methods)}


def _checked(
    at: KeyPath,
    given: Mapping[str, Any],
    classes: Mapping[str, type[MethodSettings]],
    every: bool,
    problems: list[Problem],
) -> Given:
    """The keys that hold, each value checked by every method that has the key; with `every`, all methods must have it."""
    values: Given = {}
    for key, value in given.items():
        having = _having(at, key, classes, every, problems)
        if key == "method":
            if value is not None:
                values[key] = value
        elif having:
            checked = list(_values((*at, key), key, value, having, problems))
            if len(checked) == len(having):
                values[key] = checked[0]
    return values


def _having(
    at: KeyPath, key: Any, classes: Mapping[str, type[MethodSettings]], every: bool, problems: list[Problem]
) -> dict[str, type[MethodSettings]]:
    """The classes that have the key; none, and a problem, where it does not belong here."""
    having = {name: kind for name, kind in classes.items() if key in kind.model_fields}
    lacking = [name for name in classes if name not in having]
    if not classes or (having and not (every and lacking)):
        return having
    names = dict.fromkeys(name for kind in classes.values() for name in kind.model_fields)
    elsewhere = setting_keys().get(str(key), ())
    if elsewhere:
        owners = " and ".join(f"`{name}`" for name in elsewhere)
        whose = f"`{lacking[0]}`, the method of this row, does not have" if every else "no row of this job has"
        problems.append(
            Problem(
                (*at, key), f"is a key of {owners}, which {whose}" if not every else f"is a key of {owners}; {whose} it"
            )
        )
    else:
        near = f"; {suggest(key, names)}" if len(problems) < MAX_SHOWN else ""  # which takes long for very many
        problems.append(Problem((*at, key), f"unknown key{near}"))
    return {}


def _values(
    path: KeyPath, key: str, value: Any, having: Mapping[str, type[MethodSettings]], problems: list[Problem]
) -> Iterator[Any]:
    """The value as each class gives it; what is wrong is told once, however many classes say it."""
    told: set[str] = set()
    for kind in having.values():
        try:
            yield getattr(kind.model_validate({key: value}), key)
        except ValidationError as error:
            for problem in problems_of(error, kind, {}):
                if problem.text not in told:
                    told.add(problem.text)
                    below = problem.path[1:]
                    if isinstance(value, Mapping):  # a number there is a key, as in `{8: 64}`
                        below = tuple(MappingKey(part) if isinstance(part, int) else part for part in below)
                    problems.append(Problem((*path, *below), problem.text))


def _grid_values(
    key: Any, given: Any, classes: Mapping[str, type[MethodSettings]], problems: list[Problem]
) -> Iterator[Any]:
    """The checked values of one key of the grid."""
    having = _having(("grid",), key, classes, True, problems)
    if not isinstance(given, list | tuple):
        problems.append(Problem(("grid", key), f"should be a list of values, not {describe(given)}; write [...]"))
    elif not given:
        problems.append(Problem(("grid", key), "must not be an empty list"))
    elif having:
        seen: set[Any] = set()
        for index, item in enumerate(given):
            checked = [item] if key == "method" else list(_values(("grid", key, index), key, item, having, problems))
            if not checked:
                continue
            if _identity(checked[0]) in seen:
                problems.append(Problem(("grid", key, index), f"{describe(checked[0])} is given twice"))
            seen.add(_identity(checked[0]))
            yield checked[0]


def _identity(value: Any) -> Any:
    """A hashable value, equal for equal values."""
    if isinstance(value, BaseModel):
        return _identity(value.model_dump())
    if isinstance(value, Mapping):
        return frozenset((key, _identity(item)) for key, item in value.items())
    return tuple(map(_identity, value)) if isinstance(value, list | tuple) else value


def _fill_in(rows: Rows, classes: Mapping[str, type[MethodSettings]]) -> None:
    """Spell the defaults out: for all rows where the methods agree, else in the variants; a mapping is laid over its default."""
    given, rows.settings = rows.settings, {"method": rows.settings.get("method", DEFAULT)}
    for key in dict.fromkeys(name for kind in classes.values() for name in kind.model_fields if name != "method"):
        defaults = {
            name: kind.model_fields[key].get_default(call_default_factory=True)
            for name, kind in classes.items()
            if key in kind.model_fields
        }
        first, *others = defaults.values()
        if key in given:
            rows.settings[key] = _laid_over([first, given[key]])
        elif all(other == first for other in others):
            rows.settings[key] = first
        elif key not in rows.grid:
            for variant in rows.variants.values():
                method = variant.get("method", rows.settings["method"])
                if method in defaults:
                    variant.setdefault(key, defaults[method])
