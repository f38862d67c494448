"""What a bundle has from its beginning: configuration, versions, the inventory, the plan and its prediction.

Reads the inventory and this machine; no host is asked. No secret is read: settings have only the files' names.
"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from deploys import runtime_lock
from experiments import machine
from experiments.bundle import layout, writing
from experiments.bundle.errors import BundleError
from experiments.configuration.parameters import Parameters
from experiments.configuration.resolving import Resolved
from experiments.load import lengths
from experiments.report import limit, limit_inputs
from experiments.runs.against import trace_file
from facts.sources import REPOSITORY
from hardware.model import ProfileError
from hardware.planner import plan
from hardware.planner.errors import PlanError
from hardware.planner.placement import hardware_of
from hardware.planner.prediction import Workload
from inventories import models
from operate import plan_json, planning
from operate.clusters import ClusterInventory
from operate.errors import OperatorError

TRACE_FILE = f"{layout.DIVERSE}/trace.jsonl"


def write(bundle: Path, cluster: ClusterInventory, resolved: Resolved) -> None:
    """Everything that is known before the run begins. BundleError where it cannot be written."""
    writing.write_text(bundle, layout.CONFIGURATION, resolved.text())
    writing.write_json(bundle, layout.SOURCES, resolved.sources())
    writing.write_json(bundle, layout.VERSIONS, versions(cluster, resolved.parameters))
    write_inventory(bundle, cluster)
    writing.write_json(bundle, layout.PLAN, prediction(cluster, resolved.parameters))
    writing.write_json(bundle, limit.FILE, limit_inputs.inputs(cluster.given, str(resolved.parameters.model_id)))
    if (trace := trace_file(resolved)) is not None and not (bundle / TRACE_FILE).exists():
        with writing.whole(bundle, TRACE_FILE) as place:
            shutil.copyfile(trace, place)


def write_inventory(bundle: Path, cluster: ClusterInventory) -> None:
    """The inventory's file as it is, and what follows from it for every host."""
    try:
        text = cluster.path.read_text()
    except OSError as error:
        raise BundleError(f"{cluster.path}: {error.strerror}; the inventory cannot be kept") from None
    writing.write_text(bundle, f"{layout.INVENTORY}/{cluster.path.name}", text)
    hosts = {host.name: msgspec.to_builtins(host.settings) for host in cluster.hosts}
    writing.write_json(bundle, f"{layout.INVENTORY}/hosts.json", hosts)


def versions(cluster: ClusterInventory, parameters: Parameters) -> dict[str, Any]:
    """Versions of the tool, its packages, the engine's runtime and the model, and the machine that measures."""
    settings = cluster.control.settings
    lock = runtime_lock.load(settings.runtime)
    try:
        source: Any = dict(models.entry(str(parameters.model_id)).source)
    except ProfileError as error:
        source = str(error)
    return {
        "cluster": {"version": importlib.metadata.version("cluster"), "commit": _commit()},
        "python": platform.python_version(),
        "packages": packages(),
        "runtime": {"name": lock.name, "kind": lock.kind, "python": lock.python, "packages": lock.versions},
        "model": {"name": parameters.model_id, "source": source},
        "profile": settings.profile,
        "machine": machine.describe(),
    }


def prediction(cluster: ClusterInventory, parameters: Parameters) -> dict[str, Any]:
    """What the plan says of this model, at this load; where it cannot say anything, why (`refusal`)."""
    prompt, output = (
        round(lengths.parse(given).mean)
        for given in (parameters.llm_benchmark_prompt_tokens, parameters.llm_benchmark_output_tokens)
    )
    users: tuple[int, ...] = (1, 4, 16)
    if parameters.llm_benchmark_arrivals == "closed":
        users = tuple(sorted(set(parameters.llm_benchmark_concurrent_workers)))
    try:
        found = planning.declared(cluster.given)
        model = planning.load_model(str(parameters.model_id))
        workload = Workload(max(prompt + parameters.llm_benchmark_prefix_tokens, 1), max(output, 1), users)
        engine = planning.engine_version(found.cluster)
        calibration = planning.load_calibration(None, hardware_of(found.cluster).device.name, engine)
        made = plan.make(found.cluster, model, workload, planning.options(found, model, None), calibration)
    except (OperatorError, PlanError, ProfileError) as error:
        return {"refusal": str(error)}
    return {**plan_json.to_json(made, ()), "engine": engine}


@cache  # a hundred files are read for it
def packages() -> dict[str, str]:
    """Packages beside the tool, name -> version."""
    read = [found.metadata for found in importlib.metadata.distributions()]
    return {str(one["Name"]): str(one["Version"]) for one in sorted(read, key=lambda one: str(one["Name"]).lower())}


def _commit() -> str:
    """The commit of this checkout, with `+` where it was changed; empty where it is none."""
    git = ["git", "-C", str(REPOSITORY)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")
