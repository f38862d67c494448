"""The layer before every engine's application: what is refused, in which words, and one shape of errors.

The application here answers as the engines' do: Starlette's texts, FastAPI's details, vLLM's errors.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from deploys.vllm.programs.api_face import Face
from deploys.vllm.programs.request_limits import CHOSEN, DEPTH, FORCED, NONE, Limits, refusal

LIMITS = Limits("m", answers=8, length=2048)
CHAT = "/v1/chat/completions"
ROUTES = (("/v1/models", {"GET"}), (CHAT, {"POST"}), ("/v1/completions", {"POST"}), ("/v1/odd/{name}", {"DELETE"}))
ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "France?"}]}


class Application:
    """Answers with `status`, `kind` and `body`; `seen` are the bodies that came through."""

    def __init__(self, status: int = 200, body: bytes = b'{"choices": []}', kind: str = "application/json") -> None:
        self.status, self.body, self.kind = status, body, kind
        self.seen: list[bytes] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.routes = [
            SimpleNamespace(path_regex=re.compile("^" + re.sub("{.*}", ".+", path) + "$"), methods=methods)
            for path, methods in ROUTES
        ]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append((await receive()).get("body", b""))
        known = [route for route in self.routes if route.path_regex.match(scope["path"])]
        status, body, kind = self.status, self.body, self.kind
        if not known:
            status, body = 404, b'{"detail":"Not Found"}'
        elif scope["method"] not in known[0].methods:
            status, body, kind = 405, b"Method Not Allowed", "text/plain; charset=utf-8"
        elif scope["path"] == "/v1/models":
            body = b'{"object": "list", "data": [{"id": "m", "object": "model"}, {"id": "a/b", "object": "model"}]}'
        headers = [(b"content-type", kind.encode()), (b"x-other", b"kept"), *self.headers]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        half = len(body) // 2
        await send({"type": "http.response.body", "body": body[:half], "more_body": True})
        await send({"type": "http.response.body", "body": body[half:]})


def ask(
    app: Any, path: str = CHAT, body: Any = ASK, method: str = "POST", limits: Limits = LIMITS, kind: str = ""
) -> tuple[int, Any, dict[str, str]]:
    """(status, JSON, headers) of one request, whose body comes in two parts."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    half = len(sent) // 2
    parts = [
        {"type": "http.request", "body": sent[:half], "more_body": True},
        {"type": "http.request", "body": sent[half:], "more_body": False},
    ]
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return parts.pop(0) if parts else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    headers = [(b"content-type", (kind or "application/json").encode())]
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": b""}
    asyncio.run(Face(app, limits)(scope, receive, send))
    start, *rest = said
    text = b"".join(message["body"] for message in rest)
    return start["status"], json.loads(text), {k.decode(): v.decode() for k, v in start["headers"]}


def error(found: tuple[int, Any, dict[str, str]], status: int) -> dict[str, Any]:
    """The error of an answer, which has OpenAI's shape."""
    assert found[0] == status, found
    assert found[2]["content-type"] == "application/json"
    said: dict[str, Any] = found[1]["error"]
    assert set(found[1]) == {"error"} and set(said) == {"message", "type", "param", "code"}
    assert said["message"] and " " not in said["type"]
    return said


def test_what_is_right_passes_as_it_came() -> None:
    app = Application()
    status, _, headers = ask(app, body={**ASK, "n": 8, "max_tokens": 2048, "stop": ["."] * 16, "top_logprobs": 20})
    assert (status, headers["x-other"]) == (200, "kept")
    assert json.loads(app.seen[0])["n"] == 8


NESTED: Any = "x"
for _ in range(DEPTH):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    ("change", "param", "said"),
    [
        ({"n": 2000}, "n", "n is 2000; give a whole number from 1 to 8"),
        ({"n": 0}, "n", "from 1 to 8"),
        ({"best_of": 9}, "best_of", "from 1 to 8"),
        ({"prompt": ["a"] * 9}, "prompt", "9 prompts with n 1 are 9 answers; 8 is the most a request"),
        ({"prompt": [[1], [2], [3]], "n": 3}, "prompt", "9 answers"),
        ({"prompt": []}, "prompt", "empty list"),
        ({"logprobs": 21}, "logprobs", "from 0 to 20"),
        ({"top_logprobs": 10**6}, "top_logprobs", "from 0 to 20"),
        ({"prompt_logprobs": -1}, "prompt_logprobs", "from 0 to 20"),
        ({"stop": ["a"] * 17}, "stop", "16 is the most"),
        ({"max_tokens": 2049}, "max_tokens", "the context of m has 2048 tokens"),
        ({"max_completion_tokens": 10**9}, "max_completion_tokens", "the context of m has 2048 tokens"),
        ({"max_tokens": -1}, "max_tokens", "above zero"),
        ({"seed": 2**70}, "seed", "no engine can hold"),
        ({"messages": NESTED}, "messages", f"nested deeper than {DEPTH} levels"),
    ],
)
def test_more_than_an_engine_should_be_asked_for(change: dict[str, Any], param: str, said: str) -> None:
    app = Application()
    found = error(ask(app, body={**ASK, **change}), 400)
    assert (found["param"], found["type"]) == (param, "invalid_request_error")
    assert said in found["message"]
    assert not app.seen


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body is no JSON"),
        (b"{", "the body is no JSON"),
        (b"[]", "the body is no JSON object"),
        (b"\xff{}", "the body is no UTF-8"),
        (b'{"temperature": NaN}', "NaN is no number of JSON"),
        (b'{"temperature": 1e999}', "no engine can hold"),
        (b'{"n": ' + b"9" * 5000 + b"}", "the body is no JSON"),
        (b"[" * 100_000, f"nested deeper than {DEPTH} levels"),
        (b'{"a":' * 2_000 + b"1" + b"}" * 2_000, f"nested deeper than {DEPTH} levels"),
        (rb'{"prompt": "\ud83d"}', "a text in prompt is none: character 1 is half of a pair, U+D83D"),
        (rb'{"messages": [{"role": "user", "content": "abc\uDC00"}]}', "character 4 is half of a pair"),
        (rb'{"\ud800": 1}', "half of a pair"),
    ],
)
def test_what_is_no_request(body: bytes, said: str) -> None:
    app = Application()
    assert said in error(ask(app, body=body), 400)["message"]
    assert not app.seen


def test_pairs_and_other_kinds_pass() -> None:
    app = Application()
    assert ask(app, body=rb'{"messages": "\ud83d\ude00"}')[0] == 200
    assert ask(app, body=b"--part", kind="multipart/form-data; boundary=part")[0] == 200
    assert ask(app, body={**ASK, "prompt": list(range(1000))})[0] == 200


TOOLS = {"tools": [{"type": "function", "function": {"name": "weather", "parameters": {}}}]}
NAMED = {"type": "function", "function": {"name": "weather"}}


@pytest.mark.parametrize(
    ("tools", "choice", "passes"),
    [
        (CHOSEN, None, True),
        (CHOSEN, "auto", True),
        (FORCED, None, False),
        (FORCED, "auto", False),
        (FORCED, "none", True),
        (FORCED, "required", True),
        (FORCED, NAMED, True),
        (NONE, "required", False),
        (NONE, "none", True),
    ],
)
def test_tools_by_what_a_model_has(tools: str, choice: Any, passes: bool) -> None:
    app, limits = Application(), Limits("m", tools=tools)
    found = ask(app, body={**ASK, **TOOLS, **({"tool_choice": choice} if choice else {})}, limits=limits)
    if passes:
        assert found[0] == 200
        return
    said = error(found, 400)
    assert (said["param"], said["code"]) == ("tools", "tools_not_supported")
    assert "--" not in said["message"] and "tools" in said["message"]
    assert not app.seen


# As vLLM 0.32 said them.
VALIDATION = json.dumps(
    {
        "error": {
            "message": "1 validation error:\n  {'type': 'list_type', 'loc': 'body.messages', 'msg': 'Input should be a "
            "valid list', 'input': 'x'}",
            "type": "Bad Request",
            "param": "body.messages",
            "code": 400,
        }
    }
).encode()
MEDIA = json.dumps(
    {"error": {"message": "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"}}
).encode()
RANGE = json.dumps(
    {"error": {"message": "temperature must be in [0, 2], got 9.0. (parameter=temperature, value=9.0)"}}
).encode()


def test_a_model_that_is_not_there_has_openais_code() -> None:
    said = {"message": "The model `x` does not exist.", "type": "NotFoundError", "param": "model", "code": 404}
    found = error(ask(Application(404, json.dumps({"error": said}).encode())), 404)
    assert (found["code"], found["type"], found["message"]) == (
        "model_not_found", "invalid_request_error", "The model `x` does not exist.",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "kind", "body", "said"),
    [
        (500, "text/plain", b"Internal Server Error", "Internal Server Error"),
        (400, "text/plain", b"Invalid HTTP request received.", "Invalid HTTP request received."),
        (503, "text/html", b"<html><h1>503</h1></html>", "Service Unavailable"),
        (502, "text/plain", b"", "Bad Gateway"),
        (422, "application/json", b'{"detail": [{"loc": ["body", "n"], "msg": "must be int"}]}', "n: must be int"),
        (400, "application/json", b'{"object": "error", "message": "too long", "type": "BadRequestError"}', "too long"),
        (400, "application/json", b'{"error": "plain words"}', "plain words"),
        (400, "application/json", VALIDATION, "messages: Input should be a valid list"),
        (400, "application/json", MEDIA, "Unsupported Media Type: Only 'application/json' is allowed"),
        (400, "application/json", RANGE, "temperature must be in [0, 2], got 9.0."),
        (418, "application/json", b"null", "I'm a Teapot"),
        (400, "application/json", b'{"error": {"message": "no", "type": "odd", "param": "n", "code": "c"}}', "no"),
    ],
)
def test_errors_of_every_kind_get_one_shape(status: int, kind: str, body: bytes, said: str) -> None:
    found = error(ask(Application(status, body, kind)), status)
    assert found["message"] == said
    if b'"c"' in body:
        assert (found["type"], found["param"], found["code"]) == ("odd", "n", "c")


def test_retry_after_stays() -> None:
    app = Application(429, b"slow down", "text/plain")
    app.headers = [(b"retry-after", b"7"), (b"set-cookie", b"no")]
    found = ask(app)
    assert error(found, 429)["type"] == "rate_limit_error"
    assert found[2]["retry-after"] == "7" and "set-cookie" not in found[2]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_a_path_that_is_not_there(method: str) -> None:
    found = error(ask(Application(), "/v1/nothing", b"no JSON", method), 404)
    assert found["message"] == "no such path: /v1/nothing; GET /v1/models lists the models"


def test_a_method_that_a_path_does_not_take() -> None:
    for path, method, allow in ((CHAT, "GET", "POST"), ("/v1/models", "POST", "GET"), ("/v1/odd/x", "PUT", "DELETE")):
        found = ask(Application(), path, b"", method)
        assert error(found, 405)["message"] == f"{path} does not take {method}; it takes {allow}"
        assert found[2]["allow"] == allow


@pytest.mark.parametrize(("name", "found"), [("m", True), ("a/b", True), ("a%2Fb", True), ("M", False), ("", False)])
def test_one_model(name: str, found: bool) -> None:
    answer = ask(Application(), f"/v1/models/{name}", b"", "GET")
    if found:
        assert (answer[0], answer[1]["object"]) == (200, "model")
    else:
        said = error(answer, 404)
        assert (said["code"], said["param"]) == ("model_not_found", "model")
        assert "served is m, a/b" in said["message"]


def test_openais_client_reads_it() -> None:
    body = ask(Application(), body={**ASK, "n": 2000})[1]["error"]
    raised = openai.APIError("no", None, body=body)  # type: ignore[arg-type]
    assert (raised.param, raised.type) == ("n", "invalid_request_error")


KEYS = ("n", "best_of", "prompt", "stop", "tools", "tool_choice", "logprobs", "max_tokens", "messages", "seed")
LEAVES: tuple[Any, ...] = (None, True, 0, -1, 3, 2**63, 10**400, 1.5, -0.0, 1e308, "", "\ud800", "\udcff", [], {})


def odd(chance: random.Random, depth: int = 0) -> Any:
    """Any JSON: what a key may be given by somebody who means no good."""
    kind = chance.randrange(4) if depth < 4 else 0
    if kind == 1:
        return [odd(chance, depth + 1) for _ in range(chance.randrange(4))]
    if kind == 2:
        return {str(chance.choice(LEAVES)): odd(chance, depth + 1) for _ in range(chance.randrange(4))}
    return chance.choice(LEAVES)


def test_no_request_is_too_odd() -> None:
    """The layer judges each of them and never raises; what it says can be sent."""
    chance = random.Random(18)  # noqa: S311 (no secret)
    for _ in range(3000):
        body = bytearray(json.dumps({chance.choice(KEYS): odd(chance) for _ in range(chance.randrange(5))}).encode())
        if chance.random() < 0.3:
            body[chance.randrange(len(body))] = chance.randrange(256)
        path = chance.choice([CHAT, "/v1/completions", "/v1/fill-mask"])
        found = refusal(path, chance.choice(["", "application/json", "text/plain"]), bytes(body), LIMITS)
        assert found is None or found.message.encode()
