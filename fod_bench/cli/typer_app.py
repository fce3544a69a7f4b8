"""Typer's application, with a help that names what a value stands for and no type of the program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup


def _without_types(parameters: list[Any], context: Any) -> list[Any]:
    """A switch takes no value, and an argument's name says what it is; options name theirs, or what there is to choose from."""
    for parameter in parameters:
        if parameter.param_type_name == "argument":
            parameter.display_type_rich = lambda ctx: ""
        elif parameter.metavar is None:
            choices = getattr(parameter, "display_type", lambda ctx: "")
            parameter.metavar = "" if getattr(parameter, "is_flag", False) else choices(context).strip("<>") or None
    return parameters


class _Command(TyperCommand):
    choices: ClassVar[Mapping[str, Callable[[], Iterable[str]]]] = {}
    """Parameter to the words that it takes, where these are known to another room."""

    def get_params(self, ctx: Any) -> list[Any]:
        parameters = super().get_params(ctx)
        for parameter in parameters:
            if parameter.name in self.choices:
                parameter.metavar = "|".join(self.choices[parameter.name]())
        return _without_types(parameters, ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """`JOB` for an argument that is needed, `[JOB]` for one that is not."""
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx), ctx)


class _DefaultGroup(_Group):
    """Its first command is meant where no other is named; the help is that one's, too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = list(self.list_commands(ctx))
        if not args or args[0] not in named[1:]:
            args = [named[0], *(args or ["--help"])]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return ("" if name == self.list_commands(ctx)[0] else name), command, rest  # which usage need not name


class App(typer.Typer):
    """An application, or a group of its commands."""

    def __init__(self, bare: bool = False, default: bool = False, **options: Any) -> None:
        """`bare`: it does something without a command; else it shows its help then. `default`: what names no command is for the
        first one."""
        super().__init__(cls=_DefaultGroup if default else _Group, no_args_is_help=not (bare or default), **options)

    def command(
        self, name: str | None = None, choices: Mapping[str, Callable[[], Iterable[str]]] | None = None, **options: Any
    ) -> Callable[[Any], Any]:
        """`choices`: parameter to what gives the words that it takes, which the help names."""
        return super().command(name, cls=type("Command", (_Command,), {"choices": choices or {}}), **options)
