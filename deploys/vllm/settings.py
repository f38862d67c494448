"""Settings of vllm: the served models, how their engines run, and whether one fits this node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from deploys.part import Part


class Model(Part, frozen=True):
    """The served model: where it comes from, where it lies, and the answer that proves it."""

    name: str
    source: Mapping[str, str]
    directory: str
    golden: Mapping[str, Any]
    maximum_length: int
    mixture_of_experts: bool
    attention_heads: int
    engine_kind: str
    task: str
    dtypes: tuple[str, ...]
    limits: Mapping[str, Any]
    engine: Mapping[str, Any] = {}
    parser: Mapping[str, str] = {}

    @property
    def names(self) -> frozenset[str]:
        """Its own name and those of where it comes from, as inventories/models/places.py reads them."""
        found = {self.name, self.source.get("path", "")}
        if repository := self.source.get("repository"):
            found |= {repository, f"hub:{repository}", f"hub:{repository}@{self.source.get('revision')}"}
        return frozenset(found) - {""}


class NodeFit(Part, frozen=True):
    """What this node has for a model, and what its share of an engine needs there (hardware/planner/fit.py judged it).

    `ok` None: the host's own memory has to tell, or nobody knows. `other_bytes`: of the other engines on the same
    machine. `reserve_bytes`: for the system and Ray. `share`: what the engine lets itself use of a host's memory.
    """

    model: str
    ok: bool | None
    detail: str
    remedy: str
    needed_bytes: int
    available_bytes: int | None
    other_bytes: int
    reserve_bytes: int
    share: float


class EnginePlan(Part, frozen=True):
    """How many engines of a model, and how each is cut."""

    mode: Literal["replicas", "span"]
    replicas: int
    tensor_parallel: int
    pipeline_parallel: int
    expert_parallel: bool
    dtype: str
    enforce_eager: bool
    engine: Mapping[str, Any]


class Application(Part, frozen=True):
    """One served model: what it is, how its engines run, and the nodes that run them. `name` is Ray Serve's for it."""

    name: str
    model: Model
    serving: EnginePlan
    nodes: tuple[str, ...]

    @property
    def ranks(self) -> int:
        """Parts of one engine, each on an accelerator of its own."""
        return self.serving.tensor_parallel * self.serving.pipeline_parallel

    @property
    def loads_vllm(self) -> bool:
        """Whether its engines are processes that start from one which has vLLM loaded."""
        return self.model.engine_kind == "vllm" and self.ranks == 1

    @property
    def resource(self) -> str:
        """Ray's custom resource of its nodes: it keeps its engines there, one a node."""
        return f"engine:{self.name}"
