"""Ray Serve LLM's vLLM without another process for the model where one rank needs none.

Runs on the cluster's nodes inside the locked runtime; imported by a replica alone, since it imports vLLM.

Ray Serve LLM runs every engine's model in a further process, Ray's on GPUs and vLLM's on CPUs, whatever the engine
arguments say. vLLM by itself, asked for one rank, runs the model in the engine's own process ("uni"): no messages
between processes on the way of a step, and one Python with torch less in memory.
"""

from typing import Any

from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine, _normalize_vllm_engine_kwargs
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.cli_args import FrontendArgs
from vllm.usage.usage_lib import UsageContext


class DirectEngine(VLLMEngine):  # type: ignore[misc]
    """VLLMEngine whose model of one rank runs in the engine's process; of several ranks as Ray Serve LLM does it."""

    def _prepare_engine_config(self, callback_ctx: Any) -> Any:
        """Engine arguments, frontend arguments and engine configuration.

        The parent asks a task that holds a GPU, because it sees none itself in older Rays; a node's one engine sees all
        of its node's.
        """
        config = self.llm_config.get_engine_config()
        if config.num_devices > 1:
            return super()._prepare_engine_config(callback_ctx)
        given = _normalize_vllm_engine_kwargs(config.get_initialization_kwargs())
        arguments = AsyncEngineArgs(**{**given, "distributed_executor_backend": "uni"})
        frontend = FrontendArgs(**config.frontend_kwargs)
        return arguments, frontend, arguments.create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER)
