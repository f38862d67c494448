"""What is served and how: the choices of an inventory, and the applications that follow from them.

Pure. ProfileError says what does not fit together.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from hardware.model import Node, ProfileError
from hardware.planner import assumptions, options
from hardware.planner.errors import PlanError
from hardware.planner.fit import fit_as, reserve_of, room_for_weights, share_of
from hardware.planner.options import Options
from hardware.planner.quantisation_methods import DEPRECATED
from hardware.planner.served import Place, cut, place_of
from inventories.composition.dealing import NodeRequest, deal
from inventories.models import entry
from inventories.models.catalogue import Entry

API_PORT = 8000


@dataclass(frozen=True)
class Gateway:
    """What the public endpoint asks of its callers.

    `certificate`: path on the control node of a PEM file with certificate chain and key; the API is then HTTPS.
    `request_answers`: prompts of a request times its `n`, at most.
    `request_seconds`: an answer, or the next part of one, must come within it. `requests_per_minute`: for each API key,
    or each address where there is no key; 0 is no limit. `log_prompts`: each engine's node keeps every request as it
    came, in a file for the service's user alone. `names`: by which the API is called beside its address, where it wants
    no key.
    """

    certificate: str = ""
    request_bytes: int = 1_000_000
    request_answers: int = 128
    request_seconds: int = 600
    requests_per_minute: int = 0
    log_prompts: bool = False
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.request_answers < 1:
            raise ProfileError(f"Gateway(request_answers={self.request_answers}): give a whole number above zero")
        wrong = [name for name in self.names if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", name)]
        if wrong:
            raise ProfileError(f"Gateway(names=...): {wrong[0]!r} is no host name; give names without scheme and port")


@dataclass(frozen=True)
class Serving:
    """A model that is served, and how.

    `replicas`: one engine a node on so many compute nodes (None: on all that no other model has), or on those that
    `nodes` names. `span`: one engine over all of them, pipeline-parallel between nodes unless `span_by` is tensor,
    tensor-parallel inside each. `check_fit` False: serve it although this project's arithmetic says that it does not
    fit. `api_port` and `gateway` are the cluster's: of several models the first says them.
    """

    model: str
    mode: Literal["replicas", "span"] = "replicas"
    replicas: int | None = None
    span_by: Literal["pipeline", "tensor"] = "pipeline"
    dtype: str = "auto"
    enforce_eager: bool = False
    api_port: int = API_PORT
    gateway: Gateway = field(default_factory=lambda: Gateway())
    engine: Mapping[str, Any] = field(default_factory=dict)
    check_fit: bool = True
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Application:
    """A model with the nodes that it is dealt, and the plan for its engines."""

    serving: Serving
    nodes: tuple[Node, ...]
    plan: Mapping[str, Any]
    model: Entry
    options: Options

    @property
    def name(self) -> str:
        """Name of the served model."""
        return self.model.name

    @property
    def place(self) -> Place:
        """All of its nodes, as the judgement of fit sees them."""
        return place_of(self.nodes)


def applications(
    name: str, servings: Sequence[Serving], declared: Sequence[Node], out: Collection[str]
) -> tuple[Application, ...]:
    """Each model with its nodes, in the inventory's order; the first is the default. `out`: nodes not there now."""
    if not servings:
        raise ProfileError(f"inventory {name}: no model is served; give a Serving(model=...)")
    for more in servings[1:]:
        if more.api_port != API_PORT or more.gateway != Gateway():
            raise ProfileError(
                f"inventory {name}: {more.model} has api_port or gateway; they are the cluster's, in the first Serving"
            )
    requests = [
        NodeRequest(entry(serving.model).name, serving.nodes, None if serving.mode == "span" else serving.replicas)
        for serving in servings
    ]
    dealt = deal(name, requests, [node.name for node in declared], out)
    found = []
    for serving, names in zip(servings, dealt, strict=True):
        nodes = tuple(node for node in declared if node.name in names)
        model = entry(serving.model)
        plan = serving_plan(name, serving, nodes)
        try:
            known = options.declared(serving.dtype, serving.enforce_eager, plan["engine"])
        except PlanError as error:
            raise ProfileError(f"inventory {name}: {serving.model}: {error}") from None
        found.append(Application(serving, nodes, plan, model, known))
    return tuple(found)


def serving_plan(name: str, serving: Serving, on: Sequence[Node]) -> dict[str, Any]:
    """Parallelism on the model's nodes; ProfileError when it cannot be cut that way."""
    model = entry(serving.model)
    accelerators = {len(node.engine_accelerators) for node in on}
    if len(accelerators) > 1:
        raise ProfileError(f"inventory {name}: compute nodes have different numbers of accelerators ({accelerators})")
    per_node = accelerators.pop()
    if serving.mode == "span" and not per_node:
        raise ProfileError(f"inventory {name}: an engine spans nodes on GPUs only; use mode replicas on CPUs")
    sharding = cut(model.served, place_of(on), serving.mode, serving.span_by)
    if model.attention_heads % sharding.tensor:
        raise ProfileError(
            f"inventory {name}: {serving.model} has {model.attention_heads} attention heads, which "
            f"{sharding.tensor}-way tensor parallelism does not divide; span by pipeline"
        )
    return {
        "mode": serving.mode,
        "replicas": 1 if serving.mode == "span" else len(on),
        "tensor_parallel": sharding.tensor,
        "pipeline_parallel": sharding.pipeline,
        "expert_parallel": sharding.expert_parallel,
        "dtype": serving.dtype,
        "enforce_eager": serving.enforce_eager,
        "engine": {**_share(model, per_node), **model.engine, **serving.engine},
    }


def _share(model: Entry, accelerators: int) -> dict[str, Any]:
    """vLLM is told the share of memory that the judgement of fit counts with: its own differs between versions."""
    vllm = model.engine_kind == "vllm" or (model.engine_kind == "auto" and model.shape is not None)
    if not (accelerators and vllm):
        return {}
    told: dict[str, Any] = {"gpu_memory_utilization": assumptions.MEMORY_SHARE}
    if model.shape is not None and model.shape.quantisation.origin in DEPRECATED:
        told["allow_deprecated_quantization"] = True
    return told


def node_fit(
    application: Application, node: Node, everybody: Sequence[Application], *, alone: bool
) -> dict[str, Any] | None:
    """Whether the model fits a node, as far as the profile tells, and the bytes to judge it by where it does not.

    `alone` False: the nodes of `everybody` are one machine's, so `other_bytes` are those of all other engines.
    """
    serving = application.serving
    if not serving.check_fit:
        return None
    served, whole = application.model.served, application.place
    place = whole if serving.mode == "span" else place_of((node,))
    judged = fit_as(served, place, application.options, serving.mode, serving.span_by)
    remedy = judged.remedy
    if judged.ok is False and serving.mode == "replicas":
        remedy = fit_as(served, whole, application.options, "replicas", serving.span_by).remedy or remedy
    others = 0
    if not alone and place.kind == "cpu":
        others = sum(_bytes(other) * len(other.nodes) for other in everybody) - _bytes(application)
    return {
        "model": application.name,
        "ok": judged.ok,
        "detail": judged.detail,
        "remedy": remedy,
        "needed_bytes": judged.needed_bytes,
        "available_bytes": judged.available_bytes,
        "other_bytes": others,
        "reserve_bytes": reserve_of(place),
        "share": share_of(served, application.options),
    }


def _bytes(application: Application) -> int:
    """Memory of one engine on a host without accelerators; 0 where nobody knows yet."""
    return fit_as(application.model.served, application.place, application.options).needed_bytes


def limits_of(application: Application) -> dict[str, Any]:
    """What a fetch from a hub judges the hub's own sizes by; empty where the inventory wants no check, or none can be.

    `room_bytes` None: the host's memory tells, less `other_bytes` and the rest.
    """
    serving, served, place = application.serving, application.model.served, application.place
    sharding = cut(served, place, serving.mode, serving.span_by)
    room = room_for_weights(served, place, sharding, application.options) if serving.check_fit else None
    if room is None:
        return {}
    return {
        "where": f"{room.nodes} nodes" if room.nodes > 1 else "a node",
        "dtype": room.dtype,
        "room_bytes": room.bytes,
        "other_bytes": room.other_bytes,
        "reserve_bytes": room.reserve_bytes,
        "share": room.share,
    }
