"""A bundle's report in headless Chromium: opened from its file, without a network, light and dark, at any width."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from experiments.report.html import write
from tests import bundles
from tests.chromium import browser
from tests.page.test_page import CONTRAST

Opened = Callable[..., Page]
__all__ = ["browser"]  # a fixture of tests/chromium.py
# How many colours a drawn chart has; an empty canvas has one.
COLOURS = """(canvas) => {
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const found = new Set();
  for (let at = 0; at < pixels.length; at += 28) {
    if (pixels[at + 3]) found.add(pixels[at] * 65536 + pixels[at + 1] * 256 + pixels[at + 2]);
  }
  return found.size;
}"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a whole bundle."""
    return write(bundles.whole(tmp_path_factory.mktemp("fetched") / "faults-20270115t080000z"))


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opened]:
    """Opens a report; at the end nothing else was asked for, and nothing was said to the console."""
    with ExitStack() as stack:
        asked: list[str] = []
        faults: list[str] = []

        def hear(said: ConsoleMessage) -> None:
            if said.type in ("error", "warning"):
                faults.append(said.text)

        def open_it(path: Path, **context: Any) -> Page:
            profile = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "offline": True, **context})
            stack.callback(profile.close)
            profile.set_default_timeout(20_000)
            page = profile.new_page()
            page.on("request", lambda request: asked.append(request.url))
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("console", hear)
            page.goto(path.as_uri())
            page.wait_for_selector("html[data-ready]", state="attached")
            return page

        yield open_it
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        assert faults == []


def draw_all(page: Page) -> None:
    """Scroll through, so that every chart is drawn."""
    for chart in page.locator(".chart").all():
        chart.scroll_into_view_if_needed()
        expect(chart.locator("canvas").first).to_be_attached()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_chart_is_drawn_and_every_text_can_be_read(opened: Opened, report: Path, scheme: str) -> None:
    page = opened(report, color_scheme=scheme)
    expect(page.locator("main > section")).to_have_count(13)
    expect(page.locator("section.absent")).to_have_count(0)
    draw_all(page)
    charts = page.locator(".chart")
    assert charts.count() == 9
    for chart in charts.all():
        assert chart.locator("canvas").first.evaluate(COLOURS) > 8, chart.get_attribute("id")
    ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 200) is (scheme == "dark")
    wanted = (
        "h1",
        ".faint",
        ".lead",
        ".word",
        "#theme",
        "nav a",
        "thead th",
        "td",
        "caption",
        "summary",
        ".text.good p",
        ".text.busy p",
        ".text.idle",
        ".tile dt",
        ".tile dd",
        ".tile small",
        "footer p",
    )
    low = {name: round(contrast, 2) for name in wanted if (contrast := page.evaluate(CONTRAST, name)) < 4.5}
    assert not low, f"less than 4.5 to 1: {low}"


def test_the_theme_is_switched_and_the_charts_with_it(opened: Opened, report: Path) -> None:
    page = opened(report, color_scheme="light")
    page.locator("#load-ttft").scroll_into_view_if_needed()
    pixels = "(canvas) => canvas.toDataURL()"
    canvas = page.locator("#load-ttft canvas")
    light = canvas.evaluate(pixels)
    button = page.locator("#theme")
    button.click()
    expect(button).to_have_text("Theme: light")
    button.click()
    expect(button).to_have_text("Theme: dark")
    assert canvas.evaluate(pixels) != light
    page.reload()
    expect(button).to_have_text("Theme: dark")


def test_the_heat_shows_another_figure(opened: Opened, report: Path) -> None:
    page = opened(report)
    page.locator("#heat-nodes").scroll_into_view_if_needed()
    canvas, pixels = page.locator("#heat-nodes canvas").first, "(canvas) => canvas.toDataURL()"
    before = canvas.evaluate(pixels)
    page.locator("#heat-nodes-choice").select_option("processor busy")
    assert canvas.evaluate(pixels) != before


def test_who_cannot_see_charts_has_words_and_tables(opened: Opened, report: Path) -> None:
    page = opened(report)
    for chart in page.locator(".chart").all():
        said = chart.get_attribute("aria-label") or ""
        assert len(said) > 20 and chart.get_attribute("role") == "img"
        assert chart.locator("xpath=ancestor::section//table").count() >= 1
    for table in page.locator("table").all():
        assert table.locator("caption").count() == 1
        assert table.locator("thead th[scope=col]").count() > 1
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()


@pytest.mark.parametrize("width", [320, 390, 768, 1280, 2200])
def test_nothing_is_cut_off_at_any_width(opened: Opened, report: Path, width: int) -> None:
    page = opened(report, viewport={"width": width, "height": 800})
    draw_all(page)
    wide = page.evaluate("() => document.documentElement.scrollWidth")
    assert wide <= width, "the page does not scroll sideways; its tables do"
    for place in range(page.locator(".chart").count()):
        box = page.locator(".chart").nth(place).bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width


def test_a_run_that_died_has_a_page_too(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_text('{"at": 1800000000.0, "kind": "run", "cluster": "lab"}\n')
    page = opened(write(tmp_path))
    expect(page.locator("#latency .missing")).to_contain_text("not collected: results/requests.parquet")
    assert page.locator("section.absent").count() >= 9
    expect(page.locator(".word")).to_have_text("no verdict")


def test_markup_from_a_bundle_stays_text(opened: Opened, tmp_path: Path) -> None:
    markup = "<img src=x onerror=\"document.title='taken'\"></script><b>bold</b>"
    bundles.whole(tmp_path / markup.replace("/", "").replace(" ", "")[:20])
    bundle = next(tmp_path.iterdir())
    said = {"verdict": markup, "causes": [{"name": markup, "ok": False, "detail": markup, "remedy": markup}]}
    bundles.write_json(bundle / "results/verdict.json", said)
    bundles.write_json(
        bundle / "results/recovery.json", [{"fault": markup, "node": markup, "detect": 1.0, "prove": 2.0}]
    )
    page = opened(write(bundle))
    draw_all(page)
    expect(page.locator("#verdict")).to_contain_text("<b>bold</b>")
    assert page.locator("main b, main img").count() == 0 and page.title() != "taken"
    page.locator("#recovery-stages").hover()
    assert page.locator("main b, main img").count() == 0 or "taken" not in page.title()
