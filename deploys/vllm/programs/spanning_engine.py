"""vLLM over several ranks, by Ray Serve LLM's own server: it knows how to place ranks on nodes.

Runs on the cluster's nodes inside the locked runtime, in the replica of the first rank. Importing it loads vLLM.
"""

import contextlib
from typing import Any

from ray.serve.llm import LLMConfig, build_llm_deployment
from ray.serve.llm.openai_api_models import ChatCompletionRequest, CompletionRequest

from deploys.programs import private_names
from deploys.vllm.programs import engine_ranks
from deploys.vllm.programs.cluster_engine import replica_id
from deploys.vllm.programs.engine_proof import GoldenAnswerError, Proving
from deploys.vllm.programs.vllm_engine import step_into


class ProvenLLMServer(Proving, private_names.server_base()):  # type: ignore[misc]
    """vLLM, by Ray Serve LLM's own server; ready only when it gave the golden answer.

    Its name is `facts.programs.engines.SERVER`: Ray Serve LLM names the deployment after it.
    """

    parts: tuple[engine_ranks.Rank, ...] = ()

    async def start(self) -> None:
        """Engine, golden answer, listener, in this order."""
        private_names.close_replica()
        config = private_names.configuration(self)
        settings = config.experimental_configs["proof"]
        self.begin("vllm", {**settings, "model": config.model_id}, replica_id())
        await super().start()
        with contextlib.suppress(Exception):  # they tell of faults: what serves needs them not
            self.parts = engine_ranks.ranks_of(private_names.client_of(self))
        private_names.follow_steps(private_names.client_of(self), step_into(self.life))
        await self.serve_when_proven()

    def pending(self) -> int:
        return private_names.unfinished_requests(private_names.client_of(self))

    def ended(self) -> bool:
        return private_names.has_ended(private_names.client_of(self))

    def gone(self) -> str:
        return engine_ranks.gone(self.parts)

    def blamed(self) -> str:
        return engine_ranks.blamed(self.parts)

    async def application(self) -> Any:
        return await self.engine.build_asgi_app()

    async def check_health(self) -> None:
        """Serve's periodic question. Ours comes first: vLLM's says that the engine is dead, and not what of it."""
        self.judge_life()
        await super().check_health()

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
            return f"{getattr(choice.message, 'reasoning', None) or ''}{choice.message.content or ''}"
        raise GoldenAnswerError("the engine returned nothing")

    async def __del__(self) -> None:
        """Serve calls this before it ends the replica."""
        await self.leave()
        with contextlib.suppress(Exception):
            await super().__del__()


def build_spanning(arguments: dict[str, Any]) -> Any:
    """Serve application of one engine over several ranks; arguments as `cluster_engine.build` has them."""
    config = LLMConfig(
        **arguments["llm_config"],
        experimental_configs={"proof": {key: arguments[key] for key in ("golden", "directory", "limits")}},
        server_cls=ProvenLLMServer,
        # vLLM's own Prometheus metrics, on the replica's /metrics, instead of Ray's wrapper around them.
        log_engine_metrics=False,
    )
    return build_llm_deployment(config)
