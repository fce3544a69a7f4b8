"""Commands of fod-bench that stand in the pages, the cluster files and the job files are ones that it takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from fod_bench.cli.app import app

ROOT = Path(__file__).parents[2]
MENTIONING = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "results").rglob("*.md"))]
FILES = [*sorted((ROOT / "clusters").iterdir()), *sorted((ROOT / "fod_bench/jobs").glob("*.yaml")), ROOT / "Dockerfile"]
_COMMAND = re.compile(r"(?P<before>^|[\s'\"`(])fod-bench(?= +[a-z])")
_OPERATORS = {"|", "||", "&", "&&", ";", ">", ">>", "<", ")"}


def shell_of(path: Path) -> str:
    """What of a file is for a shell: of a page its blocks marked bash or console, of another file all, comments included."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        text = "\n".join(re.findall(r"^ *```(?:bash|console)\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE))
    return text.replace("\\\n", " ")


def commands(text: str) -> Iterator[list[str]]:
    """The words after `fod-bench` of every command that a line has, within quotes, too."""
    for line in text.splitlines():
        # In a comment of a YAML file, commands are indented; the rest of it is prose.
        if re.match(r"\s*#(?!   )", line):
            continue
        for found in _COMMAND.finditer(line):
            rest, before = line[found.end() :], found["before"]
            if before in ("'", '"', "`"):
                rest = rest.partition(before)[0]
            lexer = shlex.shlex(rest, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words: list[str] = []
            for word in lexer:
                if word in _OPERATORS:
                    break
                words.append(word)
            yield words


def refusal(words: list[str]) -> str | None:
    """Why the command line is not taken; None if it is. Nothing is run."""
    command = typer.main.get_command(app)
    name, context = "fod-bench", None
    try:
        while True:
            context = command.make_context(name, list(words), parent=context)
            if not hasattr(command, "resolve_command"):
                return None
            rest = [*context._protected_args, *context.args]
            if not rest:
                return None
            name, command, words = command.resolve_command(context, rest)
    except Exception as error:  # of click's kinds
        return f"{type(error).__name__}: {getattr(error, 'message', error)}"


@pytest.mark.parametrize("path", [*PAGES, *FILES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_is_taken(path: Path) -> None:
    refused = {shlex.join(words): said for words in commands(shell_of(path)) if (said := refusal(words))}
    assert refused == {}


@pytest.mark.parametrize("path", MENTIONING, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_that_prose_names_are_there(path: Path) -> None:
    text = re.sub(r"^ *```.*?^ *```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    named = [" ".join(line.split()) for line in re.findall(r"`(fod-bench [a-z][^`…|]*)`", text)]
    said = {line: refusal(words) or "" for line in dict.fromkeys(named) for words in commands(line)}
    assert {line: fault for line, fault in said.items() if "No such" in fault or fault.startswith("NoSuch")} == {}


def test_commands_are_found() -> None:
    text = """
#   ray exec --tmux clusters/aws.yaml 'fod-bench run quickstart --address auto --store s3://BUCKET/x'   # until
  entrypoint: fod-bench run quickstart --address auto
    fod-bench status && echo done
# fod-bench stands in prose here
"""
    assert list(commands(text)) == [
        ["run", "quickstart", "--address", "auto", "--store", "s3://BUCKET/x"],
        ["run", "quickstart", "--address", "auto"],
        ["status"],
    ]
    for name in ("aws", "gcp", "onprem", "local", "kuberay-job", "kuberay-cluster"):
        assert any(words[0] == "run" for words in commands(shell_of(ROOT / f"clusters/{name}.yaml")))
    assert any(words[0] == "run" for words in commands(shell_of(ROOT / "clusters/slurm.sh")))


@pytest.mark.parametrize(
    "line",
    [
        "fod-bench run",
        "fod-bench run quickstart --adress auto",
        "fod-bench start quickstart",
        "fod-bench store cpy a b",
    ],
)
def test_a_wrong_command_is_refused(line: str) -> None:
    (words,) = commands(line)
    assert refusal(words)
