"""An engine for GGUF weights: llama.cpp's own server inside this process, for parts that vLLM has no kernels for.

Runs in a replica of Ray Serve, where the runtime has xllamacpp (docs/decisions/0014-llama-cpp.md). The server listens
on loopback, with a key that only this process knows; what is said to `app` is handed on to it as it is, streams too.
One slot more than there are requests is kept for proofs, so that busy is not taken for wedged.
"""

import asyncio
import json
import re
import secrets
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from deploys.vllm.programs.weights_choice import gguf_file

PATHS = ("/v1/completions", "/v1/chat/completions")
WATCH_SECONDS = 2.0
DISCONNECT_SECONDS = 1.0
MISSING = (
    "llama.cpp's server is not in this runtime, which has no package xllamacpp; the runtime is {kind}: add it to its "
    "lock as docs/decisions/0014-llama-cpp.md says, or serve the model with engine vllm or transformers"
)


class EngineMissingError(RuntimeError):
    """The runtime cannot run this engine: what is missing, and what to do."""


class LlamaEngine:
    """One GGUF model. `last_step`: monotonic, when a slot last got on. The data type is that of the file."""

    def __init__(
        self, directory: str, model: str, task: str, dtype: str, max_concurrency: int, maximum_length: int = 2048
    ) -> None:
        self.directory, self.model, self.task, self.dtype = Path(directory), model, task, dtype
        self.max_concurrency, self.maximum_length = max_concurrency, maximum_length
        self._free = asyncio.Semaphore(max_concurrency)
        self._running = self._waiting = self._finished = self._generated = self._prompt = 0
        self.last_step = time.monotonic()
        self._seen: Any = None
        self._server: Any = None
        self._watching: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Future[None]] = set()

    async def start(self) -> None:
        """Load the weights. EngineMissingError without llama.cpp, FileNotFoundError without a GGUF file, ChoiceError
        for several models."""
        try:
            import xllamacpp
        except ImportError:
            raise EngineMissingError(MISSING.format(kind=Path(sys.prefix).name)) from None
        import httpx

        file = gguf_file(str(path.relative_to(self.directory)) for path in self.directory.rglob("*.gguf"))
        if not file:
            raise FileNotFoundError(f"{self.directory} has no GGUF file; llama.cpp reads no other weights")
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(self.directory / file)
        parameters.model_alias = {self.model}
        parameters.n_parallel = self.max_concurrency + 1
        parameters.n_ctx = self.maximum_length * parameters.n_parallel
        parameters.hostnames, parameters.port = ["127.0.0.1"], 0
        parameters.endpoint_slots = parameters.endpoint_metrics = True
        key = secrets.token_hex(32)
        parameters.api_keys = [key]
        self._server = await asyncio.to_thread(xllamacpp.Server, parameters)
        self._client = httpx.AsyncClient(
            base_url=self._server.listening_address,
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(None, connect=5),  # how long an answer may take is said in front of the engine
            limits=httpx.Limits(max_connections=None),
            trust_env=False,
        )
        self.last_step = time.monotonic()
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """End the server and its threads."""
        if self._watching:
            self._watching.cancel()
            await self._client.aclose()
        self._server = None

    def app(self) -> Any:
        """The ASGI application: OpenAI's paths, as llama.cpp's server has them."""
        from starlette.applications import Starlette
        from starlette.responses import JSONResponse
        from starlette.routing import Route

        async def models(_request: Any) -> Any:
            card = {"id": self.model, "object": "model", "created": int(time.time()), "owned_by": "cluster"}
            return JSONResponse({"object": "list", "data": [{**card, "max_model_len": self.maximum_length}]})

        routes = [Route("/v1/models", models)]
        routes += [Route(path, self._hand_on, methods=["POST"]) for path in PATHS]
        return Starlette(routes=routes)

    async def answer(self, golden: dict[str, Any]) -> str:
        """The golden question at temperature 0, in the slot that is kept for it."""
        asked: dict[str, Any] = {"model": self.model, "temperature": 0, "max_tokens": golden["max_tokens"]}
        if "question" in golden:
            body = {**asked, "messages": [{"role": "user", "content": golden["question"]}]}
            answer = await self._client.post(PATHS[1], json=body)
        else:
            answer = await self._client.post(PATHS[0], json={**asked, "prompt": golden["prompt"]})
        if answer.status_code != 200:
            raise RuntimeError(f"llama.cpp's server answers {answer.status_code}: {answer.text[:200]}")
        choice = answer.json()["choices"][0]
        return str(choice["message"]["content"] if "message" in choice else choice["text"])

    def load(self) -> dict[str, int]:
        """What it does now and did so far; tokens are those of two seconds ago."""
        return {
            "running": self._running,
            "waiting": self._waiting,
            "finished": self._finished,
            "generated_tokens": self._generated,
            "prompt_tokens": self._prompt,
        }

    async def _hand_on(self, request: Any) -> Any:
        from starlette.responses import JSONResponse, StreamingResponse

        body = await request.body()
        try:
            said = json.loads(body)
            name = said.get("model")
        except (ValueError, AttributeError):
            return JSONResponse(_error("the body is no JSON object", "invalid_request_error"), 400)
        if name not in (None, self.model):
            error = _error(f"the model {name!r} does not exist; served is {self.model!r}", "invalid_request_error")
            return JSONResponse({"error": {**error["error"], "param": "model", "code": "model_not_found"}}, 404)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        self._running += 1
        try:
            headers = {"Content-Type": "application/json"}
            sent = self._client.build_request("POST", request.url.path, content=body, headers=headers)
            sending = asyncio.ensure_future(self._client.send(sent, stream=True))
            while not (await asyncio.wait({sending}, timeout=DISCONNECT_SECONDS))[0]:
                if await request.is_disconnected():
                    sending.cancel()
                    self._end()
                    return JSONResponse(_error("the client went away", "client_closed_request"), 499)
            answer = sending.result()
        except BaseException:
            self._end()
            raise
        parts = self._bytes(answer)
        # Begun, so that its end is run whatever becomes of the response, also when nobody ever reads it.
        await anext(parts)
        kind = answer.headers.get("content-type", "application/json")
        return StreamingResponse(parts, answer.status_code, media_type=kind)

    async def _bytes(self, answer: Any) -> AsyncIterator[bytes]:
        try:
            yield b""
            async for part in answer.aiter_raw():
                yield part
        finally:
            self._end()
            # To close it is what tells llama.cpp that nobody listens any more. Not awaited here: this runs while the
            # task is cancelled, when every await is.
            closing = asyncio.ensure_future(answer.aclose())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def _end(self) -> None:
        self._running -= 1
        self._finished += 1
        self._free.release()

    async def _watch(self) -> None:
        """Notice that slots get on: their state and the counters, every two seconds."""
        while True:
            try:
                slots = (await self._client.get("/slots", timeout=WATCH_SECONDS)).json()
                metrics = (await self._client.get("/metrics", timeout=WATCH_SECONDS)).text
            except Exception:
                slots = metrics = None  # a server that does not answer does not get on: last_step says so
            if slots is not None and metrics is not None:
                keys = ("id_task", "n_prompt_tokens_processed", "next_token")
                seen = [[slot.get(key) for key in keys] for slot in slots]
                self._generated = _counter(metrics, "tokens_predicted_total")
                self._prompt = _counter(metrics, "prompt_tokens_total")
                if (seen, self._generated) != self._seen:
                    self._seen, self.last_step = (seen, self._generated), time.monotonic()
            await asyncio.sleep(WATCH_SECONDS)


def _counter(metrics: str, name: str) -> int:
    found = re.search(rf"^llamacpp:{name} (\S+)$", metrics, re.MULTILINE)
    return int(float(found.group(1))) if found else 0


def _error(message: str, kind: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}
