"""What a request may ask of an engine, judged before the engine sees it: pure, the same for every engine.

An engine's own words for some of these name its command line, its tokenizer or its Python; others it would only take.
`refusal` says what is wrong with a request in the API's words, and how to ask instead.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from facts.programs.characters import complaint

# vLLM's own limit for both; OpenAI's for the second.
MOST_LOGPROBS = 20
MOST_STOPS = 16
DEPTH = 64
NUMBERS = 2**63

CHOSEN, FORCED, NONE = "chosen", "forced", "none"
"""Tool calls of a model: by its own choice too, by `tool_choice` alone, or not at all."""

_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_JSON = re.compile(r"^application/([\w.-]+\+)?json\b", re.IGNORECASE)


@dataclass(frozen=True)
class Limits:
    """What an engine takes. `answers`: prompts of a request, times its `n`. `length`: its context; 0: unknown."""

    model: str
    answers: int = 128
    length: int = 0
    tools: str = FORCED


class Refusal(Exception):
    """What is wrong with a request, and which of its keys; `code` is OpenAI's word for it where there is one."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message, self.param, self.code = message, param, code


def refusal(path: str, kind: str, body: bytes, limits: Limits) -> Refusal | None:
    """Why a POST to `path` with this content type is refused; None where the engine may see it."""
    if kind and not _JSON.match(kind):
        return None  # the engine says which kinds it takes
    try:
        asked = _read(body)
        _numbers(asked)
        _answers(path, asked, limits)
        _length(asked, limits)
        if path.endswith("/chat/completions"):
            _tools(asked, limits)
    except Refusal as refused:
        return refused
    return None


def _read(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body, parse_constant=_no_number)
    except RecursionError:
        raise Refusal(f"the body is nested deeper than {DEPTH} levels") from None
    except UnicodeDecodeError as error:
        raise Refusal(f"the body is no UTF-8: {error.reason} at byte {error.start + 1}") from None
    except ValueError as error:
        raise Refusal(f"the body is no JSON: {error}") from None
    if not isinstance(asked, dict):
        raise Refusal("the body is no JSON object")
    halves = bool(_HALF.search(body))
    if halves or body.count(b"[") + body.count(b"{") > DEPTH:
        for key, value in asked.items():
            _walk(key, [key, value], halves)
    return asked


def _no_number(word: str) -> Any:
    raise Refusal(f"{word} is no number of JSON")


def _walk(key: str, value: Any, halves: bool) -> None:
    """Refuse what lies too deep, and texts that are none."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEPTH:
            raise Refusal(f"{_shown(key)} is nested deeper than {DEPTH} levels", _shown(key))
        inner: list[Any] = []
        for entry in level:
            if isinstance(entry, str):
                if halves and (wrong := complaint(entry)):
                    raise Refusal(f"a text in {_shown(key)} is none: {wrong}", _shown(key))
            elif isinstance(entry, dict):
                inner += [*entry.keys(), *entry.values()]
            elif isinstance(entry, list):
                inner += entry
        level = inner


def _shown(key: str) -> str:
    """A key of somebody else's as a message may repeat it."""
    return key[:64].encode(errors="replace").decode()


def _numbers(asked: dict[str, Any]) -> None:
    for key, value in asked.items():
        if isinstance(value, int | float) and not abs(value) < NUMBERS:
            raise Refusal(f"{_shown(key)} is a number that no engine can hold", _shown(key))


def _answers(path: str, asked: dict[str, Any], limits: Limits) -> None:
    """How many answers, and how much about each."""
    several = max(_count(asked, name, 1, limits.answers) for name in ("n", "best_of"))
    name = "input" if path.endswith("/fill-mask") else "prompt"
    given = asked.get(name)
    prompts = 1
    if isinstance(given, list):
        if not given:
            raise Refusal(f"{name} is an empty list; give a text", name)
        prompts = 1 if all(isinstance(entry, int) for entry in given) else len(given)
    if prompts * several > limits.answers:
        said = f"{prompts} prompts with n {several} are {prompts * several} answers; {limits.answers} is the most"
        raise Refusal(f"{said} a request, ask in several", name)
    for key in ("logprobs", "top_logprobs", "prompt_logprobs"):
        _count(asked, key, 0, MOST_LOGPROBS)
    stops = asked.get("stop")
    if isinstance(stops, list) and len(stops) > MOST_STOPS:
        raise Refusal(f"stop has {len(stops)} texts; {MOST_STOPS} is the most", "stop")


def _count(asked: dict[str, Any], name: str, least: int, most: int) -> int:
    """A whole number of the request; another type is the engine's to refuse."""
    value = asked.get(name)
    if type(value) is not int:
        return least
    if not least <= value <= most:
        raise Refusal(f"{name} is {value}; give a whole number from {least} to {most}", name)
    return value


def _length(asked: dict[str, Any], limits: Limits) -> None:
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens", "min_tokens"):
        value = asked.get(name)
        if type(value) is int and limits.length and value > limits.length:
            raise Refusal(
                f"{name} is {value}; the context of {limits.model} has {limits.length} tokens, for question and answer "
                "together",
                name,
                "context_length_exceeded",
            )
        if type(value) is int and value < 0:
            raise Refusal(f"{name} is {value}; give a whole number above zero", name)


def _tools(asked: dict[str, Any], limits: Limits) -> None:
    """Tools that a model cannot be asked to use, in words that say what to do."""
    tools, choice = asked.get("tools"), asked.get("tool_choice")
    if not tools or choice == "none" or limits.tools == CHOSEN:
        return
    if limits.tools == NONE:
        raise Refusal(
            f"the engine of {limits.model} has no tool calls; leave `tools` out, or serve a model with vLLM", "tools",
            "tools_not_supported",
        )  # fmt: skip
    if choice in (None, "auto"):
        raise Refusal(
            f"{limits.model} does not choose tools by itself: its entry in the catalogue has no `parser` for them; say "
            'which with tool_choice: "required", or {"type": "function", "function": {"name": ...}}, leave `tools` '
            "out, or serve a model that `cluster models` shows with tools",
            "tools",
            "tools_not_supported",
        )
