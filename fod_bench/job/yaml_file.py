"""Reading YAML with places, within bounds: a small text may stand for a large amount of data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from fod_bench.errors import JobError
from fod_bench.job.document import Document, Place, Template
from fod_bench.job.scalars import SCALARS, TAG, plain_scalar
from fod_bench.schema.problems import KeyPath, dotted
from fod_bench.text import escaped, has_control, shortened

MAX_VALUES = 50_000
MAX_CHARACTERS = 4 << 20
MAX_DEPTH = 20

_Pairs = dict[Any, tuple[yaml.ScalarNode, yaml.Node]]


@dataclass
class Budget:
    """What may still be read, aliases and merges spelled out. The files of one job share one."""

    values: int = MAX_VALUES
    characters: int = MAX_CHARACTERS

    def __post_init__(self) -> None:
        self.exceeded = (
            f"holds more than {self.values} values or {self.characters >> 20} MiB of text, aliases and merges spelled out and "
            "included files counted; no job needs as many"
        )

    def spend(self, values: int, characters: int = 0) -> bool:
        """Take that much; whether it was there."""
        self.values -= values
        self.characters -= characters
        return self.values >= 0 and self.characters >= 0


class _Loader(yaml.SafeLoader):
    """Composes no more than a budget of nodes, none too deep."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own form of a class table

    def __init__(self, text: str, budget: Budget) -> None:
        super().__init__(text)
        self._left = 2 * budget.values  # keys are nodes too
        self._depth, self._exceeded = 0, budget.exceeded

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._left -= 1
        self._depth += 1
        if self._left < 0 or self._depth > MAX_DEPTH:
            text = f"nested too deeply: more than {MAX_DEPTH} levels" if self._left >= 0 else self._exceeded
            raise yaml.MarkedYAMLError(problem=text, problem_mark=self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


_Loader.add_implicit_resolver(f"{TAG}merge", re.compile(r"<<\Z"), ["<"])
for _name, _form, _first, _ in SCALARS:
    _Loader.add_implicit_resolver(TAG + _name, _form, _first)

_PLAIN_TAGS = [TAG + name for name in ("str", "null", "bool", "int", "float")]


def read_document(text: str, source: str, file: int = 0, budget: Budget | None = None) -> Document:
    """The YAML `text` as data; `source` names it in errors, `file` orders it among others.

    Raises:
        JobError: not YAML, a key twice in one mapping, more than one document, anything that is not plain data, control
            characters, or more than `budget`.
    """
    budget = Budget() if budget is None else budget
    if not budget.spend(0, len(text)):  # blanks and comments take time too
        raise JobError(f"{source}: {budget.exceeded}")
    try:
        loader = _Loader(text, budget)
        node = loader.get_single_node()
        document = Document(None, {(): Place(file, 0, source)})
        if node is not None:
            document.data = _Builder(document, source, file, budget).build(node, (), [])
        return document
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}" if mark else source
        problem = error.problem or error.context or "not YAML"
        if "'\\t'" in problem:
            problem = "a tab where YAML takes blanks only; indent with spaces"
        elif "expected a single document" in (error.context or ""):
            problem = "a second document begins here (---); a job file holds one"
        raise JobError(f"{place}: not readable as YAML: {shortened(problem)}") from None
    except yaml.YAMLError as error:
        raise JobError(f"{source}: not readable as YAML: {' '.join(str(error).split())}") from None


class _Builder:
    """Turns nodes into data and notes the line of every key."""

    def __init__(self, document: Document, source: str, file: int, budget: Budget) -> None:
        self.document, self.source, self.file, self.budget = document, source, file, budget
        self._pairs: dict[yaml.Node, _Pairs] = {}

    def build(self, node: yaml.Node, path: KeyPath, above: list[yaml.Node]) -> Any:
        self._check_above(node, path, above)
        self._spend(node, 1)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if node.tag not in (f"{TAG}map", f"{TAG}seq"):
            raise self._refused(node, path, f"tag {node.tag!r} is not taken; a job file holds plain values")
        if isinstance(node, yaml.MappingNode):
            pairs = self._merged(node, path, [])
            return {key: self._entry((*path, key), *pair, [*above, node]) for key, pair in pairs.items()}
        return [self._entry((*path, index), item, item, [*above, node]) for index, item in enumerate(node.value)]

    def _merged(self, node: yaml.MappingNode, path: KeyPath, above: list[yaml.Node]) -> _Pairs:
        """Keys with their nodes. What `<<` brings in comes first, so that the mapping's own keys win."""
        if node in self._pairs:
            return self._pairs[node]
        self._check_above(node, path, above)
        brought: _Pairs = {}
        own: _Pairs = {}
        for key_node, value_node in node.value:
            if key_node.tag == f"{TAG}merge":
                for source in self._merge_sources(value_node, path):
                    pairs = self._merged(source, path, [*above, node])
                    self._spend(key_node, len(pairs))
                    brought |= pairs
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._refused(key_node, path, "a key must be a single word or number")
            key = self._plain(key_node, path)
            if key in own:
                line = own[key][0].start_mark.line + 1
                raise self._refused(key_node, (*path, key), f"given twice, first in line {line}")
            own[key] = key_node, value_node
        self._pairs[node] = brought | own
        return self._pairs[node]

    def _merge_sources(self, node: yaml.Node, path: KeyPath) -> list[yaml.MappingNode]:
        """The mappings that a `<<` names, those that win last."""
        sources: list[yaml.MappingNode] = []
        for source in node.value[::-1] if isinstance(node, yaml.SequenceNode) else [node]:
            self._spend(source, 1)
            if not isinstance(source, yaml.MappingNode):
                raise self._refused(source, path, "`<<` takes a mapping, or a list of mappings, to be merged")
            sources.append(source)
        return sources

    def _entry(self, path: KeyPath, named_by: yaml.Node, value: yaml.Node, above: list[yaml.Node]) -> Any:
        line = named_by.start_mark.line + 1
        self.document.places[path] = Place(self.file, line, f"{self.source}:{line}")
        return self.build(value, path, above)

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        if node.tag not in _PLAIN_TAGS:
            raise self._refused(node, path, f"tag {node.tag!r} is not taken; a job file holds plain values")
        value = self._plain(node, path)
        if isinstance(value, str) and "${" in value:
            return Template(value, plain=node.style is None)
        return value

    def _plain(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        self._spend(node, 0, len(node.value))
        # Only a description may have lines.
        if has_control(node.value, "\n\t" if path[-1:] == ("description",) else ""):
            shown = escaped(shortened(node.value))
            raise self._refused(node, path, f"holds a control character or an invisible one: '{shown}'")
        return node.value if node.tag == f"{TAG}str" else plain_scalar(node.value)

    def _check_above(self, node: yaml.Node, path: KeyPath, above: list[yaml.Node]) -> None:
        if any(node is other for other in above):
            raise self._refused(node, path, "the value holds itself")
        if len(above) > MAX_DEPTH:  # by aliases: what is written out is bounded by the loader
            raise self._refused(node, path, f"nested too deeply: more than {MAX_DEPTH} levels")

    def _spend(self, node: yaml.Node, values: int, characters: int = 0) -> None:
        if not self.budget.spend(values, characters):
            raise self._refused(node, (), self.budget.exceeded)

    def _refused(self, node: yaml.Node, path: KeyPath, text: str) -> JobError:
        where = f" {shortened(dotted(path))}:" if path else ""
        return JobError(f"{self.source}:{node.start_mark.line + 1}:{where} {shortened(text, 1000)}")
