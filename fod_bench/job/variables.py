"""`${VARIABLE}` in a job file: looking the variables up."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from fod_bench.job.document import Document, Taken, Template
from fod_bench.job.scalars import plain_scalar
from fod_bench.schema.hidden import hide
from fod_bench.schema.problems import KeyPath, Problem, dotted, within_job
from fod_bench.text import has_control

_VARIABLE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^${}]*))?\}|\$\{")


def defaults(text: str) -> str | None:
    """What a text with variables says where none of them is set; None where one has no default."""
    variables = [found for found in _VARIABLE.finditer(text) if found["name"]]
    if any(found["default"] is None for found in variables):
        return None
    return _VARIABLE.sub(lambda found: found["default"] if found["name"] else "${", text)


def substitute(
    document: Document, variables: Mapping[str, str] | None = None, keep_unset: bool = False
) -> list[Problem]:
    """Put the variables (the process's environment) into the document's templates, in place.

    With `keep_unset` a variable that is not set counts as one that another machine may have: without a default it stays as it is
    written.

    `${NAME}`, `${NAME:-default}` (also for an empty variable) and `$${`, which stands for `${`. What was written
    without quotes is then read as though written out, so that it may be a number. Returns a problem for every template
    that cannot be filled; such a value is left as the text `?`. Values of the environment are told to `hidden`, and to the
    document, for they may be secrets.
    """
    environment = os.environ if variables is None else variables
    problems: list[Problem] = []

    def filled(path: KeyPath, template: Template) -> Any:
        values: dict[str, str] = {}
        left = False

        def replacement(match: re.Match[str]) -> str:
            nonlocal left
            name, default = match["name"], match["default"]
            if match[0] == "$${":
                return "${"
            if name is None:
                raise ValueError("`${` begins no variable; write ${NAME}, ${NAME:-default}, or $${ for the sign itself")
            if environment.get(name) or (name in environment and default is None):
                if has_control(environment[name]):
                    raise ValueError(f"the value of ${{{name}}} holds a control character or an invisible one")
                values[environment[name]] = f"${{{name}}}"
                return environment[name]
            left = left or keep_unset
            if default is None and keep_unset:
                return match[0]
            if default is None:
                key = dotted(within_job(path)).partition("[")[0]  # a list is set as a whole
                remedy = f"export {name}=..., or pass --set {key}=..."
                raise ValueError(f"the variable {name} is not set: {remedy}")
            return default

        try:
            text = _VARIABLE.sub(replacement, template.text)
        except ValueError as error:
            problems.append(Problem(path, str(error)))
            return "?"
        if values or left:
            document.taken[path] = Taken(template, ({text: template.text} if values else {}) | values)
            for value, shown in document.taken[path].values.items():
                hide(value, shown)
        return plain_scalar(text) if template.plain else text

    document.data = _walked(document.data, filled)
    return problems


def leave(document: Document) -> None:
    """Have the document's templates be texts as they were written, `${NAME}` and all, but for `$${`, which stands for `${`."""
    document.data = _walked(
        document.data,
        lambda _, template: _VARIABLE.sub(lambda found: "${" if found[0] == "$${" else found[0], template.text),
    )


def _walked(value: Any, filled: Callable[[KeyPath, Template], Any], path: KeyPath = ()) -> Any:
    """The data with each template in it replaced."""
    if isinstance(value, Template):
        return filled(path, value)
    if isinstance(value, dict):
        return {key: _walked(item, filled, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_walked(item, filled, (*path, index)) for index, item in enumerate(value)]
    return value
