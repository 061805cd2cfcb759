"""A headless Chromium for the tests of MLflow's page, and the page in a state worth showing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome")
INSTALL = "apt-get update && apt-get install -y --no-install-recommends chromium fonts-liberation"
WAIT = 120_000  # milliseconds; a loaded machine draws slowly
_OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def executable() -> str | None:
    """The browser that the machine has, if any; ``CHROMIUM`` names another."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def tab(profile: Path) -> Iterator[Any]:
    """One tab of a browser on its first visit; its profile is made in ``profile``."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(profile),
            executable_path=executable(),
            args=list(_OPTIONS),
            viewport={"width": 1440, "height": 900},
        )
        context.set_default_timeout(WAIT)
        try:
            yield context.new_page()
        finally:
            context.close()


def shoot(page: Any, folder: Path, name: str) -> Path:
    """The page as ``name``.png, when its charts have stopped moving."""
    page.wait_for_function("document.fonts.status === 'loaded'")
    path = folder / f"{name}.png"
    last = b""
    for _ in range(20):
        page.wait_for_timeout(500)
        now = page.screenshot(path=str(path))
        if now == last:
            break
        last = now
    with Image.open(path) as picture:  # a quarter of the size, and no difference to be seen
        picture.quantize(256, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
    return path
