"""vLLM in a process of its own: an engine of one rank, its OpenAI application, and what its proof and life ask of it.

Runs on the cluster's nodes inside the locked runtime, in a process that `engine_process` made for it. Nothing of Ray
is here.
"""

import os
import signal
from collections.abc import Callable
from typing import Any

from deploys.programs import private_names
from deploys.vllm.programs.engine_life import Life
from deploys.vllm.programs.engine_proof import GoldenAnswerError, Proving

# In front of the engine it is said how long an answer may take.
_PLACE = "http://engine"


class VllmEngine(Proving):
    """One engine. `order`: model, directory, golden, limits, replica, and engine: vLLM's arguments, its API's too."""

    def __init__(self, order: dict[str, Any], last_words: Callable[[str], None]) -> None:
        """`last_words` is told why this process ends, where it has to."""
        self._order, self._last_words = order, last_words
        self._client: Any = None
        self._application: Any = None
        self.begin("vllm", order, order["replica"])

    async def start(self) -> None:
        """Engine, golden answer, listener, in this order; raises what is wrong with one of them."""
        arguments = {**self._order["engine"], "model": self._order["directory"]}
        self._client, self._application = await private_names.start_engine(arguments, self._order["model"])
        private_names.follow_steps(self._client, step_into(self.life))
        await self.serve_when_proven()

    def end_process(self, reason: str) -> None:
        """With all that it has started: they are of one group."""
        self._last_words(reason)
        os.killpg(0, signal.SIGKILL)

    def pending(self) -> int:
        return private_names.unfinished_requests(self._client)

    def ended(self) -> bool:
        return private_names.has_ended(self._client)

    async def application(self) -> Any:
        return self._application

    async def ask(self, golden: dict[str, Any], max_tokens: int) -> str:
        """As a caller would, through the application; no network is on the way."""
        import httpx

        asked = {"model": self._order["model"], "temperature": 0.0, "max_tokens": max_tokens}
        if "question" in golden:
            path, body = "chat/completions", {"messages": [{"role": "user", "content": golden["question"]}]}
        else:
            path, body = "completions", {"prompt": golden["prompt"]}
        transport = httpx.ASGITransport(self._application)
        async with httpx.AsyncClient(transport=transport, base_url=_PLACE, timeout=None, trust_env=False) as client:  # noqa: S113 (whoever asks has a time limit)
            answer = await client.post(f"/v1/{path}", json={**asked, **body})
        if answer.status_code != 200:
            raise GoldenAnswerError(f"the engine answers {answer.status_code}: {answer.text[:300]}")
        choice = answer.json()["choices"][0]
        if "question" not in golden:
            return str(choice["text"] or "")
        # Where a parser takes reasoning apart, the answer may have ended within it.
        message = choice["message"]
        return f"{message.get('reasoning') or ''}{message['content'] or ''}"

    async def call(self, method: str, arguments: list[Any]) -> Any:
        """Call what vLLM offers to all ranks (collective_rpc): method, seconds, arguments, named arguments."""
        seconds, positional, named = arguments
        return await self._client.collective_rpc(method, seconds, tuple(positional), named)

    def stop(self) -> None:
        """End the engine's own process."""
        if self._client is not None:
            self._client.shutdown()


def step_into(life: Life) -> Any:
    """What is told of every step of an engine core (scheduler's part, iteration's part), and tells `life` of it."""

    def noted(scheduler: Any, iteration: Any) -> None:
        life.stepped(
            running=getattr(scheduler, "num_running_reqs", 0),
            waiting=getattr(scheduler, "num_waiting_reqs", 0),
            kv_cache_usage=getattr(scheduler, "kv_cache_usage", 0.0),
            generated=getattr(iteration, "num_generation_tokens", 0),
            prompt=getattr(iteration, "num_prompt_tokens", 0),
            finished=len(getattr(iteration, "finished_requests", ())),
        )

    return noted
