"""Load tools beside each other at one rate: our generator, `vllm bench serve`, AIPerf; each as it measured. Seconds.

Each asks the same: so many requests a second, prompts of a few words, answers of so many tokens, streamed.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from experiments.errors import ExperimentError
from experiments.load import arrivals, event_loop, generator
from experiments.load.arrivals import CONSTANT
from experiments.load.client import Endpoint
from experiments.load.lengths import fixed
from experiments.load.prompts import Synthetic
from experiments.load.records import RequestRecord
from experiments.load.steps import Step
from experiments.load.sweep import client_limit
from experiments.load.tool import LoadTool

INPUT_TOKENS = 32


@dataclass(frozen=True)
class Work:
    """`rate` requests a second for `seconds`, constant or Poisson, each with `output_tokens`."""

    rate: float
    seconds: float
    output_tokens: int
    arrivals: str = CONSTANT
    seed: int = 0

    @property
    def requests(self) -> int:
        """How many that is."""
        return round(self.rate * self.seconds)


@dataclass(frozen=True)
class Measured:
    """What a tool says of one work: when it began each request, and the times that it measured (seconds).

    `says`: what the tool says of itself where it did not keep up.
    """

    requests: int
    failed: int
    began: tuple[float, ...]
    first_tokens: tuple[float, ...]
    between_tokens: tuple[float, ...]
    says: str = ""


class Referee(Protocol):
    """A load tool."""

    def measure(self, url: str, work: Work) -> Measured:
        """One work against the server at `url`, without a path. ExperimentError when the tool failed."""


class Ours:
    """This project's generator."""

    def measure(self, url: str, work: Work) -> Measured:
        """In this process, on a loop of its own."""
        records: list[RequestRecord] = []
        step = Step(
            name=f"rate={work.rate:g}",
            arrivals=arrivals.named(work.arrivals, work.rate),
            requests=work.requests,
            prompts=Synthetic(fixed(INPUT_TOKENS)),
            output_lengths=fixed(work.output_tokens),
            seed=work.seed,
            deadline_seconds=60.0,
        )

        async def send() -> str:
            endpoint = Endpoint(f"{url}/v1", "stub")
            return client_limit(await generator.run(endpoint, [step], write=records.append, stop=asyncio.Event()))

        says = event_loop.run(send())
        good = [record for record in records if record.good]
        return Measured(
            len(records),
            len(records) - len(good),
            tuple(sorted(record.sent for record in records)),
            tuple(record.ttft for record in good if record.ttft is not None),
            tuple(gap for record in good for gap in record.gaps),
            says,
        )


@dataclass(frozen=True)
class VllmBench:
    """`vllm bench serve` of the locked runtime; `tokenizer` is a directory."""

    tool: LoadTool
    tokenizer: str

    def measure(self, url: str, work: Work) -> Measured:
        """In the tool's own process."""
        return of_vllm_bench(self.result(url, work))

    def result(self, url: str, work: Work) -> dict[str, Any]:
        """The tool's own JSON, with details."""
        given = {
            "backend": "openai-chat",
            "endpoint": "/v1/chat/completions",
            "base-url": url,
            "model": "stub",
            "tokenizer": self.tokenizer,
            "dataset-name": "random",
            "random-input-len": INPUT_TOKENS,
            "random-output-len": work.output_tokens,
            "num-prompts": work.requests,
            "request-rate": work.rate,
            "burstiness": "inf" if work.arrivals == CONSTANT else 1.0,
            "ready-check-timeout-sec": 0,
            "seed": work.seed,
            "temperature": 0,
        }
        flat = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        return self.tool.result([*flat, "--ignore-eos"], 180.0)


def of_vllm_bench(result: dict[str, Any]) -> Measured:
    """From the tool's JSON with details; ExperimentError for a run that failed or has another shape. Pure."""
    if "error" in result:
        raise ExperimentError(f"vllm bench serve: {result['error']}")
    try:
        kept = [ttft for ttft, error in zip(result["ttfts"], result["errors"], strict=True) if not error]
        return Measured(
            int(result["completed"]) + int(result["failed"]),
            int(result["failed"]),
            tuple(sorted(float(at) for at in result["start_times"])),
            tuple(float(ttft) for ttft in kept),
            tuple(float(gap) for request in result["itls"] for gap in request),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ExperimentError(f"vllm bench serve: unexpected result, {type(error).__name__} {error}") from None


@dataclass(frozen=True)
class AIPerf:
    """AIPerf's command, from an environment of its own; `tokenizer` is a directory."""

    program: Path
    tokenizer: str

    def measure(self, url: str, work: Work) -> Measured:
        """A process a work, as the tool is meant to be used."""
        with tempfile.TemporaryDirectory(prefix="aiperf-") as place:
            command = [str(self.program), "profile", "--model", "stub", "--url", url, "--endpoint-type", "chat"]
            command += [
                "--streaming",
                "--tokenizer",
                _hub_name(Path(place) / "hub", Path(self.tokenizer)),
                "--ui",
                "simple",
                "--artifact-dir",
                place,
            ]
            command += ["--request-rate", f"{work.rate:g}", "--request-rate-mode", work.arrivals]
            command += ["--request-count", str(work.requests), "--random-seed", str(work.seed)]
            command += ["--synthetic-input-tokens-mean", str(INPUT_TOKENS), "--synthetic-input-tokens-stddev", "0"]
            command += ["--output-tokens-mean", str(work.output_tokens), "--output-tokens-stddev", "0"]
            environment = {**os.environ, "HF_HOME": place, "HF_HUB_OFFLINE": "1", "NO_PROXY": "*"}
            try:
                done = subprocess.run(
                    command, cwd=place, env=environment, capture_output=True, text=True, timeout=90, check=False
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise ExperimentError(f"{self.program}: {error}") from None
            found = sorted(Path(place).rglob("profile_export.jsonl"))
            if done.returncode or not found:
                said = " ".join((done.stderr or done.stdout).split())[-300:]
                raise ExperimentError(f"{self.program}: exit {done.returncode}: {said}")
            return of_aiperf([json.loads(line) for line in found[0].read_text().splitlines()])


def _hub_name(cache: Path, tokenizer: Path) -> str:
    """A name under which the hub's library finds a directory offline: its cache's own layout. AIPerf takes no path."""
    revision = "0" * 40
    place = cache / "models--local--tokenizer"
    (place / "snapshots" / revision).mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(revision)
    for file in tokenizer.iterdir():
        (place / "snapshots" / revision / file.name).symlink_to(file)
    return "local/tokenizer"


def of_aiperf(lines: list[dict[str, Any]]) -> Measured:
    """From the tool's records, profile_export.jsonl; ExperimentError for another shape. Pure."""
    try:
        good = [line["metrics"] for line in lines if not line.get("error")]
        return Measured(
            len(lines),
            len(lines) - len(good),
            tuple(sorted(int(line["metadata"]["request_start_ns"]) / 1e9 for line in lines)),
            tuple(float(metrics["time_to_first_token"]["value"]) / 1000 for metrics in good),
            # It keeps each request's mean, no gap by itself.
            tuple(float(metrics["inter_token_latency"]["value"]) / 1000 for metrics in good),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ExperimentError(f"AIPerf: unexpected result, {type(error).__name__} {error}") from None


def in_turn(referees: dict[str, Referee], turn: int) -> list[tuple[str, Referee]]:
    """The tools in their order, each turn beginning with another one. Pure."""
    names = list(referees)
    shift = turn % len(names)
    return [(name, referees[name]) for name in (*names[shift:], *names[:shift])]
