"""The page docs/job-reference.md, made from the schema: `python -m fod_bench.job.reference_page > docs/job-reference.md`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fod_bench.datasets import SyntheticSettings
from fod_bench.features.offered import BACKBONES
from fod_bench.job.datasets import DatasetSpec, Limit
from fod_bench.job.document import dump_document
from fod_bench.job.resources import Resources
from fod_bench.job.schema import Job
from fod_bench.methods.registry import BUILT_IN, settings_class
from fod_bench.methods.settings import BackboneSettings, MethodSettings

_SECTIONS: tuple[tuple[str, type[BaseModel], str], ...] = (
    ("The job", Job, "The keys at the top of the file."),
    ("`datasets.NAME`", DatasetSpec, "One data set; a job may have several, each under a name of its own."),
    (
        "`datasets.NAME.limit`",
        Limit,
        "Fewer images per category, for a quick look; such numbers are not the paper's.",
    ),
    ("`datasets.NAME.synthetic`", SyntheticSettings, "How the images of layout `synthetic` are drawn."),
    (
        "`settings`, common keys",
        MethodSettings,
        "Keys under `settings` apply to the rows whose method has them; in `variants.NAME` and `grid` they are of the row's "
        "own method.",
    ),
    ("`settings` of methods on a backbone", BackboneSettings, "What frozen features they work on."),
    ("`resources`", Resources, "What one trial asks of the cluster."),
)

_WORDS = {int: "whole number", float: "number", bool: "true or false", str: "text"}

_HEAD = """\
# Job file: every key

This page is generated from the schema (`python -m fod_bench.job.reference_page > docs/job-reference.md`); how to write a
job is told in [job.md](job.md). A key that is not listed here is refused. Files are YAML 1.2: `1e-4` is a number, and
`01`, `no` and `12:30` are text.
"""


def reference_markdown() -> str:
    """The whole page."""
    sections = [_HEAD, *(_section(*each) for each in _SECTIONS)]
    sections += [section for name in BUILT_IN for section in _of_method(name)]
    sections.append(_backbones())
    return "\n".join(sections)


def settings_markdown(name: str) -> str:
    """Every setting of one method, built in or from outside. Raises `JobError` for one that is not there or cannot be used."""
    settings = settings_class(name)
    common = [_section(*each) for each in _SECTIONS if issubclass(settings, each[1])]
    return "\n".join([*_of_method(name), *common])


def _of_method(name: str) -> list[str]:
    """The keys that a method has of its own, or says otherwise than those it shares; and the forms of its mappings."""
    settings = settings_class(name)
    shared = BackboneSettings if issubclass(settings, BackboneSettings) else MethodSettings
    own = {
        key: field
        for key, field in settings.model_fields.items()
        if key in settings.__annotations__ or key not in shared.model_fields
    }
    forms = [_section(title, model, (model.__doc__ or "").strip()) for title, model in settings.mappings.items()]
    return [_table(f"`settings` of method `{name}`", _about(settings), own), *forms]


def _about(settings: type[MethodSettings]) -> str:
    return f"{settings.source or settings.__doc__}: {settings.summary}. Works on {settings.works_on}."


def _section(title: str, model: type[BaseModel], text: str) -> str:
    common = MethodSettings.model_fields if issubclass(model, BackboneSettings) else {}
    return _table(title, text, {key: field for key, field in model.model_fields.items() if key not in common})


def _table(title: str, text: str, fields: Mapping[str, FieldInfo]) -> str:
    table = "\n".join(
        ["| key | kind | default | meaning |", "|---|---|---|---|", *(_row(*each) for each in fields.items())]
    )
    return f"## {title}\n\n{text}\n\n{table}\n"


def _row(key: str, field: FieldInfo) -> str:
    meaning = " ".join((field.description or "").split())
    cells = (f"`{key}`", _kind(field.annotation), _default(field), meaning)
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _kind(annotation: Any) -> str:
    """A type in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin in (Union, UnionType) and all(
        isinstance(choice, type) and issubclass(choice, BaseModel) for choice in arguments
    ):
        kinds = [choice.model_fields["kind"].default for choice in arguments]
        return f"{', '.join(f'`{kind}`' for kind in kinds)}, or mapping, see below"
    if origin in (Union, UnionType):
        return " or ".join(_kind(choice) for choice in arguments if choice is not type(None))
    if origin is tuple:
        return "list" if arguments[0] is Any else f"list of {_kind(arguments[0])}s".replace("texts", "text")
    if origin is dict:
        return f"mapping of {_kind(arguments[0])} to {_kind(arguments[1])}"
    if annotation is Any:
        return "any value"
    if annotation is Job:
        return "job file"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        title = next(title for title, model, _ in _SECTIONS if model is annotation)
        words = "`auto` or mapping" if annotation is Resources else "mapping"
        return f"{words}, see {title}"
    return _WORDS[annotation]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    default = field.get_default(call_default_factory=True)
    default = getattr(default, "kind", default)  # of forms with kinds, its word
    if default is None or isinstance(default, BaseModel):
        return "–"
    return f"`{_flow(default)}`" if default != "" else "empty"


def _flow(value: Any) -> str:
    """A value on one line of YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple):
        return f"[{', '.join(_flow(item) for item in value)}]"
    return dump_document({"": value}).partition(": ")[2].strip()


def _backbones() -> str:
    rows = [
        f"| `{name}` | {', '.join(f'{stride}: {channels}' for stride, channels in strides.items())} |"
        for name, strides in BACKBONES.items()
    ]
    table = "\n".join(["| backbone | levels: channels |", "|---|---|", *rows])
    return (
        "## Backbones\n\nAny timm backbone that gives feature maps can be named ([backbones.md](backbones.md)); these are known "
        f"without asking timm.\n\n{table}\n"
    )


if __name__ == "__main__":
    sys.stdout.write(reference_markdown())
