"""What the site needs beside the pages of this folder: README as its home, and the files of the repository that pages link to.

The pages are written for a reader of the repository: their links are relative to their place in it. Here each link that leads out
of `docs/` is led to a copy below `repository/`, so that the strict build checks those too. mkdocs calls the functions by name.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
OUTSIDE = "repository"
"""Folder of the site with what lies outside `docs/`."""
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/RESULTS.md", *(
    path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "results").rglob("*.md")) if "/store/" not in path.as_posix()
))  # fmt: skip
"""Pages that lie outside `docs/`."""
_LINK = re.compile(
    r"(?P<before>!?\[(?:[^\[\]]|\[[^\]]*\])*\]\()(?P<target>[^)\s#]*)(?P<rest>(?:#[^)\s]*)?(?:\s+\"[^\"]*\")?\))"
)
_CODE = re.compile(r"(^ {0,3}```.*?^ {0,3}```)", flags=re.DOTALL | re.MULTILINE)


def place_in_site(path: str) -> str:
    """Where a file of the repository lies in the site."""
    if path == "README.md":
        return "index.md"
    return path.removeprefix("docs/") if path.startswith("docs/") else f"{OUTSIDE}/{path}"


def place_in_repository(page: str) -> str:
    """The other way round."""
    if page == "index.md":
        return "README.md"
    return page.removeprefix(f"{OUTSIDE}/") if page.startswith(f"{OUTSIDE}/") else f"docs/{page}"


def targets(text: str, source: str) -> dict[str, str]:
    """Links of a page to files of the repository: as written, and the path in it."""
    found = {}
    for piece in _CODE.split(text)[::2]:
        for link in _LINK.finditer(piece):
            target = link["target"]
            if target and "://" not in target and not target.startswith(("mailto:", "/")):
                found[target] = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    return found


def rewritten(text: str, source: str) -> str:
    """The page with its links as they have to be in the site."""
    known = targets(text, source)
    here = posixpath.dirname(place_in_site(source))

    def link(found: re.Match[str]) -> str:
        path = known.get(found["target"])
        if path is None or not (ROOT / path).exists():
            return found[0]  # the strict build names it
        if (ROOT / path).is_dir():
            path = f"{path}/index.md"
        return found["before"] + posixpath.relpath(place_in_site(path), here or ".") + found["rest"]

    pieces = _CODE.split(text)
    pieces[::2] = [_LINK.sub(link, piece) for piece in pieces[::2]]
    return "".join(pieces)


def on_files(files: Files, config: Any) -> Files:
    """Add what lies outside `docs/` and is linked to."""
    pages = {place: (ROOT / place).read_text(encoding="utf-8") for place in PAGES}
    inside = {f"docs/{file.src_uri}": Path(file.abs_src_path or "").read_text(encoding="utf-8")
              for file in files.documentation_pages()}  # fmt: skip
    linked = {path for source, text in (pages | inside).items() for path in targets(text, source).values()}
    for place, text in pages.items():
        files.append(File.generated(config, place_in_site(place), content=text))
    for path in sorted(linked):
        if path.startswith("docs/") or path in pages or not (ROOT / path).exists():
            continue
        if (ROOT / path).is_dir():
            files.append(File.generated(config, f"{place_in_site(path)}/index.md", content=_listing(path)))
            continue
        files.append(File.generated(config, place_in_site(path), abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Lead the links to where the files are."""
    return rewritten(markdown, place_in_repository(page.file.src_uri))


def _listing(folder: str) -> str:
    """A page for a folder: what is in it."""
    names = sorted(
        path.name + "/" * path.is_dir() for path in (ROOT / folder).iterdir() if not path.name.startswith(".")
    )
    return f"# {folder}\n\nIn the repository's folder `{folder}`:\n\n" + "".join(f"* `{name}`\n" for name in names)
