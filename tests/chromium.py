"""Headless Chromium, as this machine has it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a module of tests."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; on Debian: apt-get install --no-install-recommends chromium")
    with sync_playwright() as playwright:
        # Chromium's own sandbox refuses to start as root.
        found = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"] if os.geteuid() == 0 else [], timeout=60_000
        )
        yield found
        found.close()
