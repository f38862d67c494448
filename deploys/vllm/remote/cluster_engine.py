"""The engines as this project serves them: replicas of Ray Serve that must answer before they count as ready.

Runs on the cluster's nodes inside the locked runtime, never on the operator's machine. Ray imports it by name from
PYTHONPATH, so it has no imports from the rest of the project but for its neighbours.

Ray Serve places, starts and restarts replicas. Requests come from the gateway straight to a replica's own HTTP
listener (engine_http). `/health` and `/v1/models` say that a process listens; they have been seen to say so while the
engine was wedged or talked garbage, so a replica here proves itself: before it takes traffic, and for as long as it
serves (engine_proof).
"""

import contextlib
from typing import Any

from engine_proof import GoldenAnswerError, Proving
from ray import serve
from ray.serve.llm import LLMConfig, build_llm_deployment
from ray.serve.llm.deployment import LLMServer
from ray.serve.llm.openai_api_models import ChatCompletionRequest, CompletionRequest

# Requests that one replica of an engine without batching works on at once.
CONCURRENT_REQUESTS = 2


class ProvenLLMServer(Proving, LLMServer):  # type: ignore[misc]
    """vLLM, by Ray Serve LLM's own server; ready only when it gave the golden answer."""

    async def start(self) -> None:
        """Engine, golden answer, listener, in this order."""
        settings = self._llm_config.experimental_configs["proof"]
        self.begin(self._llm_config.model_id, settings["directory"], "vllm", settings["golden"])
        await super().start()
        self._follow_steps()
        await self.serve_when_proven()

    def _get_default_engine_class(self) -> Any:
        """Imported here: whoever else imports this module has no use for vLLM."""
        from direct_engine import DirectEngine

        return DirectEngine

    async def _start_engine(self) -> None:
        """Start the engine only: the parent also starts a usage-telemetry actor on the head, 220 MB resident."""
        await self.engine.start()

    def _client(self) -> Any:
        return self.engine._engine_client

    def pending(self) -> int:
        return int(self._client().output_processor.get_num_unfinished_requests()) if self.engine else 0

    def ended(self) -> bool:
        return bool(self.engine and self._client().errored)

    async def application(self) -> Any:
        return await self.engine.build_asgi_app()

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

    async def check_health(self) -> None:
        """Serve's periodic question."""
        await super().check_health()
        self.judge_life()

    async def ask(self, golden: dict[str, Any], max_tokens: int) -> str:
        common = {"model": self._llm_config.model_id, "temperature": 0.0, "max_tokens": max_tokens}
        if "question" in golden:
            messages = [{"role": "user", "content": golden["question"]}]
            answers = await self.chat(ChatCompletionRequest(messages=messages, **common))
        else:
            answers = await self.completions(CompletionRequest(prompt=golden["prompt"], **common))
        async for item in answers:
            if not hasattr(item, "choices"):
                raise GoldenAnswerError(f"the engine returned an error: {item}")
            choice = item.choices[0]
            return str((choice.message.content if "question" in golden else choice.text) or "")
        raise GoldenAnswerError("the engine returned nothing")

    async def __del__(self) -> None:
        """Serve calls this before it ends the replica."""
        await self.leave()
        with contextlib.suppress(Exception):
            await super().__del__()


class ProvenEngine(Proving):  # type: ignore[misc]
    """An engine of this project for what vLLM does not run: transformers, or llama.cpp."""

    async def __init__(self, arguments: dict[str, Any]) -> None:  # type: ignore[misc]
        """Ray Serve awaits it."""
        kind, model, directory = arguments["engine_kind"], arguments["model"], arguments["directory"]
        common = (directory, model, arguments["task"], arguments["dtype"], CONCURRENT_REQUESTS)
        self.engine: Any = None
        self.begin(model, directory, kind, arguments["golden"])
        if kind == "llama.cpp":
            from llama_engine import LlamaEngine

            self.engine = LlamaEngine(*common, maximum_length=arguments["maximum_length"])
        else:
            from transformers_engine import TransformersEngine

            self.engine = TransformersEngine(*common)
        await self.engine.start()
        self._seen = self.engine.load()
        await self.serve_when_proven()

    def pending(self) -> int:
        if self.engine is None:
            return 0
        now = self.engine.load()
        return int(now["running"] + now["waiting"])

    async def application(self) -> Any:
        return self.engine.app()

    def look(self) -> None:
        now, before = self.engine.load(), self._seen
        grew = {key: now[key] - before[key] for key in ("generated_tokens", "prompt_tokens", "finished")}
        if any(grew.values()):
            self._seen = now
            self.life.stepped(
                running=now["running"],
                waiting=now["waiting"],
                kv_cache_usage=0.0,
                generated=grew["generated_tokens"],
                prompt=grew["prompt_tokens"],
                finished=grew["finished"],
            )

    async def check_health(self) -> None:
        """Serve's periodic question."""
        self.judge_life()

    async def ask(self, golden: dict[str, Any], max_tokens: int) -> str:
        return str(await self.engine.answer({**golden, "max_tokens": max_tokens}))

    async def __del__(self) -> None:
        """Serve calls this before it ends the replica."""
        await self.leave()
        stop = getattr(self.engine, "stop", None)
        if stop is not None:
            await stop()


def build(arguments: dict[str, Any]) -> Any:
    """Serve application for `import_path: cluster_engine:build`.

    Arguments: engine_kind, name (of the deployment), model, directory, task, dtype, maximum_length, golden, and
    llm_config: Ray Serve LLM's, which also says how many replicas, and what one takes.
    """
    if arguments["engine_kind"] == "vllm":
        config = LLMConfig(
            **arguments["llm_config"],
            experimental_configs={
                "proof": {"golden": arguments["golden"], "directory": arguments["directory"]},
            },
            server_cls=ProvenLLMServer,
            # vLLM's own Prometheus metrics, on the replica's /metrics, instead of Ray's wrapper around them.
            log_engine_metrics=False,
        )
        return build_llm_deployment(config)
    options = dict(arguments["llm_config"]["deployment_config"])
    bundles = arguments["llm_config"]["placement_group_config"]["bundles"]
    resources = dict(options["ray_actor_options"])
    resources |= {"num_cpus": 2, "num_gpus": sum(bundle.get("GPU", 0) for bundle in bundles)}
    options["ray_actor_options"] = resources
    return serve.deployment(ProvenEngine, name=arguments["name"], **options).bind(arguments)
