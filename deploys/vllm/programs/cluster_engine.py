"""The engines as this project serves them: replicas of Ray Serve that must answer before they count as ready.

Runs on the cluster's nodes inside the locked runtime, never on the operator's machine. Ray imports it by name from
PYTHONPATH.

Ray Serve places, starts and restarts replicas. Requests come from the gateway straight to a replica's own HTTP
listener (engine_http). `/health` and `/v1/models` say that a process listens; they have been seen to say so while the
engine was wedged or talked garbage, so a replica here proves itself: before it takes traffic, and for as long as it
serves (engine_proof).
"""

import os
import sys
from typing import Any

from ray import serve

from deploys.programs import private_names
from deploys.vllm.programs.engine_link import Link
from deploys.vllm.programs.engine_proof import Proving

# Requests that one replica of an engine without batching works on at once.
CONCURRENT_REQUESTS = 2


class ProvenVllm:
    """vLLM with one rank, in a process of its own that proves itself; here nothing of it is loaded."""

    async def __init__(self, arguments: dict[str, Any]) -> None:  # type: ignore[misc]
        """Ray Serve awaits it: the engine serves when this returns, and EngineEndedError says why it does not."""
        private_names.close_replica()
        self._link = Link()
        await self._link.start(
            {
                **{key: arguments[key] for key in ("model", "directory", "golden", "limits")},
                "engine": arguments["llm_config"]["engine_kwargs"],
                "replica": replica_id(),
            },
            end_replica,
        )

    async def check_health(self) -> None:
        """Serve's periodic question."""
        self._link.judge()

    async def collective_rpc(
        self, method: str, seconds: float | None = None, arguments: tuple[Any, ...] = (), named: Any = None
    ) -> str:
        """vLLM's, of all ranks; what it answers, as text."""
        return str(await self._link.call(method, [seconds, list(arguments), named or {}]))

    async def __del__(self) -> None:
        """Serve calls this before it ends the replica."""
        await self._link.leave()


class ProvenEngine(Proving):
    """An engine of this project for what vLLM does not run: transformers, or llama.cpp."""

    async def __init__(self, arguments: dict[str, Any]) -> None:  # type: ignore[misc]
        """Ray Serve awaits it."""
        private_names.close_replica()
        kind, model, directory = arguments["engine_kind"], arguments["model"], arguments["directory"]
        common = (directory, model, arguments["task"], arguments["dtype"], CONCURRENT_REQUESTS)
        self.engine: Any = None
        self.begin(kind, arguments, replica_id())
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


def replica_id() -> str:
    """Serve's name for the replica in this process."""
    return str(serve.get_replica_context().replica_id.unique_id)


def end_replica(why: str) -> None:
    """End this process: Ray tells Serve of that at once, and Serve begins another replica."""
    print(f"the engine is gone: {why}", file=sys.stderr, flush=True)
    os._exit(1)


def build(arguments: dict[str, Any]) -> Any:
    """Serve application for `import_path: deploys.vllm.programs.cluster_engine:build`.

    Arguments: engine_kind, name (of the deployment), model, directory, task, dtype, maximum_length, golden, limits (of
    its API), and llm_config: Ray Serve LLM's, which also says how many replicas, and what one takes. Serve builds an
    application in a task of its own: nothing that loads long is imported for it.
    """
    config = arguments["llm_config"]
    bundles = config["placement_group_config"]["bundles"]
    if arguments["engine_kind"] == "vllm" and len(bundles) > 1:
        from deploys.vllm.programs.spanning_engine import build_spanning

        return build_spanning(arguments)
    options = dict(config["deployment_config"])
    resources = dict(options["ray_actor_options"])
    resources |= {"num_cpus": 2, "num_gpus": sum(bundle.get("GPU", 0) for bundle in bundles)}
    options["ray_actor_options"] = resources
    replica = ProvenVllm if arguments["engine_kind"] == "vllm" else ProvenEngine
    return serve.deployment(replica, name=arguments["name"], **options).bind(arguments)
