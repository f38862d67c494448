"""`cluster status`: what is there, at a glance."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import click

from cli import display
from deploys.roles import services
from deploys.services import states
from operate import clusters, runner
from operate.clusters import ClusterInventory
from operate.errors import COULD_NOT_TELL, DOES_NOT_HOLD, HOLDS
from operate.runner import FactRequest, Observation


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print the status as JSON.")
@click.pass_obj
def command(name: str, as_json: bool) -> None:
    """Show nodes, engines and endpoint. `verify` judges, this only tells."""
    cluster = clusters.load(name)
    with display.progress() as progress:
        progress.phase(f"asking {len(cluster.hosts)} hosts")
        found = runner.observe(cluster, requests(cluster))
    status = describe(cluster, found)
    if as_json:
        display.emit(status)
    else:
        several = len(status["models"]) > 1
        rows = [
            (
                row["node"],
                row["role"],
                row["address"],
                row["ray"],
                *([row["model"] or "-"] if several else []),
                row["engine"],
                _since(row),
                _proved(row),
                row["memory"] or "-",
            )
            for row in status["nodes"]
        ]
        display.table(
            f"{cluster.name}: {status['application']}, {', '.join(status['models'])}",
            ("node", "role", "address", "ray", *(["model"] * several), "engine", "since", "golden answers", "resident"),
            rows,
        )
        display.results().print(
            f"endpoint {status['endpoint']}" + (f", key in {status['api_key_file']}" if status["api_key_file"] else "")
        )
    if not found[cluster.control.name].connected:
        sys.exit(COULD_NOT_TELL)
    sys.exit(HOLDS if status["application"] == "RUNNING" else DOES_NOT_HOLD)


def requests(cluster: ClusterInventory) -> dict[str, list[FactRequest]]:
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
        FactRequest("life", "facts.vllm.Life"),
    ]
    return asked


def describe(cluster: ClusterInventory, found: dict[str, Observation]) -> dict[str, Any]:
    """Status as plain data; `application` is Serve's word for it, or DOWN, or UNREACHABLE."""
    settings = cluster.control.settings
    control = found[cluster.control.name]
    serve = control.facts.get("serve") or {"status": "UNREACHABLE", "replicas": []}
    alive = {node["name"]: node for node in (control.facts.get("nodes") or {}).get("nodes", []) if node["alive"]}
    engines = {
        replica["node_address"]: {"state": replica["state"].lower()}
        for replica in serve["replicas"]
        if "ProvenLLMServer" in replica["deployment"]
    }
    # An engine's own word is nearer to the truth than Serve's, where it has one.
    engines |= {report["address"]: report for report in control.facts.get("life") or []}
    running = any(state["active"] for state in (control.facts.get("services") or {}).values())
    models = {one.model.name: _serves(serve, one.name) for one in settings.applications}
    application = next((status for status in models.values() if status != "RUNNING"), "RUNNING")
    if control.connected and not running:
        application, models = "DOWN", dict.fromkeys(models, "DOWN")
    return {
        "cluster": cluster.name,
        "profile": settings.profile,
        "application": application,
        "endpoint": settings.endpoint,
        "api_key_file": settings.secrets["api-key"] if settings.api_key_required else None,
        "model": settings.model.name,
        "models": models,
        "nodes": [
            {
                "node": host.name,
                "role": host.settings.role,
                "address": host.settings.address,
                "reachable": found[host.name].connected,
                "ray": "alive" if host.name in alive else "absent",
                "model": host.settings.mine.model.name if host.settings.mine else None,
                **_engine(engines.get(host.settings.address), declared=host.settings.runs_engine),
                "memory": _memory(found[host.name]),
            }
            for host in cluster.hosts
        ],
    }


def _serves(serve: Mapping[str, Any], name: str) -> str:
    """Serve's word on one application; its word on all where it has none."""
    known = serve.get("applications") or {}
    return str(known.get(name, "NOT_STARTED" if known else serve["status"]))


def _engine(report: Mapping[str, Any] | None, *, declared: bool) -> dict[str, Any]:
    """What is known of a node's engine; `since` and the times of proofs are Unix seconds."""
    if report is None:
        return {"engine": "absent" if declared else "-", "since": None, "proofs": None, "requests": None, "reason": ""}
    return {
        "engine": report["state"],
        "since": report.get("since"),
        "proofs": report.get("proofs"),
        "requests": report.get("requests"),
        "reason": report.get("reason", ""),
    }


def _since(row: Mapping[str, Any]) -> str:
    """How long an engine has been in its state, for people."""
    if not row["since"]:
        return "-"
    return display.duration(max(time.time() - float(row["since"]), 0.0))


def _proved(row: Mapping[str, Any]) -> str:
    """Proofs that were right, of those asked, and when the last was."""
    proofs = row["proofs"]
    if not proofs or not proofs.get("last"):
        return row["reason"] or "-"
    ago = display.duration(max(time.time() - float(proofs["last"]["at"]), 0.0))
    said = f"{proofs['asked'] - proofs['failed']} of {proofs['asked']} right, last {ago} ago"
    return f"{said}; {row['reason']}" if row["reason"] else said


def _memory(seen: Observation) -> str:
    size = (seen.facts.get("processes") or {}).get("total_bytes", 0)
    return f"{size / 1024**3:.2f} GiB" if size else ""
