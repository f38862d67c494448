"""Models that are in no catalogue: a hub's repository by its id, or a directory with a config.json.

Of a hub id its name is known before it is fetched, and its shape where that config.json comes with the project; else
its sizes are 0. Its engine, task and golden answer are found when its weights are there. A directory says what it is in
its config.json, read here.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from hardware.model import ProfileError
from hardware.planner.architecture import EngineKind, Model
from inventories.models import shapes
from inventories.models.catalogue import Entry, Task

MAXIMUM_LENGTH = 2048  # where nobody knows what it can
LONGEST = 8192  # of what is not asked for longer
# The answer is the reference implementation's own on the checked weights: docs/decisions/0013-golden-answers.md.
GOLDEN = {"prompt": "The capital of France is", "reference": "transformers", "max_tokens": 4}
GOLDEN_MASKED = {"prompt": "Paris is the [MASK] of France.", "reference": "transformers", "max_tokens": 1}
GOLDEN_TEXT = {"prompt": "What is the capital of France?", "reference": "transformers", "max_tokens": 4}

# Beginning of a known config.json's name -> vLLM's parsers for that family, by vLLM's own pages ("Tool Calling",
# "Reasoning Outputs"). Base models, and chat templates without tools, have none.
_PARSERS = {
    "qwen3-": {"tools": "hermes", "reasoning": "qwen3"},
    "gpt-oss-": {"tools": "openai", "reasoning": "openai_gptoss"},
    "mistral-small-2409": {"tools": "mistral"},
}

# A hub's own rule for a name: letters, digits and "-_." between them; a revision is a branch, a tag or a commit.
_ID = re.compile(
    r"^hub:(?P<repository>[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?)(?:@(?P<revision>[\w][\w./-]*))?"
    r"(?::(?P<variant>[\w][\w./-]*))?$"
)
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


def from_hub(text: str) -> Entry:
    """`hub:OWNER/NAME@REVISION:VARIANT`; OWNER may be missing as in hub:gpt2, the revision is `main` if not said, and a
    variant is one of a GGUF repository's quantisations."""
    found = _ID.match(text)
    if not found or ".." in text:
        raise ProfileError(
            f"model {text!r} is no hub id; write hub:OWNER/NAME, hub:OWNER/NAME@REVISION or hub:OWNER/NAME:VARIANT"
        )
    repository, revision = found["repository"], found["revision"] or "main"
    variant = {"variant": found["variant"]} if found["variant"] else {}
    name = repository if revision == "main" else f"{repository}@{revision}"
    name += f":{found['variant']}" if variant else ""
    config = shapes.repositories().get(repository, "")
    shape = shapes.known_shape(config) if config else None
    longest = min(shape.model.maximum_length, shape.model.longest("cpu"), LONGEST) if shape else MAXIMUM_LENGTH
    # Heads of 0 are divided by any number of ranks; the engine itself refuses what does not divide.
    sizes = {**shape.sizes, "config": config, "shape": shape.model} if shape else {}
    return Entry(
        name=_NOT_IN_NAMES.sub("--", name),
        written=f"hub:{name}",
        task="auto",
        engine_kind="auto",
        source={"kind": "hub", "repository": repository, "revision": revision, **variant},
        golden=GOLDEN,
        licence="unknown; see the repository's page",
        maximum_length=longest,
        parser=next((parser for family, parser in _PARSERS.items() if config.startswith(family)), {}),
        **sizes,
    )


def from_known(config: str) -> Entry:
    """A known config.json that no entry has: the hub's repository that the file names, under the config's own name."""
    repository = next(key for key, name in shapes.repositories().items() if name == config)
    return replace(from_hub(f"hub:{repository}"), name=config, written=config)


def from_directory(path: Path) -> Entry:
    """A directory on the control node that this machine sees as well; what it is stands in its config.json."""
    file = path / "config.json"
    try:
        config = json.loads(file.read_text())
    except OSError as error:
        raise ProfileError(
            f"model {path}: {file.name} cannot be read ({error.strerror}); give a directory with a model as "
            "save_pretrained() writes it"
        ) from None
    except ValueError as error:
        raise ProfileError(f"model {path}: {file.name} is no JSON: {error}; give a whole model") from None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ProfileError(f"model {path}: {file.name} names no model_type; transformers would not know it either")
    task, engine_kind = kind_of(config)
    if task == "completion" and _has_chat_template(path):
        task = "chat"
    heads = _number(config, "num_attention_heads", "n_head", "num_heads", "n_heads")
    hidden = _number(config, "hidden_size", "n_embd", "d_model", "dim")
    layers = _number(config, "num_hidden_layers", "n_layer", "num_layers", "n_layers")
    longest = _number(config, "max_position_embeddings", "n_positions") or MAXIMUM_LENGTH
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    weights = _weights_bytes(path)
    told = config.get("quantization_config") or config.get("compression_config")
    quantization = str(told.get("quant_method", "")) if isinstance(told, dict) else ""
    shape = _shape(path, told is not None) if engine_kind == "vllm" else None
    golden = {"fill-mask": GOLDEN_MASKED, "text-to-text": GOLDEN_TEXT}.get(task, GOLDEN)
    return Entry(
        # Marked, so that it cannot be taken for the catalogue's model of that name.
        name=f"local--{_NOT_IN_NAMES.sub('--', path.name)}",
        written=str(path),
        task=task,
        engine_kind=engine_kind,
        source={"kind": "directory", "path": str(path)},
        golden=golden,
        licence="unknown; the directory's owner knows",
        maximum_length=min(longest, LONGEST),
        shape=shape,
        **{
            "parameters": weights // (4 if dtype == "float32" else 2),
            "layers": layers,
            "hidden_size": hidden,
            "attention_heads": heads,
            "key_value_heads": _number(config, "num_key_value_heads") or heads,
            "head_size": _number(config, "head_dim", "d_kv") or (hidden // heads if heads else 0),
            "quantization": quantization,
            "weights_bytes_on_disk": weights,
            "mixture_of_experts": bool(_number(config, "num_experts", "num_local_experts", "n_routed_experts")),
            **(shapes.sizes_of(shape) if shape else {}),
        },
    )


def _weights_bytes(path: Path) -> int:
    """Bytes of one copy of the weights: what the index names, safetensors before .bin. The fetch takes the same."""
    for suffix, index in ((".safetensors", "model.safetensors.index.json"), (".bin", "pytorch_model.bin.index.json")):
        files = {file.name: file.stat().st_size for file in path.iterdir() if file.suffix == suffix}
        try:
            named = set(map(str, json.loads((path / index).read_text())["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            named = {f"model{suffix}"} & set(files) or set(files)
        if files:
            return sum(size for name, size in files.items() if name in named)
    return 0


def _shape(path: Path, quantised: bool) -> Model | None:
    """The planner's model of a directory; None for one whose layers it does not know: its files' sizes count then.

    ProfileError for quantised weights that it cannot read: their sizes would tell nothing of kernels.
    """
    try:
        return shapes.read(path / "config.json", path.name)
    except ProfileError:
        if quantised or (path / "hf_quant_config.json").is_file():
            raise
        return None


def kind_of(config: dict[str, Any]) -> tuple[Task, EngineKind]:
    """Task and engine that an architecture asks for. transformers_engine.py decides by the same rule on the hosts."""
    architecture = " ".join(str(name) for name in config.get("architectures") or ())
    if "ForMaskedLM" in architecture:
        return "fill-mask", "transformers"
    if config.get("is_encoder_decoder") or "ForConditionalGeneration" in architecture:
        return "text-to-text", "transformers"
    return "completion", "vllm"


def _has_chat_template(path: Path) -> bool:
    if (path / "chat_template.jinja").is_file():
        return True
    try:
        return bool(json.loads((path / "tokenizer_config.json").read_text()).get("chat_template"))
    except (OSError, ValueError, AttributeError):
        return False


def _number(config: dict[str, Any], *keys: str) -> int:
    for key in keys:
        value = config.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return 0
