"""compressed-tensors: groups of modules with a scheme each, of any name. Pure.

Which schemes the locked vLLM has: CompressedTensorsConfig._get_scheme_from_parts (0.29). Groups that share a scheme are
one kind of weights; several unlike ones, sparsity and schemes that are not known are refused with the reason.
"""

from __future__ import annotations

from hardware.planner import scope
from hardware.planner.architecture import Quantisation
from hardware.planner.errors import ConfigurationError
from hardware.planner.fields import Fields
from hardware.planner.scope import Scope

_ORIGIN = "compressed-tensors"
_PACKED = "pack-quantized"
_WITH_ACTIVATIONS = ("naive-quantized", "int-quantized", "float-quantized")


def read(fields: Fields) -> tuple[Quantisation, Scope | None]:
    """The one scheme of the groups, and the modules that it covers."""
    _refuse_sparsity(fields)
    groups = fields.part("config_groups")
    if groups is None or not list(groups.items()):
        raise ConfigurationError(f"{fields.where}: config_groups is missing or empty; take the complete config.json")
    schemes: dict[Quantisation, str] = {}
    targets: list[str] = []
    for name, _ in groups.items():
        group = groups.part(name)
        aimed = group.words("targets") if group else None
        if group is None or not aimed:
            raise ConfigurationError(f"{groups.where}: {name} has no targets; take the complete config.json")
        if len(aimed) == 1 and aimed[0].endswith("Attention"):
            continue  # it is the cache's, and vLLM leaves it out
        schemes.setdefault(_scheme(group, str(group.raw("format", fields.raw("format", "")))), name)
        targets += aimed
    if not schemes:
        return Quantisation(), None
    if len(schemes) > 1:
        said = " and ".join(f"{name} ({_words(one)})" for one, name in schemes.items())
        raise ConfigurationError(
            f"{groups.where}: the groups have unlike weights: {said}; the planner counts one kind, so the size would "
            "be a guess"
        )
    return next(iter(schemes)), scope.compressed(fields, targets)


def _refuse_sparsity(fields: Fields) -> None:
    """vLLM 0.29 and 0.32 refuse every sparsity_config that has targets, whatever its format says."""
    sparsity = fields.part("sparsity_config")
    if sparsity is not None and sparsity.raw("targets"):
        kind = sparsity.raw("format", "unknown")
        raise ConfigurationError(
            f"{sparsity.where}: format {kind!r} with targets; the locked vLLM has removed sparsity and refuses such a "
            "checkpoint; take one without sparsity_config"
        )


def _scheme(group: Fields, kind: str) -> Quantisation:
    weights = group.part("weights")
    if weights is None:
        raise ConfigurationError(f"{group.where}: weights is missing; take the complete config.json")
    bits = weights.number("num_bits")
    size = weights.optional("group_size") if weights.raw("group_size") != -1 else -1
    named = weights.raw("strategy")
    strategy = str(named or {None: "tensor", -1: "channel"}.get(size, "group"))
    symmetric = weights.flag("symmetric", True)
    inputs = group.part("input_activations")
    what = f"{bits}-bit {weights.raw('type', 'int')} weights by {strategy}"
    if str(weights.raw("type", "int")) == "float":
        if bits != 8 or strategy not in ("tensor", "channel", "block") or not symmetric:
            raise ConfigurationError(f"{weights.where}: {what} are not known; 8-bit ones by tensor, row or block are")
        if kind and kind not in _WITH_ACTIVATIONS:
            raise ConfigurationError(f"{weights.where}: {what} in format {kind!r}: vLLM has no scheme for them")
        return Quantisation(
            method="fp8",
            bits=8,
            group_size=-1 if strategy == "channel" else 0,
            activations=inputs is not None,
            block=_block(weights) if strategy == "block" else None,
            origin=_ORIGIN,
        )
    if inputs is not None:
        if bits != 8 or strategy not in ("tensor", "channel") or not symmetric or kind == _PACKED:
            raise ConfigurationError(
                f"{weights.where}: {what} with quantised activations are not known; 8-bit ones by tensor or row are"
            )
        rows = -1 if strategy == "channel" else 0
        return Quantisation(method="int8", bits=8, group_size=rows, activations=True, origin=_ORIGIN)
    if bits not in (2, 3, 4, 8):
        raise ConfigurationError(f"{weights.where}: {bits} bits a weight; 2, 3, 4 and 8 are known")
    if strategy not in ("channel", "group") or (kind and kind != _PACKED):
        raise ConfigurationError(f"{weights.where}: {what} in format {kind!r}: vLLM has no scheme for them")
    # Packed like AWQ's: weights, scales, and zero points when asymmetric; no group index.
    return Quantisation(
        method="awq", bits=bits, group_size=size if size and size > 0 else -1, symmetric=symmetric, origin=_ORIGIN
    )


def _block(weights: Fields) -> tuple[int, int]:
    value = weights.raw("block_structure")
    whole = isinstance(value, list) and len(value) == 2
    if not whole or not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in value):
        raise ConfigurationError(f"{weights.where}: block_structure is {value!r}; it has to be two numbers above zero")
    return value[0], value[1]


def _words(scheme: Quantisation) -> str:
    group = f", groups of {scheme.group_size}" if scheme.group_size > 0 else ""
    return f"{scheme.method if scheme.method != 'awq' else 'int'}, {scheme.bits} bits{group}"
