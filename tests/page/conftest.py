"""Headless Chromium on the page as the control node serves it, behind a local server in the gateway's place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page

from tests.chromium import browser
from tests.watched import FIRST, HEAD, SECOND, THIRD, Engine, Gateway, Ray, Watching

NODES = {"head": HEAD, "worker1": FIRST, "worker2": SECOND, "worker3": THIRD}
__all__ = ["browser"]  # a fixture of tests/chromium.py


class Served:
    """A head and three workers: the first two serve, the third is dead."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.ray = Ray(NODES)
        stack.callback(self.ray.close)
        self.ray.dead.add("worker3")
        self.engines = [Engine("worker1", FIRST), Engine("worker2", SECOND)]
        for engine in self.engines:
            stack.callback(engine.close)
        ports = {"worker1": [self.engines[0].port], "worker2": [self.engines[1].port], "worker3": [8101]}
        self.watching = Watching(directory, self.ray, ports)
        self.watching.start()
        stack.callback(self.watching.stop)
        self.gateway = Gateway(self.watching)
        stack.callback(self.gateway.close)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A cluster that is up."""
    with ExitStack() as stack:
        yield Served(tmp_path, stack)


@pytest.fixture
def visit(browser: Browser, served: Served) -> Iterator[Callable[..., Page]]:
    """Opens the page in a new profile; at the end nothing has been asked of another address and nothing has failed."""
    with ExitStack() as stack:
        asked: list[str] = []
        faults: list[str] = []

        def hear(said: ConsoleMessage) -> None:
            # Refused connections and keys are part of the tests; so is one assignment that the browser has to refuse,
            # and which would be an error of the page as well if the page made it.
            expected = ("Failed to load resource", "TrustedHTML")
            if said.type == "error" and not any(words in said.text for words in expected):
                faults.append(said.text)

        def opened(*, live: bool = True, **context: Any) -> Page:
            profile = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **context})
            stack.callback(profile.close)
            profile.set_default_timeout(20_000)
            page = profile.new_page()
            page.on("request", lambda request: asked.append(request.url))
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("console", hear)
            page.goto(served.gateway.url)
            if live:
                page.wait_for_selector(".connection.live")
            return page

        yield opened
        assert [url for url in asked if not url.startswith(f"{served.gateway.url}/")] == []
        assert faults == []
