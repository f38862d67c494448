"""OpenAI's paths in front of transformers_engine.py: models, completions and chat completions, streamed or not.

/v1/fill-mask is this project's own, for models of masked words: {"model", "input": text or texts, "top_k": 5} gives
{"object": "list", "data": [{"index", "masks": [[{"token", "token_id", "score"}]]}], "usage"}.
Errors have OpenAI's shape.
"""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from deploys.vllm.programs import openai_request as read_request
from deploys.vllm.programs.openai_request import RequestError
from deploys.vllm.programs.transformers_engine import Piece

DISCONNECT_SECONDS = 1.0


def build(engine: Any) -> Any:
    """The Starlette application of an engine."""

    async def models(_request: Any) -> Any:
        card = {"id": engine.model, "object": "model", "created": started, "owned_by": "cluster"}
        return JSONResponse({"object": "list", "data": [{**card, "max_model_len": engine.maximum_length}]})

    async def one_model(request: Any) -> Any:
        if request.path_params["name"] != engine.model:
            return unknown_model(request.path_params["name"], engine.model)
        return JSONResponse({"id": engine.model, "object": "model", "created": started, "owned_by": "cluster"})

    async def completions(request: Any) -> Any:
        body = await read(request)
        prompts = read_request.prompts(body)
        size = read_request.whole(body, "max_tokens", 16)
        return await respond(request, body, prompts, size, chat=False)

    async def chat(request: Any) -> Any:
        body = await read(request)
        prompt = engine.chat_prompt(read_request.messages(body))
        size = read_request.whole(body, "max_completion_tokens", None) or read_request.whole(body, "max_tokens", None)
        return await respond(request, body, [prompt], size, chat=True)

    async def fill_mask(request: Any) -> Any:
        body = await read(request)
        texts = body.get("input")
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise RequestError("input is a text with a mask, or a list of such texts", "input")
        top_k = read_request.whole(body, "top_k", 5)
        found = [await engine.fill(text, top_k) for text in texts]
        data = [{"index": index, "masks": entry["masks"]} for index, entry in enumerate(found)]
        usage = _usage(sum(entry["prompt_tokens"] for entry in found), sum(len(entry["masks"]) for entry in found))
        return JSONResponse({"object": "list", "model": engine.model, "data": data, "usage": usage})

    async def read(request: Any) -> dict[str, Any]:
        try:
            body = await request.json()
        except ValueError as error:
            raise RequestError(f"the body is no JSON: {error}") from None
        if not isinstance(body, dict):
            raise RequestError("the body is no JSON object")
        if body.get("model") not in (None, engine.model):
            raise _UnknownModel(str(body["model"]))
        read_request.refuse_what_is_not_here(body)
        return body

    async def respond(request: Any, body: dict[str, Any], prompts: list[Any], size: int | None, *, chat: bool) -> Any:
        shape = _Shape(engine.model, chat)
        stream = read_request.flag(body, "stream")
        options = body.get("stream_options") or {}
        streams = []
        for prompt in prompts:
            sampling = read_request.sampling(body, size if size is not None else 0)
            if size is None:
                sampling.max_tokens = engine.room(len(engine.tokens_of(prompt))) if engine.task != "fill-mask" else 1
            streams.append(engine.generate(prompt, sampling))
        if not stream:
            collected = asyncio.gather(*(_collect(pieces) for pieces in streams))
            while not (await asyncio.wait({collected}, timeout=DISCONNECT_SECONDS))[0]:
                if await request.is_disconnected():
                    collected.cancel()
                    return JSONResponse(error_body("the client went away", "client_closed_request"), 499)
            return JSONResponse(shape.whole(collected.result()))
        # The first piece of each is asked for here, so that what is wrong with the request is still a 400.
        firsts = [await anext(pieces) for pieces in streams]
        events = shape.events(firsts, streams, usage=bool(options.get("include_usage")))
        return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})

    async def refused(_request: Any, error: Any) -> Any:
        if isinstance(error, _UnknownModel):
            return unknown_model(str(error), engine.model)
        body = error_body(str(error), "invalid_request_error", param=error.parameter, code=error.code)
        return JSONResponse(body, 400)

    async def failed(_request: Any, error: Any) -> Any:
        return JSONResponse(error_body(f"{type(error).__name__}: {error}"[:300], "server_error"), 500)

    started = int(time.time())
    return Starlette(
        routes=[
            Route("/v1/models", models),
            Route("/v1/models/{name:path}", one_model),
            Route("/v1/completions", completions, methods=["POST"]),
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/fill-mask", fill_mask, methods=["POST"]),
        ],
        exception_handlers={RequestError: refused, _UnknownModel: refused, Exception: failed},
    )


class _UnknownModel(Exception):
    """A model that this engine does not serve."""


class _Shape:
    """OpenAI's objects for one request."""

    def __init__(self, model: str, chat: bool) -> None:
        self.chat = chat
        self.about = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
        }

    def whole(self, answers: list[tuple[str, Piece]]) -> dict[str, Any]:
        choices = []
        for index, (text, last) in enumerate(answers):
            said = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
            choices.append({"index": index, **said, "logprobs": None, "finish_reason": last.finish_reason})
        usage = _usage(
            sum(last.prompt_tokens for _, last in answers), sum(last.generated_tokens for _, last in answers)
        )
        return {**self.about, "object": self._object(stream=False), "choices": choices, "usage": usage}

    async def events(self, firsts: list[Piece], streams: list[Any], *, usage: bool) -> AsyncIterator[bytes]:
        """Server-sent events, prompt after prompt, then the usage if it was asked for, then [DONE]."""
        prompt_tokens = generated_tokens = 0
        try:
            for index, (first, pieces) in enumerate(zip(firsts, streams, strict=True)):
                if self.chat:
                    yield self._event(index, {"role": "assistant", "content": ""}, None)
                piece = first
                while True:
                    delta = {"content": piece.text} if piece.text or not piece.finish_reason else {}
                    yield self._event(index, delta if self.chat else piece.text, piece.finish_reason)
                    if piece.finish_reason:
                        prompt_tokens += piece.prompt_tokens
                        generated_tokens += piece.generated_tokens
                        break
                    piece = await anext(pieces)
            if usage:
                yield self._line({**self._head(), "choices": [], "usage": _usage(prompt_tokens, generated_tokens)})
            yield b"data: [DONE]\n\n"
        except Exception as error:
            # The status is long sent: the error goes where the answer would have.
            yield self._line(error_body(f"{type(error).__name__}: {error}"[:300], "server_error"))
        finally:
            for pieces in streams:
                await pieces.aclose()

    def _event(self, index: int, said: Any, finish_reason: str | None) -> bytes:
        choice = {"index": index, "logprobs": None, "finish_reason": finish_reason}
        return self._line(
            {**self._head(), "choices": [{**choice, **({"delta": said} if self.chat else {"text": said})}]}
        )

    def _head(self) -> dict[str, Any]:
        return {**self.about, "object": self._object(stream=True)}

    def _object(self, *, stream: bool) -> str:
        return ("chat.completion.chunk" if stream else "chat.completion") if self.chat else "text_completion"

    @staticmethod
    def _line(value: Any) -> bytes:
        return b"data: " + json.dumps(value).encode() + b"\n\n"


def error_body(message: str, kind: str, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """OpenAI's error object."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def unknown_model(name: str, served: str) -> Any:
    """404, as OpenAI answers for a model that does not exist."""
    body = error_body(
        f"the model {name!r} does not exist; served is {served!r}",
        "invalid_request_error",
        param="model",
        code="model_not_found",
    )
    return JSONResponse(body, 404)


async def _collect(pieces: Any) -> tuple[str, Piece]:
    text, last = "", Piece("")
    async for last in pieces:
        text += last.text
    return text, last


def _usage(prompt_tokens: int, generated_tokens: int) -> dict[str, int]:
    total = prompt_tokens + generated_tokens
    return {"prompt_tokens": prompt_tokens, "completion_tokens": generated_tokens, "total_tokens": total}
