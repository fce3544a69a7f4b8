"""A headless Chromium for the tests of pages: Debian's, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
"""Programs that serve, the first that is there."""
LIMIT = 120_000.0
"""Milliseconds that a browser may take for anything on a busy machine."""

Scheme = Literal["light", "dark"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser; where it is not installed the test is skipped and says so."""
    program = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no chromium here: on Debian `apt-get install chromium`, which `make test` does as root")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra `dev`")
    rights = ["--no-sandbox"] if os.geteuid() == 0 else []  # as root it does not start with one
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=rights, timeout=LIMIT)
        yield browser
        browser.close()


class Visit:
    """Pages of one folder, opened from disk as a person does. Notes whatever went wrong or left the folder."""

    def __init__(self, browser: Browser, folder: Path, scheme: Scheme = "light", width: int = 1280) -> None:
        self.folder = folder
        self.faults: list[str] = []
        """Errors on the console and in scripts, requests that failed, and requests for anything outside the folder."""
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
        context.set_default_timeout(LIMIT)
        self.page: Page = context.new_page()
        self.page.on("console", lambda message: self._note(message.type in ("error", "warning"), message.text))
        self.page.on("pageerror", lambda error: self._note(True, str(error)))
        self.page.on("requestfailed", lambda request: self._note(True, f"failed: {request.url}"))
        self.page.on("request", lambda request: self._note(not self._inside(request.url), f"left: {request.url}"))

    def open(self, name: str) -> Page:
        """The page of that name, with a part after `#` if there is one, loaded anew."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.folder.as_uri()}/{name}")
        return self.page

    def violations(self) -> list[str]:
        """What axe-core finds, good practices included. It is not to fetch styles, which the page forbids."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
        found: dict[str, Any] = axe.Axe().run(self.page, options={"preload": False}).response
        return [
            f"{one['id']}: {one['help']}: {node['html'][:200]}" for one in found["violations"] for node in one["nodes"]
        ]

    def close(self) -> None:
        """End the visit; nothing must have gone wrong."""
        self.page.context.close()
        assert not self.faults, self.faults

    def _note(self, wrong: bool, text: str) -> None:
        if wrong:
            self.faults.append(text)

    def _inside(self, url: str) -> bool:
        return url.startswith((f"{self.folder.as_uri()}/", "data:", "about:"))
