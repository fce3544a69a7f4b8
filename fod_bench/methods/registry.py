"""Which methods there are. A method is imported only when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fod_bench.methods.base import Method

METHODS = {"fod": "fod_bench.methods.fod.method:FodMethod"}
"""Name in a job file to the class that implements it."""


def method_class(name: str) -> type[Method]:
    """The class of a registered method. Raises KeyError for another name; a job file is checked before it gets here."""
    module, _, attribute = METHODS[name].partition(":")
    found: type[Method] = getattr(import_module(module), attribute)
    return found
