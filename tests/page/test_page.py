"""The web page in headless Chromium: topology, load, chat, verify, a lost connection, the key, themes, keyboard."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import Served
from tests.watched import FIRST

Visit = Callable[..., Page]
MARKUP = "<img src=x onerror=\"document.title='taken'\"><b>bold</b>"

# The contrast of a text with what is behind it, by WCAG 2's formula.
CONTRAST = """(selector) => {
  const element = document.querySelector(selector);
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const opaque = (node) => {
    for (; node; node = node.parentElement) {
      const [r, g, b, a = 1] = channels(getComputedStyle(node).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const light = ([r, g, b]) => {
    const part = (value) => (value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const text = element.namespaceURI.endsWith("svg") ? getComputedStyle(element).fill : getComputedStyle(element).color;
  const [high, low] = [light(channels(text)), light(opaque(element))].sort((a, b) => b - a);
  return (high + 0.05) / (low + 0.05);
}"""


def write_verify(served: Served, *failures: dict[str, Any]) -> None:
    record = {"at": time.time() - 90, "ok": not failures, "checks": 43, "seconds": 9.2, "failures": list(failures)}
    served.watching.verify_file.write_text(json.dumps(record))


def ask(page: Page, question: str) -> None:
    page.fill("#question", question)
    page.keyboard.press("Enter")


def test_every_node_is_shown_with_its_state(visit: Visit, served: Served) -> None:
    page = visit()
    for name, label, state, word in (
        ("head", "Head Node", "up", "up"),
        ("worker1", "Worker Node #1", "up", "up"),
        ("worker2", "Worker Node #2", "up", "up"),
        ("worker3", "Worker Node #3", "down", "down"),
    ):
        node = page.locator(f'[data-node="{name}"]')
        expect(node).to_have_attribute("data-state", state)
        expect(node).to_contain_text(label)
        expect(node).to_contain_text(served.ray.nodes[name])
        expect(node.locator(".word")).to_have_text(word)
    expect(page.locator('[data-node="worker1"]')).to_contain_text("serving")
    expect(page.locator('[data-node="worker3"]')).to_contain_text("no engine answers")
    expect(page.locator("#topology svg .tag").first).to_have_text("loopback · 10 Gb/s")
    expect(page.locator("#links")).to_contain_text("head, worker1, worker2, worker3")
    expect(page.locator("#summary")).to_have_text("3 of 4 nodes up, 2 of 3 replicas serving")
    # The drawing is one image for who cannot see it, and says the same in words.
    said = page.locator("#topology svg.drawing").get_attribute("aria-label") or ""
    assert "Worker Node #3 worker3: down" in said and "replica serving" in said


def test_states_and_load_follow_without_a_reload(visit: Visit, served: Served) -> None:
    page = visit()
    expect(page.locator('tr[data-state="serving"]')).to_have_count(2)
    first, second = served.engines
    second.said |= {"state": "wedged", "reason": "no token for 14 s", "since": time.time() - 20}
    first.said["requests"] = {"running": 3, "waiting": 1, "finished": 41}
    expect(page.locator('[data-node="worker2"]')).to_contain_text("wedged")
    row = page.locator('tr[data-replica="worker2-a1b2c3"]')
    expect(row).to_contain_text("wedged")
    expect(row).to_contain_text("no token for 14 s")
    expect(page.locator('[data-node="worker1"]')).to_contain_text("3 + 1 waiting")
    expect(page.locator("#topology .flow")).to_have_count(1)
    tile = page.locator(".tile", has_text="In flight")
    expect(tile.locator(".value")).to_have_text("3")
    expect(tile).to_contain_text("1 waiting")
    first.said["generated_tokens"] += 400
    first.counts = [10, 10, 10]
    expect(page.locator(".tile", has_text="Generated").locator(".value")).not_to_have_text("0")
    expect(page.locator(".tile", has_text="Time to first token").locator(".value")).to_have_text("50 ms")
    expect(page.locator(".tile .spark .line").first).to_be_attached()


def test_an_answer_streams_and_says_who_gave_it(visit: Visit, served: Served) -> None:
    served.gateway.pause_seconds = 0.25
    page = visit()
    ask(page, "What is the capital of France?")
    answer = page.locator(".turn.answer")
    expect(answer.locator(".text")).to_contain_text("The capital")
    assert "Paris" not in answer.locator(".text").inner_text(), "it is shown as it comes"
    expect(page.locator("#send")).to_have_text("Stop")
    expect(answer.locator(".text")).to_have_text("The capital of France is Paris.")
    meta = answer.locator(".meta")
    expect(meta).to_contain_text(f"Worker Node #1 · worker1 · {FIRST}")
    expect(meta).to_contain_text("replica worker1-a1b2c3")
    expect(meta).to_contain_text("first token after")
    expect(meta).to_contain_text("7 tokens")
    assert 2 <= float(meta.inner_text().split(" tokens/s")[0].split()[-1]) <= 4.2, "7 tokens, 0.25 s apart"
    expect(page.locator("#send")).to_have_text("Send")
    expect(answer).not_to_have_attribute("aria-busy", "true")

    served.gateway.pause_seconds = 0.0
    ask(page, "And of Italy?")
    expect(page.locator(".turn.answer")).to_have_count(2)
    expect(page.locator(".turn.answer").last.locator(".meta")).to_contain_text("worker1")
    first, second = served.gateway.bodies
    assert first["stream"] is True and first["model"] == "smollm2-135m-instruct"
    assert [turn["role"] for turn in second["messages"]] == ["user", "assistant", "user"]
    assert first["temperature"] == 0, "as everywhere else: the same answer each time"
    page.fill("#temperature", "0.7")
    ask(page, "And of Spain?")
    expect(page.locator(".turn.answer")).to_have_count(3)
    expect(page.locator("#send")).to_have_text("Send")
    assert served.gateway.bodies[-1]["temperature"] == 0.7


def test_a_conversation_longer_than_the_model_can_read_goes_on_without_its_oldest_turns(
    visit: Visit, served: Served
) -> None:
    page = visit()
    served.gateway.room = 3
    for number, question in enumerate(("One?", "Two?", "Three?"), 1):
        ask(page, question)
        expect(page.locator(".turn.answer")).to_have_count(number)
        expect(page.locator("#send")).to_have_text("Send")
    last = page.locator(".turn.answer").last
    expect(last.locator(".text")).to_have_text("The capital of France is Paris.")
    expect(last.locator(".meta")).to_contain_text("without the oldest turn")
    said = [turn["content"] for turn in served.gateway.bodies[-1]["messages"] if turn["role"] == "user"]
    assert said == ["Two?", "Three?"]


def test_what_goes_wrong_in_the_chat_is_said(visit: Visit, served: Served) -> None:
    page = visit()
    words, served.gateway.words = served.gateway.words, []
    ask(page, "Anybody?")
    expect(page.locator(".turn.answer .problem")).to_have_text("503: no engine serves now (try again in 5 s)")
    expect(page.locator("#question")).to_have_value("Anybody?")  # to be sent again
    served.gateway.words, served.gateway.breaks = words, True
    ask(page, "Again?")
    broken = page.locator(".turn.answer").nth(1)
    expect(broken.locator(".problem")).to_contain_text("broke off")
    expect(broken.locator(".text")).to_contain_text("Paris")
    served.gateway.breaks, served.gateway.pause_seconds = False, 2.0
    ask(page, "Slowly?")
    expect(page.locator("#send")).to_have_text("Stop")
    page.keyboard.press("Escape")
    expect(page.locator(".turn.answer").nth(2).locator(".problem")).to_have_text("stopped")
    expect(page.locator("#send")).to_have_text("Send")


def test_the_last_verify_and_its_failures(visit: Visit, served: Served) -> None:
    page = visit()
    expect(page.locator("#verify")).to_contain_text("cluster verify")
    write_verify(served)
    expect(page.locator("#verify .verdict.good")).to_contain_text("All 43 checks hold")
    expect(page.locator("#verify-when")).to_have_text("1 min ago")
    failed = {"name": "answer", "ok": False, "detail": "worker2: no right answer", "remedy": "run `cluster up`"}
    unknown = {"name": "nodes", "ok": None, "detail": "head: not read", "remedy": ""}
    write_verify(served, unknown, failed)
    expect(page.locator("#verify .verdict.bad")).to_contain_text("1 of 43 checks does not hold, 1 could not be told")
    shown = page.locator("#verify .failure")
    expect(shown).to_have_count(2)
    expect(shown.first).to_contain_text("worker2: no right answer")
    expect(shown.first).to_contain_text("→ run `cluster up`")


def test_what_others_said_is_shown_as_text(visit: Visit, served: Served) -> None:
    page = visit()
    served.engines[0].said |= {"state": "wedged", "reason": MARKUP, "replica": MARKUP}
    served.gateway.words = [MARKUP]
    write_verify(served, {"name": MARKUP, "ok": False, "detail": MARKUP, "remedy": MARKUP})
    ask(page, MARKUP)
    expect(page.locator(".turn.answer .text")).to_have_text(MARKUP)
    expect(page.locator("#verify .failure")).to_contain_text(MARKUP)
    expect(page.locator("#replicas .reason")).to_have_text(MARKUP)
    assert page.locator("main img, main b, main script").count() == 0
    assert page.title() != "taken"
    # And if a script here tried it, the browser would refuse.
    refused = page.evaluate(
        "() => { try { document.body.innerHTML = '<i></i>'; return ''; } catch (e) { return e.name; } }"
    )
    assert refused == "TypeError"


def test_a_lost_connection_is_said_and_found_again(visit: Visit, served: Served) -> None:
    page = visit()
    served.watching.stop()
    expect(page.locator("#connection")).to_have_text("connection lost")
    expect(page.locator("#notice")).to_contain_text("Connection to the cluster lost at")
    expect(page.locator('[data-node="worker1"]')).to_be_visible()
    assert "lost" in page.title()
    time.sleep(1.5)  # long enough for tries that fail: it must not give up
    served.watching.start()
    expect(page.locator("#connection")).to_have_text("live")
    expect(page.locator("#notice")).to_be_hidden()
    served.engines[1].said["state"] = "draining"
    expect(page.locator('[data-node="worker2"]')).to_contain_text("draining")


def test_a_stream_that_falls_silent_is_a_lost_connection(visit: Visit, served: Served) -> None:
    page = visit()
    assert served.watching.process is not None
    served.watching.process.send_signal(signal.SIGSTOP)
    try:
        expect(page.locator("#notice")).to_contain_text("nothing was heard for 8 s", timeout=15_000)
    finally:
        served.watching.process.send_signal(signal.SIGCONT)
    expect(page.locator("#connection")).to_have_text("live")


def test_the_key_is_asked_for_and_stays_in_the_tab(visit: Visit, served: Served) -> None:
    served.gateway.key = "the-key-of-a-test"
    page = visit(live=False)
    dialog = page.locator("#key-dialog")
    expect(dialog).to_be_visible()
    expect(page.locator("#key")).to_be_focused()
    expect(page.locator("#key-wrong")).to_be_hidden()
    page.keyboard.type("another-key")
    page.keyboard.press("Enter")
    expect(page.locator("#key-wrong")).to_be_visible()
    page.keyboard.type(served.gateway.key)
    page.keyboard.press("Enter")
    expect(page.locator("#connection")).to_have_text("live")
    expect(dialog).to_be_hidden()
    ask(page, "And the chat?")
    expect(page.locator(".turn.answer .text")).to_contain_text("Paris")
    kept = page.evaluate("() => [Object.values(sessionStorage), Object.values(localStorage), document.cookie]")
    assert kept == [[served.gateway.key], [], ""]
    page.reload()
    page.wait_for_selector(".connection.live")
    page.click("#key-button")
    page.click("#key-forget")
    expect(page.locator("#connection")).to_have_text("key wanted")
    assert page.evaluate("() => sessionStorage.length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_can_be_read(visit: Visit, served: Served, scheme: str) -> None:
    write_verify(served, {"name": "answer", "ok": False, "detail": "worker2: wrong", "remedy": "run `cluster up`"})
    served.engines[1].said |= {"state": "starting"}
    page = visit(color_scheme=scheme)
    ask(page, "What is the capital of France?")
    expect(page.locator(".turn.answer .where")).to_be_visible()
    expect(page.locator('[data-node="worker2"]')).to_contain_text("starting")
    ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 200) is (scheme == "dark")
    texts = (
        "h1", "#summary", ".hint", "#connection", "#theme-button", ".tile h3", ".tile .note", ".value", "tbody small",
        "tr .state.good", "tr .state.busy", ".you .text", ".answer .text", ".meta .where", ".meta span:last-child",
        "#send", ".verdict", ".remedy", ".keys", "footer p", ".links li",
    )  # fmt: skip
    low = {}
    for text in texts:
        contrast = page.evaluate(CONTRAST, text)  # at once: what is live is drawn again and again
        if contrast < 4.5:
            low[text] = round(contrast, 2)
    assert not low, f"less than 4.5 to 1: {low}"


def test_the_theme_can_be_chosen_and_is_kept(visit: Visit) -> None:
    page = visit(color_scheme="light")
    ground = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    button = page.locator("#theme-button")
    expect(button).to_have_text("Theme: auto")
    button.click()
    expect(button).to_have_text("Theme: light")
    button.click()
    expect(button).to_have_text("Theme: dark")
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    page.wait_for_selector(".connection.live")
    expect(button).to_have_text("Theme: dark")
    assert page.evaluate(ground) == dark


def test_the_keyboard_is_enough(visit: Visit, served: Served) -> None:
    page = visit()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    expect(page.locator(".skip")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.type("one/two")
    expect(page.locator("#question")).to_have_value("one/two")
    page.keyboard.press("Shift+Enter")
    assert served.gateway.bodies == []
    page.keyboard.press("Enter")
    expect(page.locator(".turn.answer .where")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.locator("#send")).to_be_focused()
    # Every control is reached, and shows that it is.
    page.locator(".skip").focus()
    reached = []
    for _ in range(6):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("() => document.activeElement.id"))
        outline = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", reached
    assert reached == ["theme-button", "model", "clear", "log", "question", "send"]
    page.locator("#theme-button").focus()
    page.keyboard.press("/")
    expect(page.locator("#question")).to_be_focused()


@pytest.mark.parametrize("width", [320, 390, 768, 1100, 2200])
def test_nothing_is_cut_off_at_any_width(visit: Visit, served: Served, width: int) -> None:
    write_verify(served, {"name": "files", "ok": False, "detail": f"worker1: /{'long' * 40} is missing", "remedy": ""})
    page = visit(viewport={"width": width, "height": 800})
    ask(page, "What is the capital of France?")
    expect(page.locator(".turn.answer .where")).to_be_visible()
    expect(page.locator("#verify .failure")).to_be_visible()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    drawing = page.locator("#topology svg.drawing").bounding_box()
    card = page.locator(".card.topology").bounding_box()
    assert drawing and card and drawing["x"] >= card["x"] and drawing["width"] <= card["width"]
    small = page.evaluate(
        "() => [...document.querySelectorAll('main *, .drawing text')].filter((e) => e.childNodes.length"
        " && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())"
        " && parseFloat(getComputedStyle(e).fontSize) < 11).map((e) => e.className.baseVal ?? e.className)"
    )
    assert small == []
    # No text of the drawing leaves its box.
    outside = page.evaluate(
        "() => [...document.querySelectorAll('.drawing .node')].flatMap((node) => {"
        " const box = node.querySelector('.box').getBoundingClientRect();"
        " return [...node.querySelectorAll('text')].filter((text) => { const t = text.getBoundingClientRect();"
        " return t.width && (t.left < box.left || t.right > box.right + 0.5); }).map((text) => text.textContent); })"
    )
    assert outside == []
