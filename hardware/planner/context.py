"""The longest request that the locked vLLM takes of a model: its positions, and what RoPE scaling makes of them. Pure.

vllm/config/model.py:_get_and_verify_max_len. Up to 0.29 (the CUDA and ROCm runtimes) the scaling factor multiplies:
YaRN's the original length, linear's, NTK's and dynamic's the config's; Llama 3's and LongRoPE's lengths are in the
config already. 0.32 (the CPU runtime) takes YaRN's as being there already, too. Tokens.
"""

from __future__ import annotations

from collections.abc import Mapping

from hardware.planner.errors import ConfigurationError
from hardware.planner.fields import Fields

# In the order of vLLM's ModelArchConfigConvertorBase.derive_max_model_len_and_key; the smallest counts.
_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length", "max_seq_length")
_STATED = ("su", "longrope", "llama3")  # the config's length is the scaled one
# Up to 0.29 only these three are left as they are; from 0.32 also YaRN and what a model's own code makes of it.
_YARN = ("yarn", "deepseek_yarn", "deepseek_llama_scaling")
# vllm/model_executor/layers/rotary_embedding/__init__.py:get_rope knows these.
_KNOWN = (
    *("default", "mrope", "linear", "ntk", "dynamic", "proportional", "mllama4", "xdrope", "openpangu"),
    *(*_STATED, *_YARN, "telechat3-yarn"),
)
_LONGEST = 1 << 40


def lengths(fields: Fields) -> tuple[int, int]:
    """(up to vLLM 0.29, from 0.32). ConfigurationError for a scaling that vLLM does not know, or that cannot be."""
    own = [fields.number(key, bounds="max_position_embeddings") for key in _KEYS if fields.raw(key) is not None]
    stated = min(own, default=0) or fields.number("max_position_embeddings")
    if (other := fields.raw("model_max_length")) is not None and isinstance(other, int) and 0 < other < 1 << 30:
        stated = other
    early: float = stated
    factor = later_factor = 1.0
    for scaling in _scalings(fields):
        kind = _kind(scaling)
        if kind in _STATED:
            continue
        given = _factor(scaling)
        factor = factor if given is None else given
        if kind == "yarn":
            early = _original(fields, scaling, stated)
        if kind not in _YARN:
            later_factor = later_factor if given is None else given
    return int(min(early * factor, _LONGEST)), int(min(stated * later_factor, _LONGEST))


def _scalings(fields: Fields) -> list[Fields]:
    """The one scaling of a model, or those of its kinds of layers; `rope_scaling` before `rope_parameters`."""
    for name in ("rope_scaling", "rope_parameters"):
        part = fields.part(name)
        if part is None or not list(part.items()):
            continue
        nested = [(key, value) for key, value in part.items() if isinstance(value, Mapping)]
        if nested and all(isinstance(value, Mapping) or value is None for _, value in part.items()):
            return [Fields(value, f"{part.where}: {key}") for key, value in nested]
        return [part]
    return []


def _kind(scaling: Fields) -> str:
    kind = scaling.raw("rope_type", scaling.raw("type", "default"))
    if kind not in _KNOWN:
        raise ConfigurationError(
            f"{scaling.where}: rope_type {kind!r} is not known to the locked vLLM; known are {', '.join(_KNOWN)}"
        )
    return str(kind)


def _factor(scaling: Fields) -> float | None:
    value = scaling.raw("factor")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _LONGEST:
        raise ConfigurationError(f"{scaling.where}: factor is {value!r}; it has to be a number above zero")
    return float(value)


def _original(fields: Fields, scaling: Fields, stated: int) -> int:
    """YaRN's own length, as transformers' standardize_rope_params finds it."""
    for place in (fields, scaling):
        if place.raw("original_max_position_embeddings") is not None:
            return place.number("original_max_position_embeddings", bounds="max_position_embeddings")
    return stated
