"""Faults of a job file, and their wording: what is wrong with which key, and the nearest valid name."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from fod_bench.errors import plain_message
from fod_bench.text import shortened

KeyPath = tuple[str | int, ...]

MAX_SHOWN = 100
"""Faults of one file that are told; of more only the number."""


class MappingKey(int):
    """A number in a path that is the key of a mapping; other numbers are places in a list."""


@dataclass(frozen=True)
class Problem:
    """One fault: the path of the key, e.g. `("datasets", "mvtec", "categories", 0)`, and what is wrong there."""

    path: KeyPath
    text: str


def dotted(path: KeyPath) -> str:
    """The path as a person writes it: `datasets.mvtec.categories[0]`."""
    text = "".join(f".{part}" if isinstance(part, str | MappingKey) else f"[{part}]" for part in path)
    return text.removeprefix(".")


def within_job(path: KeyPath) -> KeyPath:
    """The path of a key in the job it belongs to, which may be an included one: `include[1].include[0].name` is `name`."""
    while path[:1] == ("include",) and len(path) > 2:
        path = path[2:]
    return path


def suggest(word: object, names: Iterable[str]) -> str:
    """`did you mean x?` for a word that is none of `names`, or all of them where none is near."""
    known = list(names)
    folded = {name.casefold(): name for name in known}
    near = [folded[name] for name in difflib.get_close_matches(str(word).casefold(), folded, n=3, cutoff=0.55)]
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"valid: {', '.join(known)}" if len(known) <= 32 else "no name is near it"


def unknown(what: str, word: object, names: Iterable[str]) -> str:
    """Text for a word that is none of `names`."""
    return f"unknown {what} {shortened(str(word))!r}; {suggest(word, names)}"


def refusal(title: str, problems: Iterable[Problem]) -> ValidationError:
    """The problems as one validation error, which pydantic merges into that of the model around it."""
    return ValidationError.from_exception_data(
        title,
        [
            InitErrorDetails(
                type=PydanticCustomError("refused", "{text}", {"text": problem.text}), loc=problem.path, input=None
            )
            for problem in problems
        ],
    )


def problems_of(
    error: ValidationError,
    model: type[BaseModel],
    homes: Mapping[str, str],
    told: Set[KeyPath] = frozenset(),
    *,
    whole: bool = False,
) -> Iterator[Problem]:
    """The faults of a validation error of `model` in words, but for those at or below the paths in `told`.

    `homes` says which mapping a key belongs to. Of very many only the first are told, and the number; with `whole`, for an error
    that becomes part of another, the others follow without their words.
    """
    found = [
        details
        for details in error.errors(include_url=False)
        if not any(details["loc"][:length] in told for length in range(len(details["loc"]) + 1))
        and not (details["type"] == "too_short" and details["input"])  # its items are wrong, and named each for itself
    ]
    if len(found) > MAX_SHOWN and not whole:
        yield Problem((), f"{len(found)} faults, of which {MAX_SHOWN} are told")
    for details in found[:MAX_SHOWN]:
        path = tuple(part for part in details["loc"] if part != "[key]")
        if details["type"] in ("extra_forbidden", "invalid_key"):
            yield Problem(path, _unknown_key(path, model, homes))
        elif details["loc"][-1:] == ("[key]",):
            yield Problem(path, f"a name must be text: write it in quotes, '{path[-1]}'")
        else:
            yield Problem(path, _wording(details))
    if whole:
        yield from (Problem(details["loc"], "refused") for details in found[MAX_SHOWN:])


def _unknown_key(path: KeyPath, model: type[BaseModel], homes: Mapping[str, str]) -> str:
    path = within_job(path)
    key = str(path[-1])
    names = list(_model_at(path[:-1], model).model_fields)
    home = homes.get(key)
    if home is not None and home != dotted(path[:-1]):
        return f"unknown key; it belongs {f'under `{home}:`' if home else 'at the top of the file'}"
    return f"unknown key; {suggest(key, names)}"


def _model_at(path: KeyPath, model: type[BaseModel]) -> type[BaseModel]:
    """The model that holds the keys at `path`, found by walking the annotations of the fields."""
    holder: Any = model
    for part in path:
        if isinstance(holder, type) and issubclass(holder, BaseModel):
            annotation: Any = holder.model_fields[str(part)].annotation
            choices = [choice for choice in get_args(annotation) if choice is not type(None)]
            holder = choices[0] if len(choices) == 1 else annotation
        else:
            holder = get_args(holder)[1]  # the values of a dict
    return holder


_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "dict_type": "a mapping (`key: value` lines)",
    "model_type": "a mapping (`key: value` lines)",
}


def _wording(details: ErrorDetails) -> str:
    kind, given, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "missing":
        return "missing; it must be given"
    if kind in _EXPECTED:
        return f"should be {_EXPECTED[kind]}, not {describe(given)}"
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", context["expected"])
        return f"unknown value {_shown(given)}; {suggest(given, choices)}"
    if kind == "too_short":
        return "must not be empty"
    if kind == "value_error":
        return str(context["error"])
    if kind == "refused":
        return str(context["text"])
    return f"{plain_message(details)}, not {describe(given)}"


def describe(value: object) -> str:
    """A value as a job file would show it, with its kind where that is the likely trouble."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "an empty list" if not value else f"the list {_shown(list(value))}"
    text = _shown(value)
    return f"the text {text}" if isinstance(value, str) else text


def _shown(value: object) -> str:
    """As Python writes it, cut where it is long or deep."""
    return _WRITER.repr(value)


class _Writer(reprlib.Repr):
    def repr_str(self, text: str, level: int) -> str:
        return repr(shortened(text))


_WRITER = _Writer()
_WRITER.maxlist = _WRITER.maxtuple = _WRITER.maxdict = 10
_WRITER.maxother = _WRITER.maxlong = 200
