"""Which methods there are: those built in, and those that installed packages offer by an entry point.

A method is known by its settings' class, which names the rest. Settings are imported when a job uses the method, its code where it
runs. A package offers a method by an entry point of the group `fod_bench.methods`: `name = "package.module:Settings"`. A family is
a library whose models are methods, `library/model`: one module knows them.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from fod_bench.errors import JobError
from fod_bench.methods.settings import MethodSettings
from fod_bench.schema.problems import unknown

if TYPE_CHECKING:
    from fod_bench.methods.base import Method

GROUP = "fod_bench.methods"

BUILT_IN = {
    "fod": "fod_bench.methods.fod.settings:FodSettings",
    "patchcore": "fod_bench.methods.patchcore.settings:PatchCoreSettings",
    "cflow": "fod_bench.methods.cflow.settings:CflowSettings",
    "padim": "fod_bench.methods.padim.settings:PadimSettings",
    "draem": "fod_bench.methods.draem.settings:DraemSettings",
    "mkd": "fod_bench.methods.mkd.settings:MkdSettings",
    "patchsvdd": "fod_bench.methods.patchsvdd.settings:PatchSvddSettings",
}
"""Name in a job file to the class of its settings."""

FAMILIES = {"anomalib": "fod_bench.methods.anomalib.models"}
"""What stands before the slash in a job, to the module of the family. It has `names()` and `settings_of(name)`, of whole names, and
`about()`, the library with its version. A model need not be able to run: its settings say what is missing."""

DEFAULT = "fod"
"""Method of a row that names none."""


@cache
def _offered() -> dict[str, EntryPoint]:
    """Methods from outside, by name. One of a built-in method's name is that method's no more than a second `fod` would be."""
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in BUILT_IN}


def method_names() -> list[str]:
    """Every method that a job can name, those built in first."""
    return [*BUILT_IN, *sorted(_offered())]


def family_names() -> list[str]:
    """Every `library/model` that a job can name."""
    return [name for module in FAMILIES.values() for name in import_module(module).names()]


def origin(name: str) -> str:
    """The package that a method comes from, with its version; empty for one built in."""
    if (family := _family(name)) is not None:
        return str(import_module(family).about())
    distribution = _offered()[name].dist if name in _offered() else None
    return f"{distribution.name} {distribution.version}" if distribution is not None else ""


@cache
def settings_class(name: str) -> type[MethodSettings]:
    """The settings of a method.

    Raises:
        JobError: there is no such method, or the package that offers it cannot be imported or offers something else.
    """
    if (family := _family(name)) is not None:
        of_model: type[MethodSettings] = import_module(family).settings_of(name)
        return of_model
    if name in BUILT_IN:
        target = BUILT_IN[name]
    elif name in _offered():
        target = _offered()[name].value
    else:
        raise JobError(unknown("method", name, [*method_names(), *family_names()]))
    try:
        found = _load(target)
    except Exception as error:  # whatever a foreign package raises when it is imported
        raise JobError(f"method {name!r} of {origin(name)} cannot be used: {type(error).__name__}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, MethodSettings)):
        raise JobError(
            f"method {name!r} of {origin(name)} cannot be used: {target} is no fod_bench.methods.settings.MethodSettings"
        )
    return found


def method_class(name: str) -> type[Method]:
    """The code of a method; imports what it runs with. Raises as `settings_class`."""
    found: type[Method] = _load(settings_class(name).implementation)  # type: ignore[assignment]
    return found


def _family(name: str) -> str | None:
    """The module of the family that a name is of; None for others."""
    library, slash, _ = name.partition("/")
    return FAMILIES.get(library) if slash else None


def _load(target: str) -> object:
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)
