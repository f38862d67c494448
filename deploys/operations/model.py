"""Put a model's weights on a node: fetched once on the control node, copied from there by nodes with its engine."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import OperationError

from deploys import hosts, runtime_lock, shell
from deploys.compute_base.declared import FETCH_FROM_DEPOT
from deploys.library import script_path, search_path, start
from deploys.settings import Settings
from deploys.vllm.declared import FETCH_MODEL
from deploys.vllm.settings import Model
from facts.memory import Memory
from facts.vllm import ModelDirectory
from hardware.planner.fit import room_on_host

Commands = Generator[StringCommand, None, None]


def refuse_if_unknown(node: str, directory: str, state: dict[str, Any]) -> None:
    """OperationError for a directory without a manifest: somebody may have put it there, and nobody may serve it."""
    if state["state"] == "unknown":
        problems = "; ".join(state["problems"][:3])
        raise OperationError(f"{node}: model {directory}: {problems}; remove the directory and it is fetched again")


@operation()
def fetch(settings: Settings, model: Model) -> Commands:
    """Fetch and convert a model on the control node; a damaged one is mended from where it came."""
    state = host.get_fact(ModelDirectory, directory=model.directory)
    refuse_if_unknown(settings.node, model.directory, state)
    if state["state"] == "whole":
        host.noop(f"{model.directory} is whole")
        return
    runtime = runtime_lock.directory(settings)
    # Relative to the runtime's environment, uv is one of the tool's or one that build_runtime.sh left beside it.
    variables = {
        **search_path(settings),
        "UV_CACHE_DIR": settings.directories.package_cache,
        **settings.system.package_sources,
    }
    uv = hosts.of(settings).tool_uv()
    found = shell.line(uv) if uv else f"$(ls {shell.line(settings.directories.runtime)}/uv-*/bin/uv | head -n 1)"
    environment = " ".join(shell.line(f"{key}={value}") for key, value in sorted(variables.items()))
    # A golden answer that nobody published is the reference implementation's, taken when the weights are there.
    options: dict[str, Any] = {"golden": dict(model.golden)} if "reference" in model.golden else {}
    if model.source["kind"] == "hub" and (limits := _limits(settings, model)):
        options["fit"] = limits
    if state["state"] == "corrupt":
        options["mend"] = True
    arguments = shell.line(
        *start(f"{runtime}/bin/python", FETCH_MODEL),
        model.directory,
        json.dumps(dict(model.source), sort_keys=True),
        *([json.dumps(options, sort_keys=True)] if options else []),
    )
    yield StringCommand(f"CLUSTER_UV={found}; export CLUSTER_UV; env {environment} {arguments}")


def _limits(settings: Settings, model: Model) -> dict[str, Any]:
    """What the hub's own sizes are judged by; empty where no memory is known. One machine's nodes have this one's."""
    limits = dict(model.limits)
    unknown = limits and limits["room_bytes"] is None and settings.system.shared_machine
    if unknown and (memory := host.get_fact(Memory)):
        engines = sum(len(application.nodes) for application in settings.applications)
        limits["room_bytes"] = room_on_host(
            limits["other_bytes"], memory.total_bytes, limits["reserve_bytes"], limits["share"], engines
        )
    if limits.get("room_bytes") is None:
        return {}
    return {key: limits[key] for key in ("where", "dtype", "room_bytes")}


@operation()
def copy_from_depot(settings: Settings, model: Model) -> Commands:
    """Copy a model from the control node; a damaged one is mended from its copy, which is whole by then."""
    state = host.get_fact(ModelDirectory, directory=model.directory)
    refuse_if_unknown(settings.node, model.directory, state)
    if state["state"] == "whole":
        host.noop(f"{model.directory} is whole")
        return
    yield shell.command(
        script_path(settings, FETCH_FROM_DEPOT),
        settings.head_address,
        str(settings.depot.port),
        values=("models", model.name, model.directory, "manifest.json", *["mend"] * (state["state"] == "corrupt")),
    )
