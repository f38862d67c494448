"""A request in OpenAI's shape, read strictly: what is wrong with it is a RequestError that names the parameter.

Parameters that transformers_engine.py does not have are refused, not ignored; unknown ones are ignored. Pure.
"""

from dataclasses import dataclass
from typing import Any

# Parameter -> the values that mean "without it".
NOT_HERE: dict[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "best_of": (None, 1),
    "echo": (None, False),
    "suffix": (None, ""),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "logit_bias": (None, {}),
    "presence_penalty": (None, 0, 0.0),
    "frequency_penalty": (None, 0, 0.0),
    "tools": (None, []),
    "response_format": (None, {"type": "text"}),
}


class RequestError(ValueError):
    """A request that cannot be answered: what is wrong with it, and which parameter. It becomes a 400."""

    def __init__(self, message: str, parameter: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.parameter, self.code = parameter, code


@dataclass
class Sampling:
    """How to answer. Temperature 0 is greedy; an empty `stop` stops at the model's own end."""

    max_tokens: int = 16
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    ignore_end: bool = False


def refuse_what_is_not_here(body: dict[str, Any]) -> None:
    """RequestError for a parameter that would change the answer and that this engine does not have."""
    for name, without in NOT_HERE.items():
        if body.get(name) not in without:
            raise RequestError(f"{name} is {body[name]!r}, which this engine does not have; leave it out", name)


def sampling(body: dict[str, Any], size: int) -> Sampling:
    """How to answer; `size` is the number of tokens."""
    stop = body.get("stop")
    stop = [] if stop is None else [stop] if isinstance(stop, str) else stop
    if not isinstance(stop, list) or len(stop) > 4 or not all(isinstance(word, str) and word for word in stop):
        raise RequestError("stop is a text, or up to four of them, none empty", "stop")
    return Sampling(
        max_tokens=size,
        temperature=number(body, "temperature", 1.0, 0.0, 2.0),
        top_p=number(body, "top_p", 1.0, 0.000001, 1.0),
        stop=tuple(stop),
        seed=whole(body, "seed", None, least=-(2**63)),
        ignore_end=flag(body, "ignore_eos"),
    )


def prompts(body: dict[str, Any]) -> list[Any]:
    """A text, texts, token ids, or lists of token ids; OpenAI allows all four."""
    prompt = body.get("prompt")
    if isinstance(prompt, str):
        return [prompt]
    if isinstance(prompt, list) and prompt:
        if all(isinstance(entry, int) and not isinstance(entry, bool) for entry in prompt):
            return [prompt]
        ids = all(isinstance(entry, list) and entry and all(type(token) is int for token in entry) for entry in prompt)
        if ids or all(isinstance(entry, str) for entry in prompt):
            return list(prompt)
    raise RequestError("prompt is a text, a list of texts, or token ids", "prompt")


def messages(body: dict[str, Any]) -> list[dict[str, str]]:
    """Messages with their contents as texts; parts that are no text are refused."""
    given = body.get("messages")
    if not isinstance(given, list) or not given:
        raise RequestError("messages is a list of at least one message", "messages")
    found = []
    for index, message in enumerate(given):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise RequestError(f"messages[{index}] has no role", "messages")
        content = message.get("content")
        if isinstance(content, list):
            if not all(isinstance(part, dict) and part.get("type") == "text" for part in content):
                raise RequestError(f"messages[{index}]: this engine reads text only", "messages")
            content = "".join(str(part.get("text", "")) for part in content)
        if not isinstance(content, str):
            raise RequestError(f"messages[{index}] has no content", "messages")
        found.append({"role": message["role"], "content": content})
    return found


def whole(body: dict[str, Any], name: str, default: int | None, least: int = 1) -> Any:
    """A whole number of at least `least`, or the default."""
    value = body.get(name)
    if value is None:
        return default
    if type(value) is not int or value < least:
        raise RequestError(f"{name} is {value!r}; give a whole number of at least {least}", name)
    return value


def number(body: dict[str, Any], name: str, default: float, least: float, most: float) -> float:
    """A number between two others, or the default."""
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise RequestError(f"{name} is {value!r}; give a number from {least:g} to {most:g}", name)
    return float(value)


def flag(body: dict[str, Any], name: str) -> bool:
    """True or false; false when it is not said."""
    value = body.get(name)
    if value not in (None, True, False):
        raise RequestError(f"{name} is {value!r}; it is true or false", name)
    return bool(value)
