"""`fod-bench init`: from a folder of images to a job file that runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fod_bench.cli.common import Verbose, guarded
from fod_bench.errors import DatasetError, FodBenchError, UsageError
from fod_bench.machine.files import write_whole
from fod_bench.machine.system import NVIDIA_DRIVER
from fod_bench.machine.terminal import say
from fod_bench.text import counted

if TYPE_CHECKING:
    from fod_bench.datasets.recognise import FoundImages, Proposal


@guarded
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of images, however they lie in it.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Job file to write; default: the folder's name, and .yaml.")
    ] = None,
    good: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Folder or files of normal images, by name or pattern; may be repeated."),
    ] = None,
    bad: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="The same of defective ones; may be repeated.")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(metavar="NAME", help="timm backbone; default: what the machine at hand is up to.")
    ] = None,
    weights: Annotated[
        str, typer.Option(metavar="WHICH", help="pretrained, random, or a .safetensors file.")
    ] = "pretrained",
    epochs: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", min=1, help="Epochs of what is trained; default: few, with a GPU as published."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a job file that is there already.")] = False,
    verbose: Verbose = False,
) -> None:
    """Look at a folder of images, say what was found, and write a commented job file that runs.

    Names of folders and files tell what is normal and what defective (good, OK, bad, NG, defect, scratch, ...), what is a mask, a
    split or a product. Images that lie as no layout reads them get a folder of links beside the job file; they are not touched.

    Example: `fod-bench init photos --bad 'NG_*'`
    """
    from fod_bench.datasets.recognise import arrange, arranged, as_it_lies, published, recognise
    from fod_bench.job.load import parse_job
    from fod_bench.job.starter import Starter, job_name, starter_job

    root = folder.expanduser()
    name = job_name(root.absolute().name if root.name not in ("", "..") else root.resolve().name)
    target = out or Path(f"{name}.yaml")
    if target.suffix not in (".yaml", ".yml"):
        raise UsageError(f"--out: {target} should end with .yaml")
    if (target.exists() or target.is_symlink()) and not force:
        raise FodBenchError(f"{target} is there already; --force replaces it, --out names another")
    if target.is_dir():
        raise FodBenchError(f"{target} is a folder: --out names a file")
    proposal = None if good or bad or not root.is_dir() else published(root)
    links = None
    if proposal is not None:
        lines = [_what(proposal), *_beside(proposal)]
    else:
        found = recognise(root, good or (), bad or ())
        lines = found.described()
        _require_enough(found, root)
        proposal = as_it_lies(found)
        if proposal is None:
            links = target.with_name(f"{target.stem}-images")
            proposal = arranged(found, links)
            lines.append(f"no layout reads them as they lie: {links} has links to them, sorted")
    starter = Starter(name, NVIDIA_DRIVER.exists(), backbone, weights, epochs)
    command = f"fod-bench run {shlex.quote(str(target))}"
    text = starter_job(starter, proposal, lines, command)
    # Nothing is written, nor replaced, before all is known to be right.
    parse_job(text, str(target), fill=True)
    if links is None:
        proposal.require()
    else:
        arrange(found, links)
    write_whole(target, [text], "the job file")
    for line in lines:
        say(line)
    say(f"wrote     {target}", err=True)
    say(f"next      {command.replace(' run ', ' plan ', 1)}   how long it will take; `{command}` does it", err=True)


def _what(proposal: Proposal) -> str:
    names = proposal.names
    return f"{proposal.root}: {proposal.layout}, {counted(len(names), 'category')}: {', '.join(names)}"


def _beside(proposal: Proposal) -> list[str]:
    from fod_bench.datasets.names import listed, printable

    if not proposal.left_out:
        return []
    names = listed(proposal.left_out)
    return [
        printable(
            f"left out: {names}, of no category of {proposal.layout}: `fod-bench init` of each makes a job of its own"
        )
    ]


def _require_enough(found: FoundImages, root: Path) -> None:
    """Raises DatasetError for a product that has fewer than two normal images: one to learn from, one to test on."""
    for category in found.categories:
        if len(category.good) < 2:
            raise DatasetError(
                f"{root}: {category.name} has {category.described()}: at least two normal images are needed, better sixty; "
                "--good names their folder or files"
            )
