"""The Python that the pages show a reader."""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.helpers.written_commands import PAGES, ROOT


class Snippet(NamedTuple):
    """A block of Python, as a page has it."""

    page: str
    line: int
    code: str


def snippets(page: str) -> list[Snippet]:
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.finditer(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return [Snippet(page, text[: found.start()].count("\n") + 2, found[1]) for found in blocks]


SNIPPETS = [snippet for page in PAGES for snippet in snippets(page)]
