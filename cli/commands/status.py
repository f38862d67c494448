"""`cluster status`: what is there, at a glance."""

from __future__ import annotations

import sys
from typing import Any

import click

from cli import clusters, display, runner
from cli.clusters import ClusterInventory
from cli.errors import COULD_NOT_TELL, DOES_NOT_HOLD, HOLDS
from cli.runner import FactRequest, Observation
from deploys.operations.service import states
from deploys.roles import services


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print the status as JSON.")
@click.pass_obj
def command(name: str, as_json: bool) -> None:
    """Show nodes, engines and endpoint. `verify` judges, this only tells."""
    cluster = clusters.load(name)
    with display.progress() as progress:
        progress.phase(f"asking {len(cluster.hosts)} hosts")
        found = runner.observe(cluster, _requests(cluster))
    status = describe(cluster, found)
    if as_json:
        display.emit(status)
    else:
        rows = [
            (row["node"], row["role"], row["address"], row["ray"], row["engine"], row["memory"] or "-")
            for row in status["nodes"]
        ]
        display.table(
            f"{cluster.name}: {status['application']}, {status['model']}",
            ("node", "role", "address", "ray", "engine", "resident"),
            rows,
        )
        display.results().print(
            f"endpoint {status['endpoint']}" + (f", key in {status['api_key_file']}" if status["api_key_file"] else "")
        )
    if not found[cluster.control.name].connected:
        sys.exit(COULD_NOT_TELL)
    sys.exit(HOLDS if status["application"] == "RUNNING" else DOES_NOT_HOLD)


def _requests(cluster: ClusterInventory) -> dict[str, list[FactRequest]]:
    asked = {}
    for host in cluster.hosts:
        settings = host.settings
        asked[host.name] = [
            FactRequest("services", "facts.services.Services", states(settings, services(settings))),
            FactRequest("processes", "facts.vllm.Processes", {"node": settings.node, "cluster": settings.cluster}),
        ]
    asked[cluster.control.name] += [
        FactRequest("nodes", "facts.ray.Nodes"),
        FactRequest("serve", "facts.ray.Serve"),
    ]
    return asked


def describe(cluster: ClusterInventory, found: dict[str, Observation]) -> dict[str, Any]:
    """Status as plain data; `application` is Serve's word for it, or DOWN, or UNREACHABLE."""
    settings = cluster.control.settings
    control = found[cluster.control.name]
    serve = control.facts.get("serve") or {"status": "UNREACHABLE", "replicas": []}
    alive = {node["name"]: node for node in (control.facts.get("nodes") or {}).get("nodes", []) if node["alive"]}
    engines = {
        replica["node_address"]: replica["state"]
        for replica in serve["replicas"]
        if "ProvenLLMServer" in replica["deployment"]
    }
    running = any(state["active"] for state in (control.facts.get("services") or {}).values())
    application = serve["status"] if running or not control.connected else "DOWN"
    return {
        "cluster": cluster.name,
        "profile": settings.profile,
        "application": application,
        "endpoint": settings.endpoint,
        "api_key_file": settings.secrets["api-key"] if settings.api_key_required else None,
        "model": settings.model.name,
        "nodes": [
            {
                "node": host.name,
                "role": host.settings.role,
                "address": host.settings.address,
                "reachable": found[host.name].connected,
                "ray": "alive" if host.name in alive else "absent",
                "engine": engines.get(host.settings.address, "-" if not host.settings.runs_engine else "absent"),
                "memory": _memory(found[host.name]),
            }
            for host in cluster.hosts
        ],
    }


def _memory(seen: Observation) -> str:
    size = (seen.facts.get("processes") or {}).get("total_bytes", 0)
    return f"{size / 1024**3:.2f} GiB" if size else ""
