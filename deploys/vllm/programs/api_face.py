"""What every engine's API has in common, as an ASGI layer: limits on requests, `/v1/models/ID`, one shape of errors.

Runs on the cluster's nodes inside the locked runtime, between who answers (engine_http.py) and an engine's own
application. Every error is OpenAI's: {"error": {"message", "type", "param", "code"}}, whatever the application said.
"""

import json
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from deploys.vllm.programs.request_limits import Limits, Refusal, refusal

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

MODELS = "/v1/models"
# An engine's own validation repeats what was sent.
MESSAGE_CHARACTERS = 2000
# The gateway's own limit is far lower; this is for who calls an engine's port.
MOST_BYTES = 64 * 1024**2
_FIELD = re.compile(r"'loc': '(?:body\.)?([^']*)', 'msg': [\"']([^\"']*)[\"']")
_PARAMETER = re.compile(r" \(parameter=.*\)$", re.DOTALL)
TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found", 429: "rate_limit_error"}


def error_body(status: int, message: str, param: Any = None, code: Any = None, kind: str = "") -> bytes:
    """OpenAI's error object as JSON."""
    kind = kind or TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    error = {"message": message, "type": kind, "param": param, "code": status if code is None else code}
    return json.dumps({"error": error}).encode()


class Face:
    """`app` is an engine's application; what is wrong with a request never reaches it."""

    def __init__(self, app: Any, limits: Limits) -> None:
        self.app, self.limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path, method = scope["path"], scope["method"]
        if path.startswith(f"{MODELS}/") and method in ("GET", "HEAD"):
            await self._one_model(scope, receive, send)
            return
        shaped = _Shaped(self.app, scope, send)
        if method != "POST":
            await self.app(scope, receive, shaped)
            return
        body = await _whole(receive)
        if body is None:
            return  # gone
        if len(body) > MOST_BYTES:
            await _answer(send, 413, error_body(413, f"the request is larger than {MOST_BYTES} bytes"))
            return
        headers = dict(scope.get("headers", ()))
        kind = headers.get(b"content-type", b"").decode("latin-1")
        wrong = refusal(path, kind, body, self.limits) if path.startswith("/v1/") else None
        if wrong is not None and shaped.known():  # a path that is not there is not there, whatever it was told
            await _answer(send, 400, error_body(400, wrong.message, wrong.param, wrong.code))
            return
        await self.app(scope, _again(body, receive), shaped)

    async def _one_model(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The entry of one model, out of the engine's own list."""
        name = unquote(scope["path"].removeprefix(f"{MODELS}/"))
        said: list[dict[str, Any]] = []

        async def keep(message: dict[str, Any]) -> None:
            said.append(message)

        listed = {**scope, "method": "GET", "path": MODELS, "raw_path": MODELS.encode(), "query_string": b""}
        await self.app(listed, receive, keep)
        try:
            cards = json.loads(b"".join(message.get("body", b"") for message in said))["data"]
            found = next((card for card in cards if card["id"] == name), None)
        except (ValueError, KeyError, TypeError):
            await _answer(send, 502, error_body(502, "the engine lists no models; see its log"))
            return
        if found is None:
            names = ", ".join(str(card["id"]) for card in cards)
            message = f"the model {name[:120]!r} does not exist; served is {names}"
            await _answer(send, 404, error_body(404, message, "model", "model_not_found", "invalid_request_error"))
            return
        await _answer(send, 200, json.dumps(found).encode())


class _Shaped:
    """`send` of one request: an answer that is no error passes as it comes, an error is kept and told in one shape."""

    def __init__(self, app: Any, scope: Scope, send: Send) -> None:
        self._app, self._scope, self._send = app, scope, send
        self._start: dict[str, Any] | None = None
        self._body = b""

    async def __call__(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            self._start = message
            return
        if self._start is None:
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if not message.get("more_body"):
            await self._tell(self._start, self._body)

    async def _tell(self, start: dict[str, Any], body: bytes) -> None:
        status = int(start["status"])
        message, rest = _said(body)
        allowed = self._allowed() if status in (404, 405) else []
        headers = [pair for pair in start.get("headers", ()) if pair[0].lower() in (b"retry-after", b"allow")]
        method, path = self._scope["method"], self._scope["path"][:200]
        if status == 405:
            allow = dict(headers).get(b"allow", b"").decode("latin-1") or ", ".join(allowed)
            message = f"{path} does not take {method}" + (f"; it takes {allow}" if allow else "")
            if allow and not any(name.lower() == b"allow" for name, _ in headers):
                headers.append((b"allow", allow.encode("latin-1")))
        elif status == 404 and not allowed:
            message, rest = f"no such path: {path}; GET {MODELS} lists the models", {}
        if status == 404 and rest.get("param") == "model":
            rest = {**rest, "code": "model_not_found", "type": "invalid_request_error"}
        kind = str(rest.get("type") or "")
        # An engine's own type may be a Python's or a status' name.
        kind = kind if kind.islower() and " " not in kind else ""
        message = (message or HTTPStatus(status).phrase)[:MESSAGE_CHARACTERS]
        await _answer(
            self._send, status, error_body(status, message, rest.get("param"), rest.get("code"), kind), headers
        )

    def known(self) -> bool:
        """Whether the application takes this; True where it does not tell."""
        return not self._allowed(MODELS) or self._scope["method"] in self._allowed()

    def _allowed(self, path: str = "") -> list[str]:
        """Methods of this path in an application of Starlette's kind; empty where it tells of none."""
        found: set[str] = set()
        for route in getattr(self._app, "routes", ()):
            pattern = getattr(route, "path_regex", None)
            if pattern is not None and pattern.match(path or self._scope["path"]):
                found |= set(getattr(route, "methods", None) or ())
        return sorted(found)


def _said(body: bytes) -> tuple[str, dict[str, Any]]:
    """(message, what else is known of it) of an error in any of the shapes that applications have."""
    text = body.decode(errors="replace").strip()
    try:
        value = json.loads(text)
    except ValueError:
        return "" if text[:1] == "<" else text, {}
    inner = value.get("error", value) if isinstance(value, dict) else value
    if isinstance(inner, dict):
        message = inner.get("message") or inner.get("detail") or inner.get("msg")
        if isinstance(message, list):  # what FastAPI says of each field
            message = "; ".join(_field(entry) for entry in message)
        param = inner.get("param")
        param = param.removeprefix("body.") if isinstance(param, str) else param
        return _plain(str(message or "")), {**inner, "param": param}
    return str(inner or ""), {}


def _plain(message: str) -> str:
    """vLLM's words for a wrong field without its Python around them."""
    fields = _FIELD.findall(message)
    if fields:
        return "; ".join(f"{where}: {said}" for where, said in fields)
    return _PARAMETER.sub("", message.partition("validation error:\n")[2].strip() or message)


def _field(entry: Any) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    where = ".".join(str(part) for part in entry.get("loc", ()) if part != "body")
    return f"{where}: {entry.get('msg')}" if where else str(entry.get("msg"))


async def _whole(receive: Receive) -> bytes | None:
    """The body of a request; None when its sender is gone. What is too large is read no further than it is."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if not message.get("more_body") or size > MOST_BYTES:
            return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """`receive` of a request whose body was read: the body, then what comes."""
    given = [False]

    async def handed_on() -> dict[str, Any]:
        if given[0]:
            return await receive()
        given[0] = True
        return {"type": "http.request", "body": body, "more_body": False}

    return handed_on


async def _answer(send: Send, status: int, body: bytes, headers: Any = ()) -> None:
    length = (b"content-length", str(len(body)).encode())
    sent = [(b"content-type", b"application/json"), length, *headers]
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": body})


__all__ = ["Face", "Limits", "Refusal", "error_body"]
