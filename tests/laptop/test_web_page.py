"""The web page of the running laptop cluster, in headless Chromium, through its public address."""

from __future__ import annotations

import json
import time

import pytest
from playwright.sync_api import Browser, expect

from tests.chromium import browser
from tests.laptop.conftest import ADDRESS, Operator, state

__all__ = ["browser"]  # a fixture, used by its name

pytestmark = pytest.mark.cluster

SECONDS = 30


def test_the_state_is_that_of_the_cluster(laptop: Operator) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        now = state()
        if [node["state"] for node in now["nodes"]] == ["up"] * 3 and len(now["replicas"]) == 2:
            break
        assert time.monotonic() < deadline, json.dumps(now)[:3000]
        time.sleep(0.5)
    assert {node["name"]: node["address"] for node in now["nodes"]} == {
        "head": "127.0.0.10",
        "worker1": "127.0.0.11",
        "worker2": "127.0.0.12",
    }
    assert {replica["node"]: replica["state"] for replica in now["replicas"]} == {
        "worker1": "serving",
        "worker2": "serving",
    }
    assert all(replica["proofs"]["last"]["correct"] for replica in now["replicas"])
    assert all(node["memory_bytes"] for node in now["nodes"])


def test_the_page_shows_it_and_talks_to_it(laptop: Operator, browser: Browser) -> None:
    laptop.cluster("verify", "--json")
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{ADDRESS}/")
    expect(page.locator("#connection")).to_have_text("live", timeout=SECONDS * 1000)
    expect(page.locator("#summary")).to_have_text("3 of 3 nodes up, 2 of 2 replicas serving", timeout=SECONDS * 1000)
    expect(page.locator("#verify .verdict.good")).to_contain_text("checks hold", timeout=SECONDS * 1000)
    page.fill("#question", "What is the capital of France?")
    page.keyboard.press("Enter")
    expect(page.locator(".turn.answer .text")).to_contain_text("Paris", timeout=SECONDS * 1000)
    meta = page.locator(".turn.answer .meta")
    expect(meta).to_contain_text("tokens/s", timeout=SECONDS * 1000)
    assert any(f"Worker Node #{n} · worker{n} · 127.0.0.1{n}" in meta.inner_text() for n in (1, 2))
    # The engines' own histograms reach the page ("62 ms", "1.20 s"): the chat alone is a request.
    expect(page.locator(".tile", has_text="Time to first token").locator(".value")).to_contain_text(
        "s", timeout=SECONDS * 1000
    )
    assert [url for url in asked if not url.startswith(f"{ADDRESS}/")] == []
