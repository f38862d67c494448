"""One engine, started by measure.py in a process of its own: memory as its profile says, decode steps, prefills.

Runs where vLLM is installed. A step's time is the difference of two runs that differ only in how many tokens they
generate, so start, prefill and the front end cancel out; the prompts of a point are cached after its first run. Prompts
are random token ids, other ones for each point and each prefill; tokens are sampled at temperature 1, which with random
weights is uniform: so experts are visited evenly.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import time
from typing import Any

OUT_OF_TIME = 3  # exit status: some points are missing
ROUTER_SCALE = 3000.0  # from vLLM's 1e-3 at most to scores that differ by some percent
SHORT_TOKENS, LONG_TOKENS = 16, 64
DECODE = ((1, 256), (8, 256), (32, 256), (128, 256), (256, 256), (1, 4096), (16, 4096), (32, 2048), (8, 8192))
PREFILL = ((1, 64), (1, 256), (1, 1024), (1, 4096), (1, 8192), (4, 2048), (1, 16384))


def emit(record: dict[str, Any]) -> None:
    """Append one line to the results, in a single write, so that a run that is killed leaves whole lines."""
    line = (json.dumps(record) + "\n").encode()
    handle = os.open(os.environ["RESULTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line)
    finally:
        os.close(handle)


def worker_memory(worker: Any) -> dict[str, float]:
    """What one worker's profiling found; runs inside the worker."""
    import torch

    return {
        "memory_bytes": float(worker.init_snapshot.total_memory),
        "weights_bytes": float(worker.model_runner.model_memory_usage),
        "activation_bytes": float(worker.peak_activation_memory),
        "other_bytes": float(worker.non_torch_memory),
        "graph_bytes": float(worker.cudagraph_memory_estimate),
        "kv_bytes": float(worker.available_kv_cache_memory_bytes),
        "requested_bytes": float(worker.requested_memory),
        "free_after_bytes": float(torch.cuda.mem_get_info()[0]),
        "blocks": float(worker.cache_config.num_gpu_blocks or 0),
        "block_size": float(worker.cache_config.block_size),
    }


def spread_routing(worker: Any) -> int:
    """Make routers tell experts apart; runs inside the worker, returns how many routers there were.

    Random weights are so small that scores after a softmax differ by less than bfloat16 resolves: where an engine takes
    the best of those, ties go to the same few experts for every token.
    """
    routers = 0
    for name, weights in worker.model_runner.get_model().named_parameters():
        if name.endswith(".gate.weight"):
            weights.data.mul_(ROUTER_SCALE)
            routers += 1
    return routers


class Engine:
    """The engine under test, and its clock."""

    def __init__(self, step: dict[str, Any]) -> None:
        import vllm

        self.step, self.vllm, self.kv_tokens = step, vllm, 0
        started = time.monotonic()
        self.engine = vllm.LLM(
            model=step["directory"],
            load_format="dummy",
            skip_tokenizer_init=True,
            enable_prefix_caching=True,
            disable_log_stats=True,
            seed=0,
            compilation_config={"cudagraph_capture_sizes": [1, 2, 4, 8, 16, 32, 64, 128, 256]},
            **step["engine"],
            **step.get("extra", {}),
        )
        self.start_seconds = time.monotonic() - started
        self.routers = int(self.engine.collective_rpc(spread_routing)[0])
        self.random = random.Random(0)  # noqa: S311 (prompts, not secrets)
        self.vocabulary = step["config"]["vocab_size"]

    def about(self) -> dict[str, Any]:
        """What every record of this engine says."""
        return {
            "step": self.step["name"],
            "model": {"name": self.step["shape"], "config": self.step["config"]},
            "engine": self.step["engine"],
            "path": self.step["path"],
            "routers_spread": self.routers,
        }

    def prompts(self, sequences: int, tokens: int) -> list[dict[str, Any]]:
        """Prompts that the engine has not seen."""
        return [
            {"prompt_token_ids": [self.random.randrange(10, self.vocabulary) for _ in range(tokens)]}
            for _ in range(sequences)
        ]

    def run(self, prompts: list[dict[str, Any]], output_tokens: int) -> float:
        """Seconds of one whole generation."""
        parameters = self.vllm.SamplingParams(
            max_tokens=output_tokens, ignore_eos=True, detokenize=False, temperature=1.0
        )
        begun = time.perf_counter()
        answers = self.engine.generate(prompts, parameters, use_tqdm=False)
        seconds = time.perf_counter() - begun
        made = [len(answer.outputs[0].token_ids) for answer in answers]
        if len(made) != len(prompts) or set(made) != {output_tokens}:
            raise RuntimeError(f"asked {len(prompts)} x {output_tokens} tokens, got {sorted(set(made))} of {len(made)}")
        return seconds

    def memory(self) -> None:
        """One record from the engine's own profile: the fullest rank."""
        ranks = self.engine.collective_rpc(worker_memory)
        blocks, block = int(ranks[0]["blocks"]), int(ranks[0]["block_size"])
        fullest = max(ranks, key=lambda rank: rank["weights_bytes"])
        emit(
            {
                "kind": "memory",
                **self.about(),
                **fullest,
                "kv_tokens": blocks * block,
                "kv_blocks": blocks,
                "block_size": block,
                "start_seconds": self.start_seconds,
                "ranks": ranks,
            }
        )
        self.kv_tokens = blocks * block

    def decode(self, sequences: int, prompt_tokens: int) -> None:
        """One record: seconds of a step in which all sequences decode."""
        times = []
        prompts = self.prompts(sequences, prompt_tokens)
        self.run(prompts, 1)
        for _ in range(3):
            short = self.run(prompts, SHORT_TOKENS)
            long = self.run(prompts, LONG_TOKENS)
            times.append((long - short) / (LONG_TOKENS - SHORT_TOKENS))
        emit(
            {
                "kind": "point",
                "phase": "decode",
                **self.about(),
                "sequences": sequences,
                "context_tokens": prompt_tokens + (SHORT_TOKENS + LONG_TOKENS) / 2,
                "seconds": statistics.median(times),
                "repeats": times,
            }
        )

    def prefill(self, sequences: int, prompt_tokens: int) -> None:
        """One record: seconds from the request to its one token."""
        times = [self.run(self.prompts(sequences, prompt_tokens), 1) for _ in range(4)][1:]
        chunks = -(-sequences * prompt_tokens // self.step["engine"]["max_num_batched_tokens"])
        emit(
            {
                "kind": "point",
                "phase": "prefill",
                **self.about(),
                "sequences": sequences,
                "context_tokens": prompt_tokens,
                "chunks": chunks,
                "seconds": statistics.median(times),
                "repeats": times,
            }
        )


def main() -> int:
    """Argument: the step as JSON. A point that fails is recorded and the next one tried. 3: the time was too short."""
    step = json.loads(sys.argv[1])
    deadline = time.monotonic() + step["seconds"]
    engine = Engine(step)
    try:
        engine.memory()
    except Exception as error:  # another version keeps these figures elsewhere; times can be measured all the same
        said = f"{type(error).__name__}: {error}"[:500]
        emit({"kind": "failure", "step": step["name"], "what": "memory profile", "error": said})
        engine.kv_tokens = 10**9
    engine.run(engine.prompts(4, 128), 4)  # the first generation compiles what is left
    status, longest = 0, step["engine"]["max_model_len"]
    jobs = [(engine.decode, *point) for point in DECODE] + [(engine.prefill, *point) for point in PREFILL]
    # The most telling ones first: a step that runs out of time has a bit of everything.
    jobs.sort(key=lambda job: (job[1] * job[2] > 40_000, job[1] * job[2] > 10_000))
    for measure, sequences, tokens in jobs:
        if tokens + LONG_TOKENS > longest or sequences * (tokens + LONG_TOKENS) > engine.kv_tokens:
            continue
        if time.monotonic() > deadline:
            emit({"kind": "failure", "step": step["name"], "what": f"{sequences} x {tokens}", "error": "out of time"})
            status = OUT_OF_TIME
            continue
        try:
            measure(sequences, tokens)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"[:500]
            emit({"kind": "failure", "step": step["name"], "what": f"{sequences} x {tokens}", "error": said})
    return status


if __name__ == "__main__":
    sys.exit(main())
