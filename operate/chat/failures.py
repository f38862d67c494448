"""What went wrong with a request, as one line that says what and how to mend it. Pure."""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Mapping


class ChatError(Exception):
    """A request that got no whole answer; the message is one line for the operator."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class Unreachable(ChatError):
    """Nobody is there, on the way that was taken; another look may find another way."""


class ContextFull(ChatError):
    """The conversation is longer than the model's context; a shorter one would be answered."""


def refusal(url: str, status: int, headers: Mapping[str, str], body: bytes, *, command: str, key: str) -> ChatError:
    """The error for an answer with another status than 200. `key` is where the API key is kept, empty for none."""
    said, code = said_by(body)
    again = _again(headers)
    if status == 400 and (code == "context_length_exceeded" or "maximum context length" in said):
        return ContextFull(f"the conversation is too long for the model: {said}; `new` begins another one")
    if status == 401:
        remedy = f"the key in {key} is not the cluster's" if key else "it wants an API key and the inventory knows none"
        return ChatError(f"{url}: 401, {said or 'not authorised'}: {remedy}; run `{command} up`")
    if status == 404:
        remedy = "`model` lists what is served" if url.endswith("/completions") else f"run `{command} up`"
        return ChatError(f"{url}: 404, {said or 'not found'}; {remedy}")
    if status == 413:
        return ChatError(f"{url}: 413, {said or 'too large'}; shorten the prompt, or begin anew with `new`")
    if status == 429:
        return ChatError(f"the cluster has too many requests (429{_of(said)}); ask again {again or 'in a moment'}")
    if status in (502, 503):
        return ChatError(
            f"no engine is ready to answer ({status}{_of(said)}); {_try(again)}, `actors` shows the engines"
        )
    if status == 504:
        return ChatError(
            f"the engine gave no answer in time (504{_of(said)}); {_try(again)}, `actors` shows the engines"
        )
    return ChatError(f"{url}: {status}, {said or 'no reason given'}; `logs` may say more")


def said_by(body: bytes) -> tuple[str, str]:
    """(message, code) of an error in OpenAI's shape; the head of the body where it has another shape."""
    text = body.decode(errors="replace")
    try:
        error = json.loads(text)
        if isinstance(error, dict) and "error" in error:
            error = error["error"]
        if isinstance(error, dict):
            message = error.get("message") or error.get("detail") or json.dumps(error)
            return _short(str(message)), str(error.get("code") or "")
    except ValueError:
        pass
    return _short(text), ""


def broken(url: str, why: str, tokens: int, characters: int) -> ChatError:
    """The error for a connection that ended before the answer did."""
    if not tokens:
        return ChatError(
            f"{url}: the connection ended before the answer began ({why}); ask again, `status` shows the nodes"
        )
    arrived = f"about {tokens} token{'s' * (tokens != 1)} ({characters} characters)"
    return ChatError(f"the connection broke in mid-answer, after {arrived}: {why}; ask again")


def _short(text: str) -> str:
    return " ".join(text.split())[:300].rstrip(".")


def _of(said: str) -> str:
    return f": {said}" if said else ""


def _try(again: str) -> str:
    return f"try again {again or 'in a moment'}"


def _again(headers: Mapping[str, str]) -> str:
    """`in N s` from Retry-After, which is seconds or a date (RFC 9110, 10.2.3); empty without one that is usable."""
    value = headers.get("retry-after", "").strip()
    if value.isdigit():
        return f"in {int(value)} s"
    try:
        seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    except ValueError:
        return ""
    return f"in {max(0, round(seconds))} s"
