"""Detectors behind one protocol, and their registry. A method is imported only when it is used."""

from __future__ import annotations

from importlib import import_module

from fod_bench.methods.base import Method, Pack, TrialData

METHODS = {"fod": "fod_bench.methods.fod:FodMethod"}
"""Name in a job file to the class that implements it."""

__all__ = ["METHODS", "Method", "Pack", "TrialData", "method_class"]


def method_class(name: str) -> type[Method]:
    """The class of a registered method. Raises KeyError for another name; a job file is checked before it gets here."""
    module, _, attribute = METHODS[name].partition(":")
    found: type[Method] = getattr(import_module(module), attribute)
    return found
