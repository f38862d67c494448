"""How a checkpoint's linear layers are stored: its `quantization_config`, as the locked vLLM reads it. Pure.

Layouts and names: vLLM 0.29's auto_awq.py, auto_gptq.py, fp8.py, fbgemm_fp8.py, modelopt.py, mxfp4.py and
compressed_tensors/. What vLLM refuses is refused here, with its reason; so is what it takes and this module does not
know (quantisation_methods.py has every name).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hardware.planner import compressed_tensors, scope
from hardware.planner.architecture import Quantisation
from hardware.planner.errors import ConfigurationError
from hardware.planner.fields import Fields
from hardware.planner.quantisation_methods import ALIASES, MODELOPT_FP8, PLANNED, REFUSED
from hardware.planner.scope import Scope

PLAIN: tuple[Quantisation, Scope | None] = (Quantisation(), None)


def part_of(fields: Fields) -> Fields | None:
    """Where a config says it: vLLM looks at `quantization_config`, else `compression_config`, then in `text_config`."""
    for place in (fields, fields.part("text_config")):
        for name in ("quantization_config", "compression_config"):
            found = place.part(name) if place is not None else None
            if found is not None:
                return found if list(found.items()) else None
    return None


def read(fields: Fields) -> tuple[Quantisation, Scope | None]:
    """The quantisation that a config.json declares, and which linear layers it covers (None: all but the head).

    ConfigurationError for a method or a layout that is not known, and for several unlike kinds of weights.
    """
    found = part_of(fields)
    if found is None:
        return PLAIN
    method = _method(found)
    reader = PLANNED.get(method, "")
    if method in REFUSED:
        raise ConfigurationError(
            f"{found.where}: quant_method {method!r} cannot be planned: {REFUSED[method]}; take a checkpoint in "
            f"{_known()}"
        )
    if reader == "awq":
        return _awq(found)
    if reader == "gptq":
        return _gptq(found)
    if reader == "fp8":
        return _fp8(found)
    if reader == "fbgemm_fp8":
        _needed(found, "modules_to_not_convert", "activation_scale_ub")
        rows = Quantisation(method="fp8", bits=8, group_size=-1, activations=True, origin="fbgemm_fp8")
        return rows, scope.exact(found, "modules_to_not_convert")
    if reader == "mxfp4":
        return Quantisation(method="mxfp4", bits=4, group_size=32, origin="mxfp4"), None
    if reader == "modelopt":
        return _modelopt(found)
    if reader == "compressed-tensors":
        return compressed_tensors.read(found)
    raise ConfigurationError(f"{found.where}: quant_method {method!r} is not known; known are {_known()}")


def _known() -> str:
    return f"{', '.join(dict.fromkeys(PLANNED.values()))}, or none at all"


def _method(fields: Fields) -> str:
    """vLLM's method, by the words of the library that wrote the checkpoint."""
    given = fields.raw("quant_method", "")
    if not isinstance(given, str):
        raise ConfigurationError(f"{fields.where}: quant_method is {given!r}, not a word")
    method = ALIASES.get(given.lower(), given.lower())
    producer, legacy = fields.raw("producer"), fields.raw("quantization")
    written = isinstance(producer, Mapping) and producer.get("name") == "modelopt"
    if written or (isinstance(legacy, Mapping) and "modelopt_quant_config" in legacy):
        method = "modelopt"
    if method.startswith("modelopt"):
        algorithm = _algorithm(fields)
        if algorithm in MODELOPT_FP8:
            return "modelopt"
        if "FP4" in algorithm:
            return "modelopt_fp4"
        return {"MXFP8": "modelopt_mxfp8", "MIXED_PRECISION": "modelopt_mixed"}.get(algorithm, method)
    return method


def _algorithm(fields: Fields) -> str:
    part = fields.part("quantization") or fields
    return str(part.raw("quant_algo", "")).upper()


def _awq(fields: Fields) -> tuple[Quantisation, Scope]:
    bits = bits_of(fields, fields.number("w_bit", "bits"))
    made = Quantisation(
        method="awq",
        bits=bits,
        group_size=_group(fields, "q_group_size", "group_size"),
        symmetric=not fields.flag("zero_point", True),
        origin="awq",
    )
    _needed(fields, "zero_point")
    return made, scope.substring(fields, fields.flag("lm_head", False))


def _gptq(fields: Fields) -> tuple[Quantisation, Scope]:
    bits = bits_of(fields, fields.number("bits"))
    _needed(fields, "group_size", "desc_act", "sym")
    size = _group(fields, "group_size")
    made = Quantisation(
        method="gptq",
        bits=bits,
        group_size=size,
        symmetric=fields.flag("sym", True),
        # One group a row is in the same order with and without it.
        reordered=fields.flag("desc_act", False) and size != -1,
        origin="gptq",
    )
    return made, scope.gptq(fields, fields.flag("lm_head", False))


def _fp8(fields: Fields) -> tuple[Quantisation, Scope]:
    block = block_of(fields, "weight_block_size")
    _needed(fields, "activation_scheme")
    scheme = fields.raw("activation_scheme")
    if scheme not in ("static", "dynamic") or (block and scheme != "dynamic"):
        only = "dynamic" if block else "static or dynamic"
        raise ConfigurationError(f"{fields.where}: activation_scheme is {scheme!r}; vLLM takes {only}")
    if (stored := fields.raw("store_dtype")) is not None:
        raise ConfigurationError(f"{fields.where}: store_dtype {stored!r} has experts of another kind; not known")
    made = Quantisation(method="fp8", bits=8, activations=True, block=block, origin="fp8")
    return made, scope.exact(fields, "ignored_layers", "modules_to_not_convert")


def _modelopt(fields: Fields) -> tuple[Quantisation, Scope]:
    algorithm = _algorithm(fields)
    if algorithm not in MODELOPT_FP8:
        raise ConfigurationError(
            f"{fields.where}: ModelOpt's quant_algo {algorithm!r} is not known; known are {', '.join(MODELOPT_FP8)}"
        )
    legacy = fields.part("quantization")
    excluded = legacy.words("exclude_modules") if legacy else fields.words("ignore")
    size = MODELOPT_FP8[algorithm]
    made = Quantisation(
        method="fp8",
        bits=8,
        group_size=min(size, 0),
        activations=algorithm != "FP8_PB_WO",
        block=(size, size) if size > 0 else None,
        origin="modelopt",
    )
    return made, scope.modelopt(fields, excluded or ())


def _group(fields: Fields, *names: str) -> int:
    """Weights that share a scale: -1 for a whole row."""
    for name in names:
        value = fields.raw(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not (value == -1 or 0 < value <= 1 << 18):
            raise ConfigurationError(f"{fields.where}: {name} is {value!r}; it has to be -1 or a number above zero")
        return value
    raise ConfigurationError(f"{fields.where}: field {' or '.join(names)} is missing; vLLM asks for it")


def block_of(fields: Fields, name: str) -> tuple[int, int] | None:
    """A tile (rows, columns) that shares a scale."""
    value: Any = fields.raw(name)
    if value is None:
        return None
    whole = isinstance(value, list) and len(value) == 2
    if not whole or not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in value):
        raise ConfigurationError(f"{fields.where}: {name} is {value!r}; it has to be two numbers above zero")
    return value[0], value[1]


def _needed(fields: Fields, *names: str) -> None:
    for name in names:
        # `null` is there for vLLM, for instance an empty list of exclusions.
        if name not in dict(fields.items()):
            raise ConfigurationError(f"{fields.where}: field {name} is missing; vLLM asks for it and refuses without")


def bits_of(fields: Fields, bits: int) -> int:
    """Bits of a weight that are known."""
    if bits not in (2, 3, 4, 8):
        raise ConfigurationError(f"{fields.where}: {bits} bits a weight; 2, 3, 4 and 8 are known")
    return bits
