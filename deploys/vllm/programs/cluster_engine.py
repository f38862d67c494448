"""The engines as this project serves them: replicas of Ray Serve that must answer before they count as ready.

Runs on the cluster's nodes inside the locked runtime, never on the operator's machine. Ray imports it by name from
PYTHONPATH.

Ray Serve places, starts and restarts replicas. Requests come from the gateway straight to a replica's own HTTP
listener (engine_http). `/health` and `/v1/models` say that a process listens; they have been seen to say so while the
engine was wedged or talked garbage, so a replica here proves itself: before it takes traffic, and for as long as it
serves (engine_proof).
"""

import contextlib
from typing import Any

from ray import serve
from ray.serve.llm import LLMConfig, build_llm_deployment
from ray.serve.llm.openai_api_models import ChatCompletionRequest, CompletionRequest

from deploys.programs import private_names
from deploys.vllm.programs.engine_proof import GoldenAnswerError, Proving

# Requests that one replica of an engine without batching works on at once.
CONCURRENT_REQUESTS = 2


class ProvenLLMServer(Proving, private_names.server_base()):  # type: ignore[misc]
    """vLLM, by Ray Serve LLM's own server; ready only when it gave the golden answer.

    Its name is `facts.programs.engines.SERVER`: Ray Serve LLM names the deployment after it.
    """

    async def start(self) -> None:
        """Engine, golden answer, listener, in this order."""
        config = private_names.configuration(self)
        settings = config.experimental_configs["proof"]
        self.begin(config.model_id, settings["directory"], "vllm", settings["golden"], settings["limits"])
        await super().start()
        private_names.follow_steps(self, self._noted)
        await self.serve_when_proven()

    def pending(self) -> int:
        return private_names.unfinished_requests(self)

    def ended(self) -> bool:
        return private_names.has_ended(self)

    async def application(self) -> Any:
        return await self.engine.build_asgi_app()

    def _noted(self, scheduler: Any, iteration: Any) -> None:
        """A step of the engine core has ended."""
        self.life.stepped(
            running=getattr(scheduler, "num_running_reqs", 0),
            waiting=getattr(scheduler, "num_waiting_reqs", 0),
            kv_cache_usage=getattr(scheduler, "kv_cache_usage", 0.0),
            generated=getattr(iteration, "num_generation_tokens", 0),
            prompt=getattr(iteration, "num_prompt_tokens", 0),
            finished=len(getattr(iteration, "finished_requests", ())),
        )

    async def check_health(self) -> None:
        """Serve's periodic question."""
        await super().check_health()
        self.judge_life()

    async def ask(self, golden: dict[str, Any], max_tokens: int) -> str:
        common = {"model": private_names.configuration(self).model_id, "temperature": 0.0, "max_tokens": max_tokens}
        if "question" in golden:
            messages = [{"role": "user", "content": golden["question"]}]
            answers = await self.chat(ChatCompletionRequest(messages=messages, **common))
        else:
            answers = await self.completions(CompletionRequest(prompt=golden["prompt"], **common))
        async for item in answers:
            if not hasattr(item, "choices"):
                raise GoldenAnswerError(f"the engine returned an error: {item}")
            choice = item.choices[0]
            if "question" not in golden:
                return str(choice.text or "")
            # Where a parser takes reasoning apart, the answer may have ended within it.
            thought = getattr(choice.message, "reasoning", None) or ""
            return f"{thought}{choice.message.content or ''}"
        raise GoldenAnswerError("the engine returned nothing")

    async def __del__(self) -> None:
        """Serve calls this before it ends the replica."""
        await self.leave()
        with contextlib.suppress(Exception):
            await super().__del__()


class ProvenEngine(Proving):
    """An engine of this project for what vLLM does not run: transformers, or llama.cpp."""

    async def __init__(self, arguments: dict[str, Any]) -> None:  # type: ignore[misc]
        """Ray Serve awaits it."""
        kind, model, directory = arguments["engine_kind"], arguments["model"], arguments["directory"]
        common = (directory, model, arguments["task"], arguments["dtype"], CONCURRENT_REQUESTS)
        self.engine: Any = None
        self.begin(model, directory, kind, arguments["golden"], arguments["limits"])
        if kind == "llama.cpp":
            from deploys.vllm.programs.llama_engine import LlamaEngine

            self.engine = LlamaEngine(*common, maximum_length=arguments["maximum_length"])
        else:
            from deploys.vllm.programs.transformers_engine import TransformersEngine

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
    """Serve application for `import_path: deploys.vllm.programs.cluster_engine:build`.

    Arguments: engine_kind, name (of the deployment), model, directory, task, dtype, maximum_length, golden, limits (of
    its API), and llm_config: Ray Serve LLM's, which also says how many replicas, and what one takes.
    """
    if arguments["engine_kind"] == "vllm":
        config = LLMConfig(
            **arguments["llm_config"],
            experimental_configs={
                "proof": {key: arguments[key] for key in ("golden", "directory", "limits")},
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
