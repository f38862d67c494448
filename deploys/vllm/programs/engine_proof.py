"""What makes a replica of any engine prove itself, watch its life and serve HTTP: the part that they share.

Runs on the cluster's nodes inside the locked runtime, in the process of the engine. A replica is Ray Serve's; its
requests come from the gateway.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from deploys.vllm.programs.api_face import Face, Limits
from deploys.vllm.programs.engine_http import Identity, Listener, bind
from deploys.vllm.programs.engine_life import SERVING, WEDGED, Life
from facts.programs.golden import asked, complaint, declared

# A whole proof costs one short answer; a sign of life costs one token, and only an idle engine is asked for it. Period,
# a second until it is seen to be over, and time limit are 27 seconds together: then an engine is out that was wedged
# while nobody asked. One that meets a request is out after engine_life.STALL_SECONDS.
PROOF_PERIOD_SECONDS = 120.0
PROOF_TIMEOUT_SECONDS = 60.0
LIFE_PERIOD_SECONDS = 20.0
LIFE_TIMEOUT_SECONDS = 6.0
DRAIN_SECONDS = 30.0
# How soon an engine whose process is gone is seen; a look is a few microseconds.
LOOK_SECONDS = 0.2
BLAME_SECONDS = 8.0


class GoldenAnswerError(RuntimeError):
    """The engine is alive and does not answer correctly."""


class EndedError(RuntimeError):
    """The engine is of no use any more: it has ended, does not move, or answers wrongly."""


def node_name() -> str:
    """Name of this node as the inventory writes it; Ray's daemons carry it in their environment."""
    return os.environ.get("CLUSTER_NODE_NAME", "unknown")


def golden_answer(golden: dict[str, Any], directory: str) -> dict[str, Any]:
    """What is asked and expected; GoldenAnswerError where the reference implementation's answer cannot be read."""
    try:
        return declared(golden, directory)
    except (OSError, ValueError) as error:
        raise GoldenAnswerError(f"{directory}/golden.json: {error}; fetch the model again") from None


class Proving:
    """Mixin of a replica. A subclass starts its engine, then calls `serve_when_proven`."""

    life: Life
    # What the engine has on other nodes; `gone` and `blamed` are asked only where there is something.
    parts: Sequence[Any] = ()

    async def ask(self, golden: dict[str, Any], max_tokens: int) -> str:
        """The golden question at temperature 0; raises what is wrong with the engine."""
        raise NotImplementedError

    def pending(self) -> int:
        """Requests that the engine has not finished."""
        raise NotImplementedError

    def ended(self) -> bool:
        """Whether the engine's own process is gone."""
        return False

    async def application(self) -> Any:
        """The engine's ASGI application in OpenAI's shapes."""
        raise NotImplementedError

    def gone(self) -> str:
        """Which of the parts is not there any more; empty while all are. May block."""
        return ""

    def blamed(self) -> str:
        """Which of the parts of an engine that is wedged is at fault; empty where nobody can tell. May block."""
        return ""

    def look(self) -> None:
        """Tell `life` of steps, for engines that do not do it themselves; once a second."""

    def begin(self, engine: str, order: dict[str, Any], replica: str) -> None:
        """Before the engine starts. `order`: model, directory, golden, and limits, what its API takes but for the
        model's name. `replica` is Serve's name for it.
        """
        model, directory, golden = order["model"], order["directory"], order["golden"]
        self._limits = Limits(model, **order["limits"])
        self._golden = golden_answer(golden, directory)
        self._started = False
        self._listener: Listener | None = None
        self._watches: tuple[asyncio.Task[None], ...] = ()
        self.life = Life(
            {
                "node": node_name(),
                "address": os.environ["VLLM_HOST_IP"],
                "replica": replica,
                "model": model,
                "engine": engine,
            },
            pending=self.pending,
            ended=self.ended,
            record=os.environ.get("CLUSTER_PROOF_RECORD", ""),
        )
        self.life.reached("begin")

    async def serve_when_proven(self) -> None:
        """The engine runs: golden answer, listener, watch. GoldenAnswerError makes Serve try anew."""
        self._started = True
        self.life.reached("loaded")
        proof = await self.prove()
        if not proof["correct"]:
            raise GoldenAnswerError(f"{proof['node']}: {proof['detail']}")
        first, _, last = os.environ["CLUSTER_ENGINE_PORTS"].partition("-")
        socket = bind(os.environ["VLLM_HOST_IP"], int(first), int(last))
        self._listener = Listener(Identity(Face(await self.application(), self._limits), self.life), socket)
        await self._listener.start()
        loop = asyncio.get_running_loop()
        self._watches = loop.create_task(self._watch_life()), loop.create_task(self._watch_end(self._listener.app))

    async def _watch_life(self) -> None:
        """Ask for signs of life while nothing else shows them, and for a whole proof now and then."""
        proved = time.monotonic()
        while True:
            await asyncio.sleep(1.0)
            self.look()
            await self._find_gone()
            wedged = self.life.state()[0] == WEDGED
            if wedged:
                await self._find_blamed()
            if time.monotonic() - proved > PROOF_PERIOD_SECONDS:
                await self.prove()
                proved = time.monotonic()
            elif not self.pending() and (wedged or self.life.idle_seconds() > LIFE_PERIOD_SECONDS):
                asked_at = time.monotonic()
                try:
                    await asyncio.wait_for(self.ask(self._golden, 1), LIFE_TIMEOUT_SECONDS)
                    self.look()
                except Exception as error:
                    # vLLM makes an error of its own of our end of the wait.
                    late = time.monotonic() - asked_at >= LIFE_TIMEOUT_SECONDS
                    said = "" if late else f": {type(error).__name__}: {error}"
                    self.life.silent(f"asked for one token{said or f', none came within {LIFE_TIMEOUT_SECONDS:.0f} s'}")

    async def _find_gone(self) -> None:
        """Have the life know of a part that is gone: what Ray does not say in time changes nothing."""
        if not self.parts:
            return
        with contextlib.suppress(Exception):
            async with asyncio.timeout(BLAME_SECONDS):
                if found := await asyncio.to_thread(self.gone):
                    self.life.lost(found)

    async def _find_blamed(self) -> None:
        """Have the reason name the part that is at fault; what cannot be found out in time changes nothing."""
        if not self.parts:
            return
        with contextlib.suppress(Exception):
            async with asyncio.timeout(BLAME_SECONDS):
                self.life.blame(await asyncio.to_thread(self.blamed))

    async def _watch_end(self, answers: Identity) -> None:
        """End this process once its engine is of no use, without a farewell: Serve starts another replica at once.

        A replica that only failed Serve's questions was asked three times, and then waited for: half a minute.
        """
        while not (reason := self.life.over()):
            if self.life.broken():
                await answers.break_off()
            await asyncio.sleep(LOOK_SECONDS)
        await self._find_blamed()
        reason = self.life.over() or reason
        self.life.end(reason)
        await answers.break_off()
        print(f"{node_name()}: this engine ends: {reason}", file=sys.stderr, flush=True)
        self.end_process(reason)

    def end_process(self, reason: str) -> None:
        """In a replica's own process: what it started ends with it, since Ray ends the process group of a worker."""
        os._exit(1)

    def judge_life(self) -> None:
        """For Serve's periodic question: raises where this process should have ended by itself."""
        if reason := self.life.over():
            raise EndedError(f"{node_name()}: {reason}")

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
            answer = await asyncio.wait_for(self.ask(golden, golden["max_tokens"]), PROOF_TIMEOUT_SECONDS)
        except TimeoutError:
            detail = f"no answer within {PROOF_TIMEOUT_SECONDS:.0f} s"
        except Exception as error:  # whatever the engine raises is the finding, not our failure
            detail = f"{type(error).__name__}: {error}"
        wrong = complaint(golden, answer)
        correct, detail = not wrong, detail or wrong
        seconds = round(time.monotonic() - started, 3)
        self.life.proved({"correct": correct, "seconds": seconds, "answer": answer, "detail": detail})
        return {
            "node": node_name(),
            "address": self.life.about["address"],
            "replica": self.life.about["replica"],
            "question": asked(golden),
            "answer": answer,
            "correct": correct,
            "seconds": seconds,
            "detail": detail,
        }

    async def leave(self) -> None:
        """Before the engine ends: no new requests, and the running ones may end."""
        for life in self._watches[:1]:
            life.cancel()
        if self._listener is not None and self.life.state()[0] == SERVING:
            with contextlib.suppress(Exception):
                await self._listener.drain(DRAIN_SECONDS)
        for end in self._watches[1:]:
            end.cancel()
