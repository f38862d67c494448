"""The engine for what vLLM does not run, on a GPU: the same answers as on the processor, and how fast.

`python3 -m benchmarks.h200.other_engine --results FILE` on a machine with a GPU, PyTorch, transformers, starlette.
Tiny models of each architecture are those of experiments/programs/tiny_models.py (random weights), with what
transformers' own `generate` answers on the CPU beside them; the speeds are of shapes of flan-t5-base and gpt2 with
random weights. Exit 0: every answer is the expected one. 1: some are not. 2: could not measure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.smoke import add_argument, kept
from facts.sources import REPOSITORY

TINY_MODELS = REPOSITORY / "experiments" / "programs" / "tiny_models.py"
TOKENS = 128


def main(arguments: list[str] | None = None) -> int:
    """Compare and measure; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.h200.other_engine", description=__doc__)
    parser.add_argument("--results", type=Path, required=True)
    add_argument(parser)
    options = parser.parse_args(arguments)
    if options.smoke:
        return smoke()
    try:
        import torch
        import transformers
    except ImportError as error:
        print(f"other_engine: {error.name} is missing", file=sys.stderr)
        return 2
    if not torch.cuda.is_available():
        print("other_engine: PyTorch sees no GPU here", file=sys.stderr)
        return 2
    result: dict[str, Any] = {
        "benchmark": "other_engine",
        "started": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "gpu": torch.cuda.get_device_name(0),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    with tempfile.TemporaryDirectory() as name:
        made = Path(name)
        # What is expected comes from the processor.
        subprocess.run(
            [sys.executable, str(TINY_MODELS), str(made)], check=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}
        )
        result["answers"] = asyncio.run(_answers(made))
        result["speeds"] = [asyncio.run(_speed(made, *case)) for case in _cases()]
    result["misses"] = [line for line in result["answers"] if not line["same"]]
    options.results.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return 1 if result["misses"] else 0


async def _answers(made: Path) -> list[dict[str, Any]]:
    """Each tiny model's prompts on the GPU in float32, beside what the CPU answered."""
    from deploys.vllm.programs.transformers_engine import TransformersEngine

    found = []
    for name, prompts in json.loads((made / "expected.json").read_text()).items():
        engine = TransformersEngine(str(made / name), name, "auto", "float32", 2)
        await engine.start()
        device = str(next(engine._model.parameters()).device)
        for prompt, expected in prompts.items():
            golden = {"prompt": prompt, "max_tokens": 12}
            given: str | list[str]
            wanted: str | list[str]
            if name == "bert":
                masks = (await engine.fill(prompt, 1))["masks"]
                given, wanted = [mask[0]["token"] for mask in masks], [word.strip() for word in expected]
            else:
                given, wanted = await engine.answer(golden), expected["text"]
            found.append({"model": name, "device": device, "prompt": prompt, "answer": given, "same": given == wanted})
    return found


def _cases() -> list[tuple[str, str, str]]:
    return [(shape, device, "bfloat16") for shape in ("t5", "gpt2") for device in ("cuda", "cpu")]


async def _speed(made: Path, shape: str, device: str, dtype: str) -> dict[str, Any]:
    """Tokens a second of one answer, and of two at once, with random weights of a public shape."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

    from deploys.vllm.programs.openai_request import Sampling
    from deploys.vllm.programs.transformers_engine import TransformersEngine

    engine = TransformersEngine(str(made / shape), shape, "auto", dtype, 2)
    await engine.start()
    vocabulary = int(engine._model.config.vocab_size)
    torch.manual_seed(11)
    if shape == "t5":  # google/flan-t5-base's config.json, but for the vocabulary of the tiny tokenizer
        config: Any = T5Config(
            vocab_size=vocabulary, d_model=768, d_kv=64, d_ff=2048, num_layers=12, num_heads=12,
            feed_forward_proj="gated-gelu", decoder_start_token_id=0, eos_token_id=1, pad_token_id=0,
        )  # fmt: skip
        model: Any = T5ForConditionalGeneration(config)
    else:  # openai-community/gpt2's config.json, likewise
        config = GPT2Config(vocab_size=vocabulary, n_positions=1024, n_embd=768, n_layer=12, n_head=12,
                            bos_token_id=256, eos_token_id=256)  # fmt: skip
        model = GPT2LMHeadModel(config)
    engine._device = device
    engine._model = model.to(device=device, dtype=getattr(torch, dtype)).eval()
    engine.maximum_length = 512
    sampling = Sampling(max_tokens=TOKENS, temperature=0.0, ignore_end=True)

    async def one() -> int:
        count = 0
        async for piece in engine.generate("one two three", sampling):
            count = piece.generated_tokens or count
        return count

    await one()
    seconds = {}
    for at_once in (1, 2):
        began = time.monotonic()
        tokens = sum(await asyncio.gather(*(one() for _ in range(at_once))))
        seconds[f"tokens_per_second_{at_once}_at_once"] = round(tokens / (time.monotonic() - began), 1)
    parameters = sum(entry.numel() for entry in model.parameters())
    return {"shape": shape, "parameters": parameters, "device": device, "dtype": dtype, **seconds}


def smoke() -> int:
    """What needs no GPU: the engine is there by its name, and the kept answers are judged anew."""
    from deploys.vllm.programs import openai_request, transformers_engine

    named = transformers_engine.TransformersEngine.__name__, openai_request.Sampling.__name__, TINY_MODELS.is_file()
    print(named)
    other = [line for _, result in kept("other_engine") for line in result["answers"] if not line["same"]]
    return int(bool(other) or not all(named))


if __name__ == "__main__":
    sys.exit(main())
