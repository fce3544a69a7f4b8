"""`fod-bench store index`: the index of a store's records."""

from __future__ import annotations

from typing import Annotated

import typer

from fod_bench.cli.common import Verbose, default_store, guarded
from fod_bench.cli.store_common import StoreOption, aside
from fod_bench.machine.terminal import say
from fod_bench.text import counted


@guarded
def index(
    store: StoreOption = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Make it from the records alone, whatever there is of an index.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Bring the index of the records up to date: list the trials, and read those that it does not know as they are.

    Plans, status and reports read the index instead of thousands of records. A run keeps it by itself; this is for stores of older
    versions, for large ones, and after a store was changed by other programs.

    Example: `fod-bench store index --store s3://bucket/fod`
    """
    from fod_bench.records.index.append import refresh
    from fod_bench.store import open_existing

    def tell(looked_at: int, of: int) -> None:
        if looked_at < of:
            aside(f"{looked_at} of {counted(of, 'trial')} looked at")

    opened = open_existing(store or default_store())
    done = refresh(opened, anew, tell)
    say(
        f"{opened.uri}: {counted(done.trials, 'trial')} in the index, {done.read} read, "
        f"{counted(done.generations, 'generation')}"
    )
