"""Reads a config.json's `quantization_config`. Pure.

Layouts and names: vLLM 0.24's auto_awq.py, auto_gptq.py, fp8.py, compressed_tensors/ and mxfp4.py.
"""

from __future__ import annotations

from hardware.planner.architecture import Quantisation
from hardware.planner.errors import ConfigurationError
from hardware.planner.fields import Fields

_KNOWN = "awq, gptq, fp8, compressed-tensors, mxfp4, or none at all"


def read(fields: Fields | None) -> Quantisation:
    """The quantisation of the linear layers; ConfigurationError for a method or a width that is not known."""
    if fields is None:
        return Quantisation()
    method = str(fields.raw("quant_method", "")).lower()
    if method == "awq":
        return Quantisation(
            method="awq",
            bits=_bits(fields, fields.number("bits", "w_bit")),
            group_size=int(fields.raw("group_size", fields.raw("q_group_size", 128))),
            symmetric=not fields.flag("zero_point", True),
            head=fields.flag("lm_head", False),
            origin="awq",
        )
    if method == "gptq":
        return Quantisation(
            method="gptq",
            bits=_bits(fields, fields.number("bits")),
            group_size=int(fields.raw("group_size", 128)),
            symmetric=fields.flag("sym", True),
            reordered=fields.flag("desc_act", False),
            head=fields.flag("lm_head", False),
            origin="gptq",
        )
    if method in ("fp8", "fbgemm_fp8"):
        block = fields.raw("weight_block_size")
        if block is not None and not (isinstance(block, list) and len(block) == 2 and all(b > 0 for b in block)):
            raise ConfigurationError(f"{fields.where}: weight_block_size is {block!r}; it has to be two numbers")
        rows = -1 if method == "fbgemm_fp8" else 0
        return Quantisation(
            method="fp8",
            bits=8,
            group_size=rows,
            activations=True,
            block=(int(block[0]), int(block[1])) if block else None,
            origin=method,
        )
    if method == "mxfp4":
        return Quantisation(method="mxfp4", bits=4, group_size=32, origin="mxfp4")
    if method == "compressed-tensors":
        return _compressed_tensors(fields)
    raise ConfigurationError(f"{fields.where}: quant_method {method!r} is not known; known are {_KNOWN}")


def _compressed_tensors(fields: Fields) -> Quantisation:
    groups = fields.part("config_groups")
    first = groups.part("group_0") if groups else None
    weights = first.part("weights") if first else None
    if first is None or weights is None:
        raise ConfigurationError(
            f"{fields.where}: config_groups.group_0.weights is missing; take the complete config.json"
        )
    bits = _bits(weights, weights.number("num_bits"))
    strategy = str(weights.raw("strategy", "tensor"))
    activations = first.raw("input_activations") is not None
    symmetric = weights.flag("symmetric", True)
    if str(weights.raw("type", "int")) == "float":
        if bits != 8:
            raise ConfigurationError(f"{weights.where}: {bits}-bit float weights are not known; 8-bit ones are")
        block = weights.raw("block_structure")
        return Quantisation(
            method="fp8",
            bits=8,
            group_size=-1 if strategy == "channel" else 0,
            activations=activations,
            block=(int(block[0]), int(block[1])) if strategy == "block" and isinstance(block, list) else None,
            origin="compressed-tensors",
        )
    if bits == 8 and activations:
        rows = -1 if strategy == "channel" else 0
        return Quantisation(method="int8", bits=8, group_size=rows, activations=True, origin="compressed-tensors")
    size = int(weights.raw("group_size", -1) or -1)
    # Packed like AWQ's: weights, scales, and zero points when asymmetric; no group index.
    return Quantisation(method="awq", bits=bits, group_size=size, symmetric=symmetric, origin="compressed-tensors")


def _bits(fields: Fields, bits: int) -> int:
    if bits not in (2, 3, 4, 8):
        raise ConfigurationError(f"{fields.where}: {bits} bits a weight; 2, 3, 4 and 8 are known")
    return bits
