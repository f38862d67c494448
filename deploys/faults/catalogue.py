"""Every fault that can be planned: its layer, its parameters with bounds, what it proves and what it does not. Pure.

A fault tests the layer at which it is done. A claim about another layer is refused, with the reason: packets that the
kernel holds back say nothing of RDMA, which goes past the kernel, and a figure in a stand-in's table says nothing of a
card. Seconds, bytes, milliseconds, percent, as the names say.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

Layer = Literal["compute", "memory", "disk", "gpu", "network", "process", "host", "clock"]
LAYERS: tuple[Layer, ...] = get_args(Layer)
# Who carries a fault out: the host's own program, or the machine that carries the lab's hosts.
Means = Literal["host", "lab"]
MOST_SECONDS = 3600.0


class FaultPlanError(ValueError):
    """A fault that cannot be planned so; one line with the thing, the value and the fix."""


@dataclass(frozen=True)
class Parameter:
    """One parameter: its default, and for numbers the least and the most. `None` as default: it has to be given."""

    default: Any
    least: float | None = None
    most: float | None = None
    whole: bool = False


@dataclass(frozen=True)
class FaultKind:
    """One kind of fault. `proves`: claims that it may carry, beside its layer's name.

    `heals_itself`: nothing undoes it from outside, its own end does. `by_cluster`: the cluster mends it, nobody undoes
    it. `excludes`: what cannot be on one host at the same time. `stand_in`: done to a stand-in, not to the real part.
    """

    name: str
    layer: Layer
    says: str
    parameters: Mapping[str, Parameter]
    proves: tuple[str, ...] = ()
    means: Means = "host"
    heals_itself: bool = False
    by_cluster: bool = False
    excludes: tuple[str, ...] = ()
    stand_in: bool = False


_KEEP = Parameter(1 << 29, 1 << 20)
_DEVICE = Parameter(0, 0, 63, whole=True)
_PEERS = Parameter(())
_PROCESS = Parameter(None)

_KINDS = (
    FaultKind(
        "cpu-pressure",
        "compute",
        "processors kept busy by others",
        {"processes": Parameter(0, 0, 4096, whole=True), "load_percent": Parameter(100.0, 1, 100)},
    ),
    FaultKind(
        "memory-pressure",
        "memory",
        "memory held by others",
        {"bytes": Parameter(1 << 29, 1 << 20, whole=True), "keep_free_bytes": _KEEP},
    ),
    FaultKind(
        "disk-pressure",
        "disk",
        "a disk that others write to and flush",
        {
            "bytes": Parameter(1 << 28, 1 << 20, 1 << 40, whole=True),
            "keep_free_bytes": _KEEP,
            "directory": Parameter("/var/tmp"),  # noqa: S108 (on the host, and on a disk there)
        },
    ),
    FaultKind("gpu-contention", "gpu", "a GPU that others compute on", {"device": _DEVICE}),
    FaultKind(
        "gpu-memory-pressure",
        "gpu",
        "a part of a GPU's free memory held by others",
        {"device": _DEVICE, "part": Parameter(0.5, 0.01, 0.95)},
    ),
    *(
        FaultKind(name, "gpu", f"{says}, in the table of a stand-in of NVIDIA's library", parameters, stand_in=True)
        for name, says, parameters in (
            ("gpu-power-cap", "a lower power limit", {"device": _DEVICE, "watts": Parameter(150.0, 1, 2000)}),
            ("gpu-clock-limit", "a lower clock", {"device": _DEVICE, "megahertz": Parameter(600, 1, 5000, whole=True)}),
            ("gpu-lost", "a card that fell off its bus", {"device": _DEVICE}),
            ("gpu-xid", "an error of the driver", {"device": _DEVICE, "xid": Parameter(79, 1, 999, whole=True)}),
            ("gpu-ecc", "memory errors", {"device": _DEVICE, "errors": Parameter(1, 1, 1 << 30, whole=True)}),
        )
    ),
    FaultKind(
        "network-delay",
        "network",
        "packets to peers held back",
        {
            "delay_milliseconds": Parameter(50.0, 0.1, 10_000),
            "jitter_milliseconds": Parameter(0.0, 0, 5_000),
            "peers": _PEERS,
        },
        excludes=("network-jitter",),
    ),
    FaultKind(
        "network-jitter",
        "network",
        "packets to peers held back unevenly",
        {
            "delay_milliseconds": Parameter(20.0, 0.1, 10_000),
            "jitter_milliseconds": Parameter(15.0, 0.1, 5_000),
            "peers": _PEERS,
        },
        excludes=("network-delay",),
    ),
    FaultKind(
        "network-loss",
        "network",
        "a part of the packets lost",
        {"percent": Parameter(2.0, 0.001, 99), "peers": _PEERS},
    ),
    FaultKind(
        "network-rate",
        "network",
        "a narrow way to peers",
        {"megabits_per_second": Parameter(20.0, 0.1, 100_000), "peers": _PEERS},
    ),
    FaultKind("network-partition", "network", "cut off from peers, not from the operator", {"peers": _PEERS}),
    FaultKind("network-cut", "network", "the cable pulled at the lab's switch", {}, means="lab"),
    FaultKind("process-kill", "process", "kill -9", {"process": _PROCESS}, by_cluster=True),
    FaultKind("process-freeze", "process", "SIGSTOP", {"process": _PROCESS}),
    FaultKind("host-hang", "host", "all of a host stopped but its kernel and systemd", {}, heals_itself=True),
    FaultKind("host-crash", "host", "rebooted at once, nothing written back", {}, heals_itself=True),
    FaultKind("host-freeze", "host", "every process of a lab's host stopped", {}, means="lab"),
    FaultKind("host-power-loss", "host", "a lab's host without power", {}, means="lab"),
    FaultKind(
        "clock-offset",
        "clock",
        "another time of day",
        {"offset_seconds": Parameter(30.0, -86_400, 86_400), "service": Parameter("")},
    ),
)
CATALOGUE: dict[str, FaultKind] = {kind.name: kind for kind in _KINDS}

# Claim -> why a fault of that layer cannot carry it, whatever it does.
_BEYOND: dict[str, dict[str, str]] = {
    "network": {
        "rdma": "RDMA goes past the kernel, whose packets alone are touched",
        "nvlink": "NVLink is no network of the kernel",
        "storage": "only the cluster's peers are touched, no store elsewhere",
    },
    "gpu": {"gpu-hardware": "no setting of a real card is changed"},
    "clock": {"time-service": "the time service is stopped meanwhile, not misled"},
}


def kind_of(name: str) -> FaultKind:
    """The kind of that name; FaultPlanError names the nearest one."""
    if name in CATALOGUE:
        return CATALOGUE[name]
    near = difflib.get_close_matches(name, CATALOGUE, 1)
    hint = f"did you mean {near[0]!r}" if near else f"choose from {', '.join(CATALOGUE)}"
    raise FaultPlanError(f"{name!r} is no fault; {hint}")


def parameters_of(kind: FaultKind, given: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters of a fault with those that are given; FaultPlanError for an unknown, missing or unfit one."""
    for key in given:
        if key not in kind.parameters:
            near = difflib.get_close_matches(key, kind.parameters, 1)
            hint = f"did you mean {near[0]!r}" if near else f"it takes {', '.join(kind.parameters) or 'none'}"
            raise FaultPlanError(f"{kind.name}: unknown parameter {key!r}; {hint}")
    found = {}
    for key, parameter in kind.parameters.items():
        value = given.get(key, parameter.default)
        if value is None:
            raise FaultPlanError(f"{kind.name}: {key} is missing")
        found[key] = _fit(f"{kind.name}: {key}", parameter, value)
    return found


def _fit(where: str, parameter: Parameter, value: Any) -> Any:
    if isinstance(parameter.default, tuple):
        if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(one, str) for one in value):
            raise FaultPlanError(f"{where} is {value!r}; give a list of names")
        return list(value)
    if isinstance(parameter.default, str) or parameter.default is None:
        if not isinstance(value, str) or value.startswith("-") or (parameter.default is None and not value):
            raise FaultPlanError(f"{where} is {value!r}; give a text")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise FaultPlanError(f"{where} is {value!r}; give a number")
    if parameter.whole and value != int(value):
        raise FaultPlanError(f"{where} is {value!r}; give a whole number")
    low, high = parameter.least, parameter.most
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = " ".join(
            f"{word} {bound:g}" for word, bound in (("at least", low), ("at most", high)) if bound is not None
        )
        raise FaultPlanError(f"{where} is {value}; give {bounds}")
    return int(value) if parameter.whole else value


def check_claims(kind: FaultKind, claims: Sequence[str]) -> None:
    """FaultPlanError for a claim that this fault cannot carry; its own layer's name is always one that it can."""
    layer = "gpu-reporting" if kind.stand_in else kind.layer
    for claim in claims:
        if claim in (layer, *kind.proves):
            continue
        if kind.stand_in:
            why = "it is done to a stand-in, so that it says something of who reads the figures and nothing of a card"
        else:
            why = _BEYOND.get(kind.layer, {}).get(claim, f"it is done to the layer {kind.layer}")
        near = [one.name for one in _KINDS if one.layer == claim and not one.stand_in]
        hint = f"{', '.join(near)} test it" if near else f"drop the claim, or claim {layer!r}"
        raise FaultPlanError(f"{kind.name} proves nothing of {claim!r}: {why}; {hint}")


def check_together(names: Sequence[str]) -> None:
    """FaultPlanError when two of these cannot be on one host at the same time."""
    for place, name in enumerate(names):
        for other in names[place + 1 :]:
            if other == name or other in CATALOGUE[name].excludes:
                raise FaultPlanError(
                    f"{name} and {other} cannot be on one host at a time; let one end before the other"
                )
