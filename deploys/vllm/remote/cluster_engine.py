"""The engine as this project serves it: Ray Serve LLM's own server, which must answer before it counts as ready.

Runs on the cluster's nodes inside the locked runtime, never on the operator's machine. Ray imports it by name
from PYTHONPATH, so it has no imports from the rest of the project.

`/health` and `/v1/models` say that a process listens. They have been seen to say so while the engine was wedged or
talked garbage, so a replica here proves itself: once before it takes traffic, and again for as long as it serves.
"""

import asyncio
import hmac
import os
import time
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.llm._internal.serve.core.configs.openai_api_models import to_model_metadata
from ray.llm._internal.serve.core.ingress.ingress import init as fastapi_app
from ray.serve.llm import LLMConfig, build_llm_deployment
from ray.serve.llm.deployment import LLMServer
from ray.serve.llm.ingress import OpenAiIngress, make_fastapi_ingress
from ray.serve.llm.openai_api_models import ChatCompletionRequest

# A proof costs one short completion, so it is asked for far less often than Serve's own health check.
PROOF_PERIOD_SECONDS = 120.0
PROOF_TIMEOUT_SECONDS = 60.0


class GoldenAnswerError(RuntimeError):
    """The engine is alive and does not answer correctly."""


def node_name() -> str:
    """Name of this node as the inventory writes it; Ray's daemons carry it in their environment."""
    return os.environ.get("CLUSTER_NODE_NAME", "unknown")


class ProvenLLMServer(LLMServer):  # type: ignore[misc]
    """LLMServer that is ready only when it gave the golden answer, and says which node gave an answer."""

    async def start(self) -> None:
        """Start the engine and ask it the golden question; raises GoldenAnswerError, and Serve then tries anew."""
        self._last_proof = 0.0
        self._started = False
        await super().start()
        self._started = True
        proof = await self.prove()
        if not proof["correct"]:
            raise GoldenAnswerError(f"{proof['node']}: {proof['detail']}")

    async def _start_engine(self) -> None:
        """Start the engine only: the parent also starts a usage-telemetry actor on the head, 220 MB resident."""
        await self.engine.start()

    async def chat(self, request: Any, raw_request_info: Any = None) -> Any:
        """As LLMServer.chat; a whole (not streamed) response says in `system_fingerprint` which node gave it."""
        stream = await super().chat(request, raw_request_info)
        if getattr(request, "stream", False):
            return stream
        return self._signed(stream)

    async def _signed(self, stream: Any) -> Any:
        async for item in stream:
            if hasattr(item, "choices"):
                item.system_fingerprint = node_name()
            yield item

    async def check_health(self) -> None:
        """Serve's periodic question: the engine's own health, and every PROOF_PERIOD_SECONDS a real answer."""
        await super().check_health()
        if time.monotonic() - self._last_proof < PROOF_PERIOD_SECONDS:
            return
        proof = await self.prove()
        if not proof["correct"]:
            raise GoldenAnswerError(f"{proof['node']}: {proof['detail']}")

    async def prove(self) -> dict[str, Any]:
        """Ask this replica the golden question at temperature 0.

        Returns node, address, replica, question, answer, correct, seconds and detail; never raises for a wrong or
        missing answer, so that one bad replica does not hide the others.
        """
        golden = self._llm_config.experimental_configs["golden"]
        request = ChatCompletionRequest(
            model=self._llm_config.model_id,
            messages=[{"role": "user", "content": golden["question"]}],
            temperature=0.0,
            max_tokens=golden["max_tokens"],
        )
        started = time.monotonic()
        answer, detail = "", ""
        try:
            if not self._started:
                raise GoldenAnswerError("the engine is still starting")
            answer = await asyncio.wait_for(self._answer(request), PROOF_TIMEOUT_SECONDS)
        except TimeoutError:
            detail = f"no answer within {PROOF_TIMEOUT_SECONDS:.0f} s"
        except Exception as error:  # whatever the engine raises is the finding, not our failure
            detail = f"{type(error).__name__}: {error}"
        correct = golden["expected"].lower() in answer.lower()
        if not correct and not detail:
            detail = f"expected {golden['expected']!r} in the answer, got {answer[:120]!r}"
        self._last_proof = time.monotonic()
        return {
            "node": node_name(),
            "address": ray.util.get_node_ip_address(),
            "replica": serve.get_replica_context().replica_id.unique_id,
            "question": golden["question"],
            "answer": answer,
            "correct": correct,
            "seconds": round(time.monotonic() - started, 3),
            "detail": detail,
        }

    async def _answer(self, request: Any) -> str:
        async for item in await super().chat(request):
            if not hasattr(item, "choices"):
                raise GoldenAnswerError(f"the engine returned an error: {item}")
            return str(item.choices[0].message.content or "")
        raise GoldenAnswerError("the engine returned nothing")


class KeyGate:
    """ASGI middleware: a request without the cluster's API key gets 401. Streams pass through untouched."""

    def __init__(self, app: Any, key_file: str) -> None:
        self.app = app
        self.key = Path(key_file).read_text().strip().encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        # A browser asks with OPTIONS, without a key, whether it may ask. Serve's own start-up events are no requests.
        asks = scope["type"] != "lifespan" and scope.get("method") != "OPTIONS"
        if asks and not self._opens(dict(scope["headers"]).get(b"authorization", b"")):
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 4401})
                return
            body = b'{"error": {"message": "missing or wrong API key", "type": "invalid_request_error", "code": 401}}'
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        await self.app(scope, receive, send)

    def _opens(self, header: bytes) -> bool:
        return hmac.compare_digest(header, b"Bearer " + self.key)


def build(arguments: dict[str, Any]) -> Any:
    """Serve application for `import_path: cluster_engine:build`; arguments: llm_config, ingress, golden, key_file.

    As Serve LLM's own build_openai_app, with the key's gate before the ingress where `key_file` is given.
    """
    config = LLMConfig(
        **arguments["llm_config"],
        experimental_configs={"golden": arguments["golden"]},
        server_cls=ProvenLLMServer,
    )
    app = fastapi_app()
    if arguments["key_file"]:
        app.add_middleware(KeyGate, key_file=arguments["key_file"])
    ingress = make_fastapi_ingress(OpenAiIngress, app=app)
    options = {**OpenAiIngress.get_deployment_options([config]), **arguments["ingress"], "name": "OpenAiIngress"}
    return serve.deployment(ingress, **options).bind(
        llm_deployments={config.model_id: build_llm_deployment(config)},
        model_cards={config.model_id: to_model_metadata(config.model_id, config)},
        lora_paths={},
    )
