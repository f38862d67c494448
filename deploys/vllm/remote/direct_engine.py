"""Ray Serve LLM's vLLM without another process for the model, where a GPU's one rank needs none.

Runs on the cluster's nodes inside the locked runtime; imported by a replica alone, since it imports vLLM.

Ray Serve LLM runs the model of every engine on GPUs in a further actor of Ray, and refuses an engine argument that says
otherwise. vLLM by itself, asked for one rank, runs it in the engine's own process ("uni"): one Python with torch less
to start, and no messages between processes on the way of a step. On CPUs vLLM itself wants the other process.
"""

from typing import Any

from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine, _normalize_vllm_engine_kwargs
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.cli_args import FrontendArgs
from vllm.usage.usage_lib import UsageContext


class DirectEngine(VLLMEngine):  # type: ignore[misc]
    """VLLMEngine, but for one rank on a GPU: that runs in the engine's process."""

    def _prepare_engine_config(self, callback_ctx: Any) -> Any:
        """Engine arguments, frontend arguments and engine configuration.

        The parent asks a task that was given a GPU; a replica sees its node's as well, since Ray hides none from an
        actor that asked for none, and the node has no other engine.
        """
        config = self.llm_config.get_engine_config()
        if config.num_devices > 1 or not config.accelerator.requires_remote_initialization:
            return super()._prepare_engine_config(callback_ctx)
        given = _normalize_vllm_engine_kwargs(config.get_initialization_kwargs())
        arguments = AsyncEngineArgs(**{**given, "distributed_executor_backend": "uni"})
        frontend = FrontendArgs(**config.frontend_kwargs)
        return arguments, frontend, arguments.create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER)
