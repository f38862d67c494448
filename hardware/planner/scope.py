"""Which linear layers a checkpoint's quantisation covers, by the lists in its config, as vLLM matches them. Pure.

Each method has its own list and its own way to match (vLLM 0.29: `is_layer_skipped` in quantization/utils/
quant_utils.py, gptq_utils.py, compressed_tensors/utils.py, ModelOptQuantConfigBase.is_layer_excluded). Names are those
of vLLM's modules: `model.layers.0.self_attn.qkv_proj` is made of the checkpoint's q_proj, k_proj and v_proj, which have
to agree. ConfigurationError where they do not, or for a pattern that is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from hardware.planner.architecture import Model, Plain
from hardware.planner.errors import ConfigurationError
from hardware.planner.fields import Fields
from hardware.planner.tensors import layer_tensors

Kind = Literal["linear", "experts", "head"]
_MOST_PATTERNS = 2000  # published lists are ten times shorter
_HEAD = "lm_head"


@dataclass(frozen=True)
class Linear:
    """One of vLLM's linear modules: its full name, those of the checkpoint's parts (itself where it is one), its kind.

    `classes` are the names of its class in vLLM, in small letters.
    """

    name: str
    parts: tuple[str, ...]
    kind: Kind
    classes: str


Scope = Callable[[Linear], bool]


@dataclass(frozen=True)
class Naming:
    """How a family's modules are called under a layer: the fused name, and what the checkpoint calls its parts."""

    layers: str = "model.layers"
    qkv: tuple[str, ...] = ("self_attn.qkv_proj", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    output: str = "self_attn.o_proj"
    up: tuple[str, ...] = ("mlp.gate_up_proj", "mlp.gate_proj", "mlp.up_proj")
    down: str = "mlp.down_proj"
    experts: str = "mlp.experts"
    shared: str = "mlp.shared_experts"


NAMINGS = {
    "Phi3ForCausalLM": Naming(qkv=("self_attn.qkv_proj",), up=("mlp.gate_up_proj",)),
    "PhiForCausalLM": Naming(output="self_attn.dense", up=("mlp.fc1",), down="mlp.fc2"),
    "Starcoder2ForCausalLM": Naming(up=("mlp.c_fc",), down="mlp.c_proj"),
    "GPT2LMHeadModel": Naming(
        layers="transformer.h", qkv=("attn.c_attn",), output="attn.c_proj", up=("mlp.c_fc",), down="mlp.c_proj"
    ),
    "MixtralForCausalLM": Naming(experts="block_sparse_moe.experts"),
    "Qwen2MoeForCausalLM": Naming(shared="mlp.shared_expert"),
}

# The tensors of DeepSeek's attention -> vLLM's module, and its parts.
_MLA = {
    "q": ("self_attn.q_proj",),
    "q_a": ("self_attn.fused_qkv_a_proj", "self_attn.q_a_proj", "self_attn.kv_a_proj_with_mqa"),
    "kv_a": ("self_attn.fused_qkv_a_proj", "self_attn.q_a_proj", "self_attn.kv_a_proj_with_mqa"),
    "q_b": ("self_attn.q_b_proj",),
    "kv_b": ("self_attn.kv_b_proj",),
}


def plain(model: Model, architecture: str, scope: Scope) -> frozenset[Plain]:
    """(layer, role, tensor) of the linear layers that stay in the model's own type."""
    naming = NAMINGS.get(architecture, Naming())
    found: set[Plain] = set()
    for index, layer in enumerate(model.layers):
        for tensor in layer_tensors(model, index):
            if not tensor.quantised:
                continue
            linear = _linear(model, naming, index, tensor.role, tensor.name, layer.experts)
            if not scope(linear):
                found.add((index, tensor.role, tensor.name))
    return frozenset(found)


def head(scope: Scope) -> bool:
    """Whether the output layer is quantised."""
    return scope(Linear(_HEAD, (_HEAD,), "head", "parallellmhead"))


def _linear(model: Model, naming: Naming, index: int, role: str, name: str, mixture: bool) -> Linear:
    where = f"{naming.layers}.{index}."
    if role == "experts":
        return Linear(where + naming.experts, (where + naming.experts,), "experts", "routedexperts linear")
    if role == "attention":
        if name == "o":
            names: tuple[str, ...] = (naming.output,)
        elif model.attention.kind == "mla":
            names = _MLA[name] if model.attention.query_rank or name == "q" else ("self_attn.kv_a_proj_with_mqa",)
            names = _MLA[name] if name == "kv_b" else names
        else:
            names = naming.qkv
        classes = "rowparallellinear" if name == "o" else "qkvparallellinear"
    else:
        names = (naming.down,) if name == "down" else naming.up
        classes = "rowparallellinear" if name == "down" else "mergedcolumnparallellinear"
        if mixture:
            names = tuple(part.replace("mlp", naming.shared, 1) for part in names)
    parts = names[1:] or names
    return Linear(where + names[0], tuple(where + part for part in parts), "linear", classes)


def exact(fields: Fields, *keys: str) -> Scope:
    """FP8's and FBGEMM's lists: full names; experts are left out by the name of any of theirs. Never the head."""
    names = set(_words(fields, *keys))
    expert_names = [name for name in names if "experts" in name]

    def scope(linear: Linear) -> bool:
        if linear.kind == "experts":
            return not any(linear.name in name for name in expert_names)
        return linear.kind == "linear" and not (linear.name in names or _all(fields, linear, names.__contains__))

    return scope


def substring(fields: Fields, quantised_head: bool) -> Scope:
    """AWQ's `modules_to_not_convert`: what a module's name contains."""
    words = _words(fields, "modules_to_not_convert")
    _bounded(fields, words)

    def contains(name: str) -> bool:
        return any(word in name for word in words)

    def scope(linear: Linear) -> bool:
        if linear.kind == "head" and not quantised_head:
            return False
        return not (contains(linear.name) or _all(fields, linear, contains))

    return scope


def gptq(fields: Fields, quantised_head: bool) -> Scope:
    """GPTQ's `modules_in_block_to_quantize` (what is quantised) and `dynamic` ("-:PATTERN" is not). ConfigurationError
    for a `dynamic` that gives some modules other bits."""
    words = _flat(fields, fields.raw("modules_in_block_to_quantize", []), "modules_in_block_to_quantize")
    _bounded(fields, words)
    without: list[re.Pattern[str]] = []
    dynamic = fields.part("dynamic")
    for pattern, change in dynamic.items() if dynamic else ():
        if pattern.startswith("-:"):
            without.append(_pattern(fields, pattern.removeprefix("-:")))
        elif change != {}:
            raise ConfigurationError(
                f"{fields.where}: dynamic gives {pattern!r} weights of another kind; several unlike kinds of weights "
                "cannot be counted"
            )

    def contains(name: str) -> bool:
        return any(word in name for word in words)

    def scope(linear: Linear) -> bool:
        if linear.kind == "head" and not quantised_head:
            return False
        if any(pattern.match(linear.name) for pattern in without):
            return False
        return linear.kind == "experts" or not words or _all(fields, linear, contains)

    return scope


def modelopt(fields: Fields, excluded: Iterable[str]) -> Scope:
    """ModelOpt's `ignore` or `exclude_modules`: full names, parts of names and wildcards; the head unless named."""
    words = tuple(excluded)
    _bounded(fields, words)
    names = set(words)

    def scope(linear: Linear) -> bool:
        if linear.name in names or _all(fields, linear, names.__contains__):
            return False
        return not any(word in linear.name or fnmatchcase(linear.name, word) for word in words)

    return scope


def compressed(fields: Fields, targets: Iterable[str]) -> Scope:
    """compressed-tensors' `ignore` and the groups' `targets`: full names, "re:PATTERN", or (targets) classes."""
    ignored = _matcher(fields, _words(fields, "ignore"))
    every = tuple(targets)
    named = _matcher(fields, every)
    classes = [target.lower() for target in every if not target.startswith("re:")]

    def scope(linear: Linear) -> bool:
        parts = linear
        if linear.kind == "experts":
            names = tuple(f"{linear.name}.0.{part}" for part in ("gate_proj", "up_proj", "down_proj"))
            parts = Linear(names[0], names, linear.kind, linear.classes)
        if ignored(parts.name) or _all(fields, parts, ignored):
            return False
        if named(linear.name) or all(named(part) for part in parts.parts):
            return True
        return any(target in word for target in classes for word in linear.classes.split())

    return scope


def _all(fields: Fields, linear: Linear, holds: Callable[[str], bool]) -> bool:
    """Whether something holds for a module's parts, which have to agree."""
    found = {holds(part) for part in linear.parts}
    if len(found) > 1:
        raise ConfigurationError(
            f"{fields.where}: of {', '.join(linear.parts)} some are quantised and some are not; vLLM makes one module "
            "of them and refuses that"
        )
    return found == {True}


def _matcher(fields: Fields, words: Iterable[str]) -> Callable[[str], bool]:
    names = {word for word in words if not word.startswith("re:")}
    patterns = [_pattern(fields, word.removeprefix("re:")) for word in words if word.startswith("re:")]
    _bounded(fields, patterns)
    return lambda name: name in names or any(pattern.match(name) for pattern in patterns)


def _pattern(fields: Fields, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigurationError(f"{fields.where}: {text[:80]!r} is no pattern ({error})") from None


def _bounded(fields: Fields, words: Iterable[Any]) -> None:
    if (count := len(list(words))) > _MOST_PATTERNS:
        raise ConfigurationError(f"{fields.where}: a list of {count} patterns is no list of a checkpoint's modules")


def _words(fields: Fields, *keys: str) -> tuple[str, ...]:
    """The first of these lists that has something in it."""
    for key in keys:
        if words := fields.words(key):
            return words
    return ()


def _flat(fields: Fields, value: Any, name: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or any(not isinstance(entry, str | list) for entry in value):
        raise ConfigurationError(f"{fields.where}: {name} is no list of words")
    flat = [part for entry in value for part in (entry if isinstance(entry, list) else [entry])]
    if not all(isinstance(part, str) for part in flat):
        raise ConfigurationError(f"{fields.where}: {name} is no list of words")
    return tuple(flat)
