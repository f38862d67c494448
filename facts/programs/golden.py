"""The golden question: what is asked of an engine to prove it, and whether its answer is right.

The one judgement of it: a replica, the verification, the page and the benchmarks ask here. Standard library only.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def declared(golden: Mapping[str, Any], directory: str) -> dict[str, Any]:
    """What is asked and expected: as declared, or as the reference implementation answered when it was fetched.

    That stands beside the weights and is checked with them; OSError or ValueError when it cannot be read.
    """
    if "reference" not in golden:
        return dict(golden)
    found: dict[str, Any] = json.loads((Path(directory) / "golden.json").read_text())
    return found


def asked(golden: Mapping[str, Any]) -> str:
    """The question of a chat, or the beginning that is to be continued."""
    return str(golden["question"] if "question" in golden else golden["prompt"])


def request(golden: Mapping[str, Any], model: str) -> tuple[str, dict[str, Any]]:
    """Path and body in OpenAI's shapes, at temperature 0."""
    common = {"model": model, "temperature": 0.0, "max_tokens": golden["max_tokens"]}
    if "question" in golden:
        return "/v1/chat/completions", {**common, "messages": [{"role": "user", "content": asked(golden)}]}
    return "/v1/completions", {**common, "prompt": asked(golden)}


def answer_of(body: Mapping[str, Any], golden: Mapping[str, Any]) -> str:
    """The text in an answer to `request`; LookupError or TypeError for another shape."""
    choice = body["choices"][0]
    return str((choice["message"]["content"] if "question" in golden else choice["text"]) or "")


def is_right(expected: str, answer: str) -> bool:
    """Whether an answer has the expected words, in whatever case."""
    return expected.lower() in answer.lower()


def complaint(golden: Mapping[str, Any], answer: str) -> str:
    """What is wrong with an answer; empty when it is right."""
    if is_right(str(golden["expected"]), answer):
        return ""
    return f"expected {golden['expected']!r} in the answer, got {answer[:120]!r}"
