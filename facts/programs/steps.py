"""Time steps of a running service over its API. The order comes as JSON on standard input, one answer goes out.

Order: {"url", "key", "model", "loads": [[users, words of the prompt], ...], "prompts": [words, ...], "short", "long",
"rounds", "seconds"}. A decode step's time is the difference of two rounds that differ only in how many tokens they ask
for, so queue, prefill and network cancel out. A prompt's time is that of a request for one token, with all of them.
Only the standard library: it runs on the control node, or wherever the API can be reached.
"""

import json
import statistics
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import Any

from facts.programs import direct


def ask(order: dict[str, Any], number: int, words: int, tokens: int, answers: list[dict[str, Any]]) -> None:
    """One request; its usage goes into `answers`."""
    body = {
        "model": order["model"],
        # Another first word each time, so that no prompt is a cached one; of one width, so that all are equally long.
        "prompt": f"{number:04d} " + "word " * words,
        "max_tokens": tokens,
        "min_tokens": tokens,
        "ignore_eos": True,
        "temperature": 1.0,
    }
    headers = {"Content-Type": "application/json"}
    if order["key"]:
        headers["Authorization"] = "Bearer " + order["key"]
    call = urllib.request.Request(order["url"] + "/completions", json.dumps(body).encode(), headers)  # noqa: S310 (http by design)
    try:
        with direct.opened(call, order["seconds"]) as response:
            answers.append(json.load(response)["usage"])
    except (OSError, ValueError, KeyError) as error:
        answers.append({"error": f"{getattr(error, 'reason', None) or error}"})


def timed(order: dict[str, Any], users: int, words: int, tokens: int, start: int) -> tuple[float, int]:
    """Seconds of a round in which all users ask at once, and the length of the prompts as the server counts it."""
    answers: list[dict[str, Any]] = []
    threads = [
        threading.Thread(target=ask, args=(order, start + user, words, tokens, answers)) for user in range(users)
    ]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begun
    for answer in answers:
        if "error" in answer:
            raise RuntimeError(answer["error"])
        if answer["completion_tokens"] != tokens:
            raise RuntimeError(f"asked {tokens} tokens, got {answer['completion_tokens']}")
    return seconds, answers[0]["prompt_tokens"]


def measured(order: dict[str, Any]) -> dict[str, Any]:
    """A list of points, decodes before prefills: users, context tokens and seconds of a step."""
    number, points = 0, []
    for users, words in order["loads"]:
        times = []
        for _ in range(order["rounds"]):
            short, _ = timed(order, users, words, order["short"], number)
            number += users
            long, prompt = timed(order, users, words, order["long"], number)
            number += users
            times.append((long - short) / (order["long"] - order["short"]))
        middle = prompt + (order["short"] + order["long"]) / 2
        points.append({"users": users, "context_tokens": middle, "seconds": statistics.median(times)})
    for words in order["prompts"]:
        times = []
        for _ in range(order["rounds"]):
            seconds, prompt = timed(order, 1, words, 1, number)
            number += 1
            times.append(seconds)
        points.append(
            {"users": 1, "context_tokens": float(prompt), "seconds": statistics.median(times), "prefill": True}
        )
    return {"points": points}


def main() -> None:
    """One answer, whatever happened."""
    try:
        result = measured(json.load(sys.stdin))
    except Exception as error:
        result = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
