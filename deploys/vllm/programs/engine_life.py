"""What one replica knows of its own life: proven, moving, wedged, wrong, draining; and the record of it.

Runs on the cluster's nodes inside the locked runtime; standard library only, so that tests need no engine. Ray imports
it by name from PYTHONPATH. Times are monotonic seconds, but for those that leave the process: they are Unix seconds.

A process that listens is no proof, and neither is an engine process that exists: an engine is alive when it finishes
steps while it has work, and right when it gives the golden answer.
"""

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Work is pending and no step has ended for this long: wedged. A prefill step of 2048 tokens takes 5 s on two cores.
STALL_SECONDS = 9.0
# A wedged engine may move again, as one whose host was frozen does: it gets no requests, and is replaced after this.
PATIENCE_SECONDS = 12.0
RECORD_BYTES = 1_000_000

SERVING, STARTING, DRAINING, WEDGED, WRONG = "serving", "starting", "draining", "wedged", "wrong"
# What the gateway's health check makes of a state: 404 takes no new requests and lets the running ones end.
STATUS = {SERVING: 200, DRAINING: 404, STARTING: 503, WEDGED: 503, WRONG: 503}


class Life:
    """State of one replica.

    `pending` tells how many requests the engine has not finished, `ended` whether its process is gone: then it answers
    every request at once, with an error, and would draw all of them to itself. Nothing mends that but another replica.
    """

    def __init__(
        self,
        about: dict[str, Any],
        pending: Callable[[], int],
        ended: Callable[[], bool] = lambda: False,
        record: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.about = about
        self.pending = pending
        self.ended = ended
        self.clock = clock
        self.started = time.time()
        self.last_step = self.clock()
        self.proofs: dict[str, Any] = {"asked": 0, "failed": 0, "last": None}
        self.load: dict[str, Any] = {"running": 0, "waiting": 0, "kv_cache_usage": 0.0}
        self.finished = 0
        self.generated_tokens = 0
        self.prompt_tokens = 0
        self.draining = False
        self._proven = False
        self._wrong = ""
        self._idle_since = self.clock()
        self._silent = ""
        self._stalled = ""
        self._lost = ""
        self._blamed = ""
        self._record = record
        self._state, self._since = STARTING, self.started
        self._changed = self.clock()

    def stepped(
        self, *, running: int, waiting: int, kv_cache_usage: float, generated: int, prompt: int, finished: int
    ) -> None:
        """The engine has finished a step."""
        self.last_step = self.clock()
        self._silent = self._stalled = ""
        self.load = {"running": running, "waiting": waiting, "kv_cache_usage": round(kv_cache_usage, 4)}
        self.generated_tokens += generated
        self.prompt_tokens += prompt
        self.finished += finished

    def proved(self, proof: dict[str, Any]) -> None:
        """Take the outcome of a golden question: correct, seconds, answer, detail."""
        self.proofs["asked"] += 1
        self.proofs["failed"] += not proof["correct"]
        self.proofs["last"] = {"at": round(time.time(), 3), **proof}
        self._proven = self._proven or bool(proof["correct"])
        self._wrong = "" if proof["correct"] else str(proof["detail"])
        self._write({"event": "proof", **proof})
        self.state()

    def silent(self, why: str) -> None:
        """A sign of life was asked for and did not come; the next step of the engine takes it back."""
        self._silent = why

    def lost(self, who: str) -> None:
        """A part of the engine is not there any more: it will make no step, whatever else of it lives."""
        self._lost = self._lost or who
        self.state()

    def reached(self, what: str) -> None:
        """Write down a step of the start: begin, loaded."""
        self._write({"event": what})

    def blame(self, who: str) -> None:
        """Name the part of the engine that the fault lies with: it stands in the reason for as long as there is one."""
        if who and who != self._blamed:
            self._blamed = who
            self._write({"event": "blame", "reason": who})

    def state(self) -> tuple[str, str]:
        """State and reason now; a change is remembered with its time and written to the record."""
        found, reason = self._judge()
        if found == WEDGED and self._blamed and self._blamed not in reason:
            reason = f"{reason}: {self._blamed}"
        if found == SERVING:
            self._blamed = ""
        if found != self._state:
            self._state, self._since, self._changed = found, time.time(), self.clock()
            self._write({"event": "state", "state": found, "reason": reason})
        return found, reason

    def _judge(self) -> tuple[str, str]:
        now = self.clock()
        if not self._proven:
            return STARTING, self._wrong or "no golden answer yet"
        if self.ended():
            return WEDGED, f"the engine's own process has ended{f': {self._lost}' if self._lost else ''}"
        if self.draining:
            return DRAINING, "no new requests; running ones end"
        if self._wrong:
            return WRONG, self._wrong
        if self._lost:
            return WEDGED, self._lost
        if not self.pending():
            self._idle_since = now
        still = now - max(self.last_step, self._idle_since)
        if still > STALL_SECONDS:
            self._stalled = f"{self.pending()} requests pending and no step for {still:.0f} s"
            return WEDGED, self._stalled
        if self._silent or self._stalled:
            # Its requests may have been taken away meanwhile: that is no step.
            return WEDGED, self._silent or self._stalled
        return SERVING, ""

    def over(self) -> str:
        """Why this replica has to end now, so that another one is started; empty while it may go on."""
        state, reason = self.state()
        if state == WEDGED and not (self.ended() or self._lost) and self.clock() - self._changed < PATIENCE_SECONDS:
            return ""
        return reason if state in (WEDGED, WRONG) else ""

    def broken(self) -> bool:
        """Whether no answer of this engine is to be waited for."""
        return self.state()[0] in (WEDGED, WRONG)

    def end(self, reason: str) -> None:
        """Write down that this replica ends."""
        self._write({"event": "end", "reason": reason})

    def idle_seconds(self) -> float:
        """How long ago the engine last showed that it works."""
        return self.clock() - self.last_step

    def report(self) -> dict[str, Any]:
        """All of it as plain data: the body of GET /cluster/proof."""
        state, reason = self.state()
        return {
            **self.about,
            "state": state,
            "reason": reason,
            "since": round(self._since, 3),
            "started": round(self.started, 3),
            "proofs": self.proofs,
            "requests": {"running": self.load["running"], "waiting": self.load["waiting"], "finished": self.finished},
            "kv_cache_usage": self.load["kv_cache_usage"],
            "generated_tokens": self.generated_tokens,
            "prompt_tokens": self.prompt_tokens,
        }

    def _write(self, event: dict[str, Any]) -> None:
        """One JSON line; the file is turned over once at RECORD_BYTES. A full disk must not stop an engine."""
        if not self._record:
            return
        who = {key: self.about.get(key, "") for key in ("replica", "model")}
        line = json.dumps({"at": round(time.time(), 3), **who, **event})
        with contextlib.suppress(OSError):
            path = Path(self._record)
            if path.exists() and path.stat().st_size > RECORD_BYTES:
                path.replace(f"{path}.1")
            with path.open("a") as stream:
                stream.write(line + "\n")
