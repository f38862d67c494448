"""What is served and how: the choices of an inventory, and the plan and the judgement of fit that follow from them.

Pure. ProfileError says what does not fit together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from hardware.model import Cluster, Node, ProfileError
from inventories.models import entry
from inventories.models import model as known_model
from inventories.models.fit import HOST_RESERVE_BYTES, fit, limits, needed_bytes, place_of_nodes

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
    """What is served and how.

    `replicas`: one engine a node on the first `replicas` compute nodes (None: on all). `span`: one engine over all of
    them, pipeline-parallel between nodes unless `span_by` is tensor, tensor-parallel inside each. `check_fit` False:
    serve it although this project's arithmetic says that it does not fit.
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


def serving_plan(name: str, cluster: Cluster, serving: Serving, wanted: int) -> dict[str, Any]:
    """Parallelism from the compute nodes; ProfileError when the model cannot be cut that way.

    `wanted` is how many compute nodes the inventory has: fewer may be there, and then there are fewer replicas.
    """
    model = known_model(serving.model)
    nodes = len(cluster.compute)
    accelerators = {len(node.engine_accelerators) for node in cluster.compute}
    if len(accelerators) > 1:
        raise ProfileError(f"inventory {name}: compute nodes have different numbers of accelerators ({accelerators})")
    per_node = accelerators.pop()
    if serving.mode == "span":
        if not per_node:
            raise ProfileError(f"inventory {name}: an engine spans nodes on GPUs only; use mode replicas on CPUs")
        tensor, pipeline = (per_node, nodes) if serving.span_by == "pipeline" else (per_node * nodes, 1)
        replicas, engine_nodes = 1, nodes
    else:
        tensor, pipeline = max(per_node, 1), 1
        if not 1 <= (serving.replicas or wanted) <= wanted:
            raise ProfileError(
                f"inventory {name}: {serving.replicas} replicas on {wanted} compute nodes; give 1 to {wanted}"
            )
        replicas = engine_nodes = min(serving.replicas or nodes, nodes)
    if model["attention_heads"] % tensor:
        raise ProfileError(
            f"inventory {name}: {serving.model} has {model['attention_heads']} attention heads, which {tensor}-way "
            "tensor parallelism does not divide; span by pipeline"
        )
    return {
        "mode": serving.mode,
        "replicas": replicas,
        "engine_nodes": engine_nodes,
        "tensor_parallel": tensor,
        "pipeline_parallel": pipeline,
        # Expert parallelism places whole experts; a dense model has none, and one rank has nowhere to place them.
        "expert_parallel": bool(model["mixture_of_experts"]) and tensor > 1,
        "dtype": serving.dtype,
        "enforce_eager": serving.enforce_eager,
        "api_port": serving.api_port,
        "engine": {**model.get("engine", {}), **serving.engine},
    }


def fit_of(
    node: Node, nodes: Sequence[Node], serving: Serving, plan: Mapping[str, Any], *, alone: bool
) -> dict[str, Any]:
    """Whether the model fits a node, as far as the profile tells, and the bytes to judge it by where it does not.

    `nodes` are those with an engine of it. `alone` False: they are one machine's, so `other_bytes` are the others'.
    """
    if not serving.check_fit:
        return {}
    known, span = entry(serving.model), plan["mode"] == "span"
    place = place_of_nodes(nodes if span else (node,))
    judged = fit(known, place, plan["dtype"], mode=plan["mode"], options=plan["engine"])
    if judged.ok is False and not span:
        over_all = fit(known, place_of_nodes(nodes), plan["dtype"], mode="span", options=plan["engine"])
        judged = replace(judged, remedy=over_all.remedy) if over_all.ok else judged
    others = 0
    if known.parameters and not alone and not place.accelerators:
        others = (len(nodes) - 1) * needed_bytes(known, judged.dtype, options=plan["engine"])
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


def limits_of(nodes: Sequence[Node], serving: Serving, plan: Mapping[str, Any]) -> dict[str, Any]:
    """What a fetch from a hub judges the hub's own sizes by; empty where the inventory wants no check."""
    if not serving.check_fit:
        return {}
    return limits(entry(serving.model), place_of_nodes(nodes), plan["dtype"], span=plan["mode"] == "span")
