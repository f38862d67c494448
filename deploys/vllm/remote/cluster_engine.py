"""The engine as this project serves it: Ray Serve LLM's own server, which must answer before it counts as ready.

Runs on the cluster's nodes inside the locked runtime, never on the operator's machine. Ray imports it by name from
PYTHONPATH, so it has no imports from the rest of the project but for its neighbours.

Ray Serve places, starts and restarts replicas. Requests come from the gateway straight to the replica's own HTTP
listener (engine_http). `/health` and `/v1/models` say that a process listens; they have been seen to say so while the
engine was wedged or talked garbage, so a replica here proves itself: before it takes traffic, and for as long as it
serves.
"""

import asyncio
import contextlib
import os
import time
from typing import Any

import ray
from engine_http import Identity, Listener, bind
from engine_life import SERVING, WEDGED, WRONG, Life
from ray import serve
from ray.serve.llm import LLMConfig, build_llm_deployment
from ray.serve.llm.deployment import LLMServer
from ray.serve.llm.openai_api_models import ChatCompletionRequest

# A whole proof costs one short completion; a sign of life costs one token, and only an idle engine is asked for it.
PROOF_PERIOD_SECONDS = 120.0
PROOF_TIMEOUT_SECONDS = 60.0
LIFE_PERIOD_SECONDS = 5.0
LIFE_TIMEOUT_SECONDS = 6.0
DRAIN_SECONDS = 30.0


class GoldenAnswerError(RuntimeError):
    """The engine is alive and does not answer correctly."""


class WedgedError(RuntimeError):
    """The engine has work and does not move."""


def node_name() -> str:
    """Name of this node as the inventory writes it; Ray's daemons carry it in their environment."""
    return os.environ.get("CLUSTER_NODE_NAME", "unknown")


class ProvenLLMServer(LLMServer):  # type: ignore[misc]
    """LLMServer that is ready only when it gave the golden answer, and that serves HTTP itself."""

    async def start(self) -> None:
        """Engine, golden answer, listener, in this order; GoldenAnswerError makes Serve try anew."""
        self._golden = dict(self._llm_config.experimental_configs["golden"])
        self.life = Life(
            {
                "node": node_name(),
                "address": os.environ["VLLM_HOST_IP"],
                "replica": serve.get_replica_context().replica_id.unique_id,
                "model": self._llm_config.model_id,
                "engine": "vllm",
            },
            pending=self._pending,
            record=os.environ.get("CLUSTER_PROOF_RECORD", ""),
        )
        self._started = False
        self._listener: Listener | None = None
        self._watch: asyncio.Task[None] | None = None
        await super().start()
        self._follow_steps()
        self._started = True
        proof = await self.prove()
        if not proof["correct"]:
            raise GoldenAnswerError(f"{proof['node']}: {proof['detail']}")
        app = await self.engine.build_asgi_app()
        first, _, last = os.environ["CLUSTER_ENGINE_PORTS"].partition("-")
        socket = bind(os.environ["VLLM_HOST_IP"], int(first), int(last))
        self._listener = Listener(Identity(app, self.life), socket)
        await self._listener.start()
        self._watch = asyncio.get_running_loop().create_task(self._watch_life())

    async def _start_engine(self) -> None:
        """Start the engine only: the parent also starts a usage-telemetry actor on the head, 220 MB resident."""
        await self.engine.start()

    def _client(self) -> Any:
        return self.engine._engine_client

    def _pending(self) -> int:
        return int(self._client().output_processor.get_num_unfinished_requests()) if self.engine else 0

    def _follow_steps(self) -> None:
        """Every step that the engine core reports passes through vLLM's stat loggers; that is where it is noted."""
        manager = self._client().logger_manager
        record = manager.record

        def noted(*arguments: Any, **named: Any) -> Any:
            scheduler = named.get("scheduler_stats") or (arguments[0] if arguments else None)
            iteration = named.get("iteration_stats") or (arguments[1] if len(arguments) > 1 else None)
            self.life.stepped(
                running=getattr(scheduler, "num_running_reqs", 0),
                waiting=getattr(scheduler, "num_waiting_reqs", 0),
                kv_cache_usage=getattr(scheduler, "kv_cache_usage", 0.0),
                generated=getattr(iteration, "num_generation_tokens", 0),
                prompt=getattr(iteration, "num_prompt_tokens", 0),
                finished=len(getattr(iteration, "finished_requests", ())),
            )
            return record(*arguments, **named)

        manager.record = noted

    async def _watch_life(self) -> None:
        """Ask for signs of life while nothing else shows them, and for a whole proof now and then."""
        proved = time.monotonic()
        while True:
            await asyncio.sleep(1.0)
            self.life.state()
            if time.monotonic() - proved > PROOF_PERIOD_SECONDS:
                await self.prove()
                proved = time.monotonic()
            elif not self._pending() and self.life.idle_seconds() > LIFE_PERIOD_SECONDS:
                try:
                    await asyncio.wait_for(self._answer(self._golden_request(max_tokens=1)), LIFE_TIMEOUT_SECONDS)
                except TimeoutError:
                    self.life.silent(f"asked for one token, none came within {LIFE_TIMEOUT_SECONDS:.0f} s")
                except Exception as error:
                    self.life.silent(f"asked for one token: {type(error).__name__}: {error}")

    async def check_health(self) -> None:
        """Serve's periodic question: a replica whose engine is wedged or wrong is unhealthy, and Serve restarts it."""
        await super().check_health()
        state, reason = self.life.state()
        if state == WEDGED:
            raise WedgedError(f"{node_name()}: {reason}")
        if state == WRONG:
            raise GoldenAnswerError(f"{node_name()}: {reason}")

    async def prove(self) -> dict[str, Any]:
        """Ask this replica the golden question at temperature 0.

        Returns node, address, replica, question, answer, correct, seconds and detail; never raises for a wrong or
        missing answer, so that one bad replica does not hide the others.
        """
        golden, started = self._golden, time.monotonic()
        answer, detail = "", ""
        try:
            if not self._started:
                raise GoldenAnswerError("the engine is still starting")
            answer = await asyncio.wait_for(self._answer(self._golden_request()), PROOF_TIMEOUT_SECONDS)
        except TimeoutError:
            detail = f"no answer within {PROOF_TIMEOUT_SECONDS:.0f} s"
        except Exception as error:  # whatever the engine raises is the finding, not our failure
            detail = f"{type(error).__name__}: {error}"
        correct = golden["expected"].lower() in answer.lower()
        if not correct and not detail:
            detail = f"expected {golden['expected']!r} in the answer, got {answer[:120]!r}"
        seconds = round(time.monotonic() - started, 3)
        self.life.proved({"correct": correct, "seconds": seconds, "answer": answer, "detail": detail})
        return {
            "node": node_name(),
            "address": ray.util.get_node_ip_address(),
            "replica": serve.get_replica_context().replica_id.unique_id,
            "question": golden["question"],
            "answer": answer,
            "correct": correct,
            "seconds": seconds,
            "detail": detail,
        }

    def _golden_request(self, max_tokens: int | None = None) -> Any:
        return ChatCompletionRequest(
            model=self._llm_config.model_id,
            messages=[{"role": "user", "content": self._golden["question"]}],
            temperature=0.0,
            max_tokens=max_tokens or self._golden["max_tokens"],
        )

    async def _answer(self, request: Any) -> str:
        async for item in await self.chat(request):
            if not hasattr(item, "choices"):
                raise GoldenAnswerError(f"the engine returned an error: {item}")
            return str(item.choices[0].message.content or "")
        raise GoldenAnswerError("the engine returned nothing")

    async def __del__(self) -> None:
        """Serve calls this before it ends the replica: no new requests, the running ones end, then the engine."""
        if self._watch is not None:
            self._watch.cancel()
        if self._listener is not None and self.life.state()[0] == SERVING:
            await self._listener.drain(DRAIN_SECONDS)
        with contextlib.suppress(Exception):
            await super().__del__()


def build(arguments: dict[str, Any]) -> Any:
    """Serve application for `import_path: cluster_engine:build`; arguments: llm_config and golden."""
    config = LLMConfig(
        **arguments["llm_config"],
        experimental_configs={"golden": arguments["golden"]},
        server_cls=ProvenLLMServer,
        # vLLM's own Prometheus metrics, on the replica's /metrics, instead of Ray's wrapper around them.
        log_engine_metrics=False,
    )
    return build_llm_deployment(config)
