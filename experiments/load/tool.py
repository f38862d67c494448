"""`vllm bench serve` from the locked runtime as a load tool: one process, many runs. Seconds.

`ToolRun` and `figures` are pure.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from experiments.errors import ExperimentError
from experiments.measures import percentile

DRIVER = Path(__file__).parent / "programs" / "bench_serve.py"
RUN_SECONDS = 900.0
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Work:
    """What one run asks: the same seed gives the same prompts and lengths."""

    model: str
    tokenizer: str
    requests: int
    concurrent: int
    input_tokens: int
    output_tokens: int
    # Lengths vary by this share, so that requests do not begin in step for ever.
    output_range: float
    seed: int

    def arguments(self, url: str) -> list[str]:
        """For `vllm bench serve` against the server at `url`, which has no path."""
        given = {
            "backend": "openai-chat",
            "endpoint": "/v1/chat/completions",
            "base-url": url,
            "model": self.model,
            "tokenizer": self.tokenizer,
            "dataset-name": "random",
            "random-input-len": self.input_tokens,
            "random-output-len": self.output_tokens,
            "random-range-ratio": json.dumps({"input": 0.0, "output": self.output_range}),
            "num-prompts": self.requests,
            "max-concurrency": self.concurrent,
            "num-warmups": self.concurrent,
            "ready-check-timeout-sec": 0,
            "seed": self.seed,
            "temperature": 0,
            "percentile-metrics": "ttft,tpot,itl,e2el",
        }
        flat = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        return [*flat, "--ignore-eos"]


@dataclass(frozen=True)
class ToolRun:
    """One run as the tool measured it. `first_tokens` are the times to first token of all but each worker's first
    request: those all begin at once, and what they wait for is each other."""

    seconds: float
    completed: int
    failed: int
    output_tokens: int
    first_tokens: tuple[float, ...]
    between_tokens: tuple[float, ...]

    @staticmethod
    def parse(result: Mapping[str, Any], concurrent: int) -> ToolRun:
        """From the tool's JSON; ExperimentError for a run that failed or has another shape."""
        if "error" in result:
            raise ExperimentError(f"vllm bench serve: {result['error']}")
        try:
            rows = sorted(zip(result["start_times"], result["ttfts"], result["errors"], strict=True))
            return ToolRun(
                float(result["duration"]),
                int(result["completed"]),
                int(result["failed"]),
                int(result["total_output_tokens"]),
                tuple(float(first) for _, first, error in rows[concurrent:] if not error),
                tuple(float(gap) for request in result["itls"] for gap in request),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ExperimentError(f"vllm bench serve: unexpected result, {type(error).__name__} {error}") from None


def figures(runs: Sequence[ToolRun]) -> dict[str, Any]:
    """Runs of one kind together: percentiles over all requests (milliseconds), rates over all seconds."""
    first = [value for run in runs for value in run.first_tokens]
    between = [value for run in runs for value in run.between_tokens]
    seconds = sum(run.seconds for run in runs)
    completed = sum(run.completed for run in runs)
    return {
        "runs": len(runs),
        "requests": completed,
        "failed": sum(run.failed for run in runs),
        "seconds": round(seconds, 3),
        "requests_a_second": completed / seconds if seconds else None,
        "tokens_a_second": sum(run.output_tokens for run in runs) / seconds if seconds else None,
        "first_token_ms": {name: _milliseconds(first, share) for name, share in SHARES.items()},
        "between_tokens_ms": {name: _milliseconds(between, share) for name, share in SHARES.items()},
        "each": [
            {
                "seconds": round(run.seconds, 3),
                "requests_a_second": run.completed / run.seconds,
                "first_token_p50_ms": _milliseconds(run.first_tokens, 0.5),
                "first_token_p99_ms": _milliseconds(run.first_tokens, 0.99),
            }
            for run in runs
        ],
    }


SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def _milliseconds(values: Sequence[float], share: float) -> float | None:
    found = percentile(values, share)
    return None if found is None else round(found * 1000, 3)


class Tool(Protocol):
    """Whatever does one run of a load against a server's base address."""

    def run(self, work: Work, url: str) -> ToolRun:
        """ExperimentError when it failed."""


class LoadTool:
    """The tool's process; `with tool(...)` starts and ends it."""

    def __init__(self, process: subprocess.Popen[str], results: Path, log: Path) -> None:
        self._process, self._results, self._log = process, results, log
        self._read = 0

    def run(self, work: Work, url: str, seconds: float = RUN_SECONDS) -> ToolRun:
        """One run; ExperimentError when it failed or took too long."""
        return ToolRun.parse(self.result(work.arguments(url), seconds), work.concurrent)

    def result(self, arguments: Sequence[str], seconds: float = RUN_SECONDS) -> dict[str, Any]:
        """The tool's own JSON for its arguments, {"error": ...} when it failed; ExperimentError for no end."""
        assert self._process.stdin  # noqa: S101 (it is a pipe)
        self._process.stdin.write(json.dumps(list(arguments)) + "\n")
        self._process.stdin.flush()
        deadline = time.monotonic() + seconds
        while True:
            lines = self._results.read_text().splitlines(keepends=True) if self._results.exists() else []
            if len(lines) > self._read and lines[self._read].endswith("\n"):
                self._read += 1
                found: dict[str, Any] = json.loads(lines[self._read - 1])
                return found
            if self._process.poll() is not None:
                raise ExperimentError(f"vllm bench serve ended: {' '.join(self._log.read_text().split())[-300:]}")
            if time.monotonic() > deadline:
                raise ExperimentError(f"vllm bench serve: no end after {seconds:g} s")
            time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def tool(runtime: Path) -> Iterator[LoadTool]:
    """The load tool of that runtime; ExperimentError when the runtime has no Python."""
    python = runtime / "bin" / "python"
    if not python.exists():
        raise ExperimentError(f"{python} is missing; build the runtime with `./cluster up`, or give --runtime")
    with tempfile.TemporaryDirectory(prefix="load-") as place:
        results, log = Path(place) / "results.jsonl", Path(place) / "log"
        with log.open("w") as said:
            process = subprocess.Popen(
                [str(python), str(DRIVER), str(results)],
                cwd=place,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "NO_PROXY": "*", "no_proxy": "*"},
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                text=True,
            )
        try:
            yield LoadTool(process, results, log)
        finally:
            if process.stdin:
                process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
