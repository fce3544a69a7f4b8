"""`fod-bench methods`: the detectors there are, and the settings of one."""

from __future__ import annotations

from typing import Annotated

import typer

from fod_bench.cli.common import Verbose, guarded
from fod_bench.cli.completion import method_names
from fod_bench.machine.terminal import say


@guarded
def methods(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A method; default: list them all.", autocompletion=method_names),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """List the methods that a job can name, built in or from installed packages, or print the settings of one.

    A package offers a method by an entry point of the group `fod_bench.methods`. Models of a library are named `library/model`.

    Example: `fod-bench methods fod`
    """
    from fod_bench.errors import JobError
    from fod_bench.job.reference_page import settings_markdown
    from fod_bench.methods.registry import FAMILIES, family_names, method_names, origin, settings_class

    if name is not None:
        say(settings_markdown(name), nl=False)
        return
    for each in method_names():
        say(f"{each} ({origin(each) or 'built in'})")
        try:
            settings = settings_class(each)
        except JobError as error:  # a package that cannot be imported takes no other method along
            say(f"  cannot be used: {error}")
            continue
        facts = {
            "": settings.summary,
            "works on": settings.works_on,
            "published": settings.source,
            "licence": settings.licence,
        }
        for title, text in facts.items():
            if text:
                say(f"  {f'{title}: ' if title else ''}{text}")
    for library in FAMILIES:
        names = [each for each in family_names() if each.startswith(f"{library}/")]
        say(f"{library}/MODEL ({origin(names[0])})")
        for each in names:
            say(f"  {each}: {settings_class(each).summary}")
