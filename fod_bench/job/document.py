"""A job file as plain data that knows for every key where it was written, and the way back to YAML."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from fod_bench.job.scalars import FLOAT_FORM, TAG
from fod_bench.schema.problems import KeyPath, shortened


@dataclass(frozen=True)
class Template:
    """A text with `${VARIABLE}` in it, before its variables are looked up."""

    text: str
    plain: bool
    """Whether it was written without quotes, so that the outcome may be a number."""


@dataclass(frozen=True)
class Taken:
    """A value that was taken from variables, and how it was written."""

    template: Template
    values: dict[str, str]
    """`{value of a variable, or the whole: what to show for it}`."""


class Place(NamedTuple):
    """Where a key was written. Places sort in the order of files and lines, those of the command line last."""

    file: float
    """Number of the file, in the order of reading."""
    line: int
    text: str
    """`file:line` or `--set ...`."""

    @classmethod
    def on_command_line(cls, override: str) -> Place:
        # A store's address that is refused may be so for a secret in it.
        return cls(math.inf, 0, "--set store=…" if override.startswith("store=") else f"--set {shortened(override)}")

    @property
    def is_on_command_line(self) -> bool:
        """Whether no file holds it."""
        return self.file == math.inf


@dataclass
class Document:
    """Plain data (dict, list, scalars, `Template`) and where each key was written."""

    data: Any
    places: dict[KeyPath, Place]
    taken: dict[KeyPath, Taken] = field(default_factory=dict)
    """What came from variables, by the path of its key."""

    def values_near(self, path: KeyPath) -> dict[str, str]:
        """`{value: what to show for it}` of the variables' values at, above or below the key."""
        return {
            value: shown
            for at, taken in self.taken.items()
            if at == path[: len(at)] or path == at[: len(path)]
            for value, shown in taken.values.items()
        }

    def place(self, path: KeyPath) -> Place:
        """Where the key, or the nearest key above it, was written."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]


class _Dumper(yaml.SafeDumper):
    """Quotes whatever either reading of YAML, 1.1 or 1.2, would not take for text."""


_Dumper.add_implicit_resolver(f"{TAG}float", FLOAT_FORM, list("-+.0123456789"))
_Dumper.add_representer(tuple, yaml.SafeDumper.represent_list)
_Dumper.add_representer(
    Template,
    lambda dumper, template: dumper.represent_scalar(f"{TAG}str", template.text, style=None if template.plain else "'"),
)


def dump_document(data: Mapping[str, Any]) -> str:
    """Plain data, and templates, as YAML that `read_document` and `substitute` turn into equal data."""

    def escaped(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace("${", "$${")
        if isinstance(value, dict):
            return {key: escaped(item) for key, item in value.items()}
        return [escaped(item) for item in value] if isinstance(value, list | tuple) else value

    return yaml.dump(escaped(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
