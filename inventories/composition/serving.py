"""What is served and how: the choices of an inventory, and the applications that follow from them.

Pure. ProfileError says what does not fit together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from hardware.model import Node, ProfileError
from inventories.composition.dealing import Wish, deal
from inventories.models import entry
from inventories.models import model as known_model
from inventories.models.fit import HOST_RESERVE_BYTES, fit, limits, place_of_nodes

API_PORT = 8000


@dataclass(frozen=True)
class Gateway:
    """What the public endpoint asks of its callers.

    `certificate`: path on the control node of a PEM file with certificate chain and key; the API is then HTTPS.
    `request_seconds`: an answer, or the next part of one, must come within it. `requests_per_minute`: for each API key,
    or each address where there is no key; 0 is no limit. `log_prompts`: each engine's node keeps every request as it
    came, in a file for the service's user alone.
    """

    certificate: str = ""
    request_bytes: int = 1_000_000
    request_seconds: int = 600
    requests_per_minute: int = 0
    log_prompts: bool = False


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

    @property
    def name(self) -> str:
        """Name of the served model."""
        return entry(self.serving.model).name


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
    wishes = [
        Wish(entry(serving.model).name, serving.nodes, None if serving.mode == "span" else serving.replicas)
        for serving in servings
    ]
    dealt = deal(name, wishes, [node.name for node in declared], out)
    found = []
    for serving, names in zip(servings, dealt, strict=True):
        nodes = tuple(node for node in declared if node.name in names)
        found.append(Application(serving, nodes, serving_plan(name, serving, nodes)))
    return tuple(found)


def serving_plan(name: str, serving: Serving, on: Sequence[Node]) -> dict[str, Any]:
    """Parallelism on the model's nodes; ProfileError when it cannot be cut that way."""
    model = known_model(serving.model)
    nodes = len(on)
    accelerators = {len(node.engine_accelerators) for node in on}
    if len(accelerators) > 1:
        raise ProfileError(f"inventory {name}: compute nodes have different numbers of accelerators ({accelerators})")
    per_node = accelerators.pop()
    if serving.mode == "span":
        if not per_node:
            raise ProfileError(f"inventory {name}: an engine spans nodes on GPUs only; use mode replicas on CPUs")
        tensor, pipeline = (per_node, nodes) if serving.span_by == "pipeline" else (per_node * nodes, 1)
        replicas = 1
    else:
        tensor, pipeline, replicas = max(per_node, 1), 1, nodes
    if model["attention_heads"] % tensor:
        raise ProfileError(
            f"inventory {name}: {serving.model} has {model['attention_heads']} attention heads, which {tensor}-way "
            "tensor parallelism does not divide; span by pipeline"
        )
    return {
        "mode": serving.mode,
        "replicas": replicas,
        "tensor_parallel": tensor,
        "pipeline_parallel": pipeline,
        # Expert parallelism places whole experts; a dense model has none, and one rank has nowhere to place them.
        "expert_parallel": bool(model["mixture_of_experts"]) and tensor > 1,
        "dtype": serving.dtype,
        "enforce_eager": serving.enforce_eager,
        "engine": {**model.get("engine", {}), **serving.engine},
    }


def fit_of(
    application: Application, node: Node, everybody: Sequence[Application], *, alone: bool
) -> dict[str, Any] | None:
    """Whether the model fits a node, as far as the profile tells, and the bytes to judge it by where it does not.

    `alone` False: the nodes of `everybody` are one machine's, so `other_bytes` are those of all other engines.
    """
    serving, plan = application.serving, application.plan
    if not serving.check_fit:
        return None
    span = plan["mode"] == "span"
    known, place = entry(serving.model), place_of_nodes(application.nodes if span else (node,))
    judged = fit(known, place, plan["dtype"], mode=plan["mode"], options=plan["engine"])
    if judged.ok is False and not span:
        over_all = fit(known, place_of_nodes(application.nodes), plan["dtype"], mode="span", options=plan["engine"])
        judged = replace(judged, remedy=over_all.remedy) if over_all.ok else judged
    others = 0
    if not alone and not place.accelerators:
        others = sum(_bytes(other) * len(other.nodes) for other in everybody) - _bytes(application)
    return {
        "model": known.name,
        "ok": judged.ok,
        "detail": judged.detail,
        "remedy": judged.remedy,
        "needed_bytes": judged.needed_bytes,
        "available_bytes": judged.available_bytes,
        "other_bytes": others,
        "reserve_bytes": HOST_RESERVE_BYTES,
    }


def _bytes(application: Application) -> int:
    """Memory of one engine on a host without accelerators; 0 where nobody knows yet."""
    known, place = entry(application.serving.model), place_of_nodes(application.nodes)
    return fit(known, place, application.plan["dtype"], options=application.plan["engine"]).needed_bytes


def limits_of(application: Application) -> dict[str, Any]:
    """What a fetch from a hub judges the hub's own sizes by; empty where the inventory wants no check."""
    serving, plan = application.serving, application.plan
    if not serving.check_fit:
        return {}
    return limits(entry(serving.model), place_of_nodes(application.nodes), plan["dtype"], span=plan["mode"] == "span")
