"""The golden answer of a model that nobody has published one for: what the reference implementation says.

Part of fetch_model.py, inside the locked runtime. transformers answers on a CPU, greedily, from the weights that were
just checked, once in each data type that the model may be served in. What all of them agree on is the answer; where
they already differ in the first token, the next prompt is asked. An engine that serves these weights has to say it too.
"""

import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploys.vllm.programs.hub_download import FetchError, gib, say

PROMPTS = ("The capital of France is", "one two three four five", "Once upon a time there was a", "a a a a a a")
MASKED_PROMPTS = ("Paris is the [MASK] of France.", "The [MASK] is blue.", "[MASK]")
DTYPES = ("float32", "bfloat16")


def take(directory: Path, golden: dict[str, Any], dtypes: Sequence[str] = DTYPES) -> dict[str, Any]:
    """Golden with `expected`, and how it was made; FetchError where there is no answer to rely on."""
    config = json.loads((directory / "config.json").read_text())
    _refuse_what_is_too_large(directory, config)
    masked = any("ForMaskedLM" in name for name in config.get("architectures") or ())
    prompts = [golden["prompt"], *(MASKED_PROMPTS if masked else PROMPTS)]
    prompts = list(dict.fromkeys(prompts))
    say("golden", prompts=len(prompts), dtypes=list(dtypes))
    answers = [_answers(directory, prompts, golden["max_tokens"], dtype, masked) for dtype in dtypes]
    for index, prompt in enumerate(prompts):
        expected = _agreed(directory, [answer[index] for answer in answers])
        if expected:
            return {
                **golden,
                "prompt": prompt,
                "expected": expected,
                "made_by": f"transformers {importlib.metadata.version('transformers')} in {' and '.join(dtypes)}",
            }
    raise FetchError(
        f"{directory.name.removesuffix('.partial')}: {' and '.join(dtypes)} agree on no first word for any of "
        f"{len(prompts)} prompts, so no answer could prove an engine; give it one data type, or write its golden "
        "answer into inventories/models/"
    )


def _answers(directory: Path, prompts: Sequence[str], max_tokens: int, dtype: str, masked: bool) -> list[list[int]]:
    """New tokens for each prompt."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    config = transformers.AutoConfig.from_pretrained(directory)
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    kind = transformers.AutoModelForCausalLM
    if masked:
        kind = transformers.AutoModelForMaskedLM
    elif config.is_encoder_decoder:
        kind = transformers.AutoModelForSeq2SeqLM
    model = kind.from_pretrained(directory, dtype=getattr(torch, dtype)).eval()
    found = []
    with torch.inference_mode():
        for prompt in prompts:
            if masked:
                ids = tokenizer(prompt.replace("[MASK]", tokenizer.mask_token), return_tensors="pt").input_ids
                place = (ids[0] == tokenizer.mask_token_id).nonzero()[0, 0]
                found.append([int(model(input_ids=ids).logits[0, place].argmax())])
                continue
            ids = tokenizer(prompt, return_tensors="pt").input_ids
            made = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=max_tokens,
                do_sample=False,
                num_beams=1,
                pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id or 0,
            )[0]
            found.append([int(token) for token in (made if config.is_encoder_decoder else made[ids.shape[1] :])])
    return found


def _agreed(directory: Path, answers: Sequence[Sequence[int]]) -> str:
    """The text of the tokens that all answers begin with; without a last character that its bytes do not complete."""
    from transformers import AutoTokenizer

    common = []
    for tokens in zip(*answers, strict=False):
        if len(set(tokens)) > 1:
            break
        common.append(tokens[0])
    text = str(
        AutoTokenizer.from_pretrained(directory).decode(
            common, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
    )
    return text.rstrip("\ufffd").strip()


def _refuse_what_is_too_large(directory: Path, config: dict[str, Any]) -> None:
    told = config.get("quantization_config") or config.get("compression_config")
    quantised = told.get("quant_method", "a method without a name") if isinstance(told, dict) else ""
    if not told and (directory / "hf_quant_config.json").is_file():
        quantised = "modelopt"
    why = f"its weights are quantised ({quantised}), which transformers cannot read on a CPU" if quantised else ""
    weights = sum(path.stat().st_size for path in directory.iterdir() if path.suffix in (".safetensors", ".bin"))
    half = str(config.get("dtype") or config.get("torch_dtype") or "float32") != "float32"
    needed = weights * (2 if half else 1) + 1024**3
    free = _available_bytes()
    if not why and needed > free:
        why = f"it takes {gib(needed)} in float32 and the control node has {gib(free)} free"
    if why:
        raise FetchError(
            f"{directory.name.removesuffix('.partial')} has no golden answer, and the reference implementation cannot "
            f"give one: {why}; write an entry with a question and the word that its answer has into inventories/models/"
        )


def _available_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 1 << 62
