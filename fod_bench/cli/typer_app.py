"""Typer's application, with a help that names no kind of value for an option that takes none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


def _without_kinds_of_switches(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
    return parameters


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:
        return _without_kinds_of_switches(super().get_params(ctx))


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _without_kinds_of_switches(super().get_params(ctx))


class App(typer.Typer):
    """An application, or a group of its commands."""

    def __init__(self, bare: bool = False, **options: Any) -> None:
        """`bare`: it does something without a command; else it shows its help then."""
        super().__init__(cls=_Group, no_args_is_help=not bare, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        return super().command(name, cls=_Command, **options)
