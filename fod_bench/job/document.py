"""YAML with places: a job file as plain data, knowing for every key where it was written.

Numbers and switches are read as YAML 1.2 has them: `1e-4` is a number, `01`, `no` and `12:30` are text.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml

from fod_bench.errors import JobError
from fod_bench.schema.problems import KeyPath, Problem, dotted, within_job

_TAG = "tag:yaml.org,2002:"
_FLOAT_FORM = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")

# How an unquoted scalar is read: tag, form, the characters it may begin with, and what makes the value of it.
_SCALARS: tuple[tuple[str, re.Pattern[str], list[str], Callable[[str], Any]], ...] = (
    ("null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""], lambda text: None),
    ("bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF"), lambda text: text.lower() == "true"),
    ("int", re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\Z"), list("-+0123456789"), int),
    ("float", _FLOAT_FORM, list("-+.0123456789"), float),
)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own form of a class table


_Loader.add_implicit_resolver(f"{_TAG}merge", re.compile(r"<<\Z"), ["<"])
for _name, _form, _first, _ in _SCALARS:
    _Loader.add_implicit_resolver(_TAG + _name, _form, _first)


class _Dumper(yaml.SafeDumper):
    """Quotes whatever either reading of YAML, 1.1 or 1.2, would not take for text."""


_Dumper.add_implicit_resolver(f"{_TAG}float", _FLOAT_FORM, list("-+.0123456789"))
_Dumper.add_representer(tuple, yaml.SafeDumper.represent_list)


@dataclass(frozen=True)
class Template:
    """A text with `${VARIABLE}` in it, before its variables are looked up."""

    text: str
    plain: bool
    """Whether it was written without quotes, so that the outcome may be a number."""


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
        return cls(math.inf, 0, "--set store=…" if override.startswith("store=") else f"--set {override}")

    @property
    def is_on_command_line(self) -> bool:
        """Whether no file holds it."""
        return self.file == math.inf


@dataclass
class Document:
    """Plain data (dict, list, scalars, `Template`) and where each key was written."""

    data: Any
    places: dict[KeyPath, Place]

    def place(self, path: KeyPath) -> Place:
        """Where the key, or the nearest key above it, was written."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]


def read_document(text: str, source: str, file: int = 0) -> Document:
    """The YAML `text` as data; `source` names it in errors, `file` orders it among others.

    Raises:
        JobError: not YAML, a key twice in one mapping, more than one document, or anything that is not plain data.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        document = Document(None, {(): Place(file, 0, source)})
        if node is not None:
            document.data = _Builder(loader, document, source, file).build(node, (), [])
        return document
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}" if mark else source
        problem = error.problem or error.context or "not YAML"
        if "'\\t'" in problem:
            problem = "a tab where YAML takes blanks only; indent with spaces"
        elif "expected a single document" in (error.context or ""):
            problem = "a second document begins here (---); a job file holds one"
        raise JobError(f"{place}: not readable as YAML: {problem}") from None
    except yaml.YAMLError as error:
        raise JobError(f"{source}: not readable as YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise JobError(f"{source}: nested too deeply") from None


class _Builder:
    """Turns nodes into data and notes the line of every key."""

    def __init__(self, loader: _Loader, document: Document, source: str, file: int) -> None:
        self.loader, self.document, self.source, self.file = loader, document, source, file

    def build(self, node: yaml.Node, path: KeyPath, above: list[yaml.Node]) -> Any:
        if any(node is other for other in above):
            raise self._refused(node, path, "the value holds itself")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if node.tag not in (f"{_TAG}map", f"{_TAG}seq"):
            raise self._refused(node, path, f"tag {node.tag!r} is not taken; a job file holds plain values")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, above)
        return [self._entry((*path, index), item, item, [*above, node]) for index, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: KeyPath, above: list[yaml.Node]) -> dict[Any, Any]:
        written: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == f"{_TAG}merge":
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._refused(key_node, path, "a key must be a single word or number")
            key = self._plain(key_node)
            if key in written:
                raise self._refused(key_node, (*path, key), f"given twice, first in line {written[key]}")
            written[key] = key_node.start_mark.line + 1
        self.loader.flatten_mapping(node)  # what `<<` brings in comes first, so that the mapping's own keys win
        mapping = {}
        for key_node, value_node in node.value:
            key = self._plain(key_node)
            mapping[key] = self._entry((*path, key), key_node, value_node, [*above, node])
        return mapping

    def _entry(self, path: KeyPath, named_by: yaml.Node, value: yaml.Node, above: list[yaml.Node]) -> Any:
        line = named_by.start_mark.line + 1
        self.document.places[path] = Place(self.file, line, f"{self.source}:{line}")
        return self.build(value, path, above)

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        if node.tag not in [_TAG + name for name in ("str", "null", "bool", "int", "float")]:
            raise self._refused(node, path, f"tag {node.tag!r} is not taken; a job file holds plain values")
        if node.tag == f"{_TAG}str" and "${" in node.value:
            return Template(node.value, plain=node.style is None)
        return self._plain(node)

    def _plain(self, node: yaml.ScalarNode) -> Any:
        return node.value if node.tag == f"{_TAG}str" else plain_scalar(node.value)

    def _refused(self, node: yaml.Node, path: KeyPath, text: str) -> JobError:
        where = f" {dotted(path)}:" if path else ""
        return JobError(f"{self.source}:{node.start_mark.line + 1}:{where} {text}")


def plain_scalar(text: str) -> Any:
    """What an unquoted scalar stands for: nothing, a switch, a number or text."""
    for _, form, _, value in _SCALARS:
        if form.match(text):
            return value(text)
    return text


_VARIABLE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^${}]*))?\}|\$\{")


def substitute(document: Document, variables: Mapping[str, str] | None = None) -> list[Problem]:
    """Put the variables (the process's environment) into the document's templates, in place.

    `${NAME}`, `${NAME:-default}` (also for an empty variable) and `$${`, which stands for `${`. What was written
    without quotes is then read as though written out, so that it may be a number. Returns a problem for every template
    that cannot be filled; such a value is left as the text `?`.
    """
    environment = os.environ if variables is None else variables
    problems: list[Problem] = []

    def filled(path: KeyPath, template: Template) -> Any:
        def replacement(match: re.Match[str]) -> str:
            name, default = match["name"], match["default"]
            if match[0] == "$${":
                return "${"
            if name is None:
                raise ValueError("`${` begins no variable; write ${NAME}, ${NAME:-default}, or $${ for the sign itself")
            if environment.get(name) or (name in environment and default is None):
                return environment[name]
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
        return plain_scalar(text) if template.plain else text

    def walk(path: KeyPath, value: Any) -> Any:
        if isinstance(value, Template):
            return filled(path, value)
        if isinstance(value, dict):
            return {key: walk((*path, key), item) for key, item in value.items()}
        if isinstance(value, list):
            return [walk((*path, index), item) for index, item in enumerate(value)]
        return value

    document.data = walk((), document.data)
    return problems


def dump_document(data: Mapping[str, Any]) -> str:
    """Plain data as YAML that `read_document` and `substitute` turn into equal data."""

    def escaped(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace("${", "$${")
        if isinstance(value, dict):
            return {key: escaped(item) for key, item in value.items()}
        return [escaped(item) for item in value] if isinstance(value, list | tuple) else value

    return yaml.dump(escaped(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
