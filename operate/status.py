"""What is there, at a glance: from what the control node knows, or from every host. Tells and does not judge.

The control node's watch service asks engines and Ray all the time, so its word is seconds old and costs one request.
Where it does not answer, or has not heard Ray or Serve lately, every host is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from deploys import hosts
from deploys.roles import services
from facts.health.services import condition, trouble
from facts.programs.engines import is_engine
from operate import api, runner
from operate.clusters import ClusterInventory, Host
from operate.errors import COULD_NOT_TELL, DOES_NOT_HOLD, HOLDS
from operate.runner import FactRequest, Observation

# What the control node knows is shown while it is this new: several of its rounds, which take four seconds.
NEW_SECONDS = 20.0


@dataclass(frozen=True)
class Status:
    """`told` is the status as plain data. `reached`: whether the control node answered."""

    told: dict[str, Any]
    reached: bool

    @property
    def exit_code(self) -> int:
        """0 when every application runs."""
        if not self.reached:
            return COULD_NOT_TELL
        return HOLDS if self.told["application"] == "RUNNING" else DOES_NOT_HOLD


def read(cluster: ClusterInventory, *, full: bool = False) -> Status:
    """The control node's word where it has a new one; every host's where not, or for `full`."""
    known = None if full else api.state(cluster)
    if known is not None and (told := describe_known(cluster, known)):
        _ask_what_is_absent(cluster, told)
        return Status(told, reached=True)
    found = runner.observe(cluster, requests(cluster))
    return Status(describe(cluster, found), reached=found[cluster.control.name].connected)


def _ask_what_is_absent(cluster: ClusterInventory, told: dict[str, Any]) -> None:
    """Nodes that answer and are not in Ray are asked themselves: the control node does not know why."""
    absent = {row["node"]: row for row in told["nodes"] if row["reachable"] and row["ray"] != "alive"}
    if not absent:
        return
    looked = [host for host in cluster.hosts if host.name in absent or host is cluster.control]
    found = runner.observe(replace(cluster, hosts=tuple(looked)), {host.name: [_services(host)] for host in looked})
    for name, row in absent.items():
        row["trouble"] = _trouble(found[name].facts.get("services") or {})


def _services(host: Host) -> FactRequest:
    return FactRequest("services", "facts.services.Services", hosts.of(host.settings).states(services(host.settings)))


def requests(cluster: ClusterInventory) -> dict[str, list[FactRequest]]:
    """Facts that the status is made of when every host is asked."""
    asked = {}
    for host in cluster.hosts:
        settings = host.settings
        asked[host.name] = [
            _services(host),
            FactRequest("processes", "facts.vllm.Processes", {"node": settings.node, "cluster": settings.cluster}),
        ]
    asked[cluster.control.name] += [
        FactRequest("nodes", "facts.ray.Nodes", alone=True),
        FactRequest("serve", "facts.ray.Serve", alone=True),
        FactRequest("life", "facts.vllm.Life", alone=True),
    ]
    return asked


def describe(cluster: ClusterInventory, found: Mapping[str, Observation]) -> dict[str, Any]:
    """Status as plain data; `application` is Serve's word for it, or DOWN, or UNREACHABLE."""
    control = found[cluster.control.name]
    serve = control.facts.get("serve") or {"status": "UNREACHABLE", "replicas": []}
    alive = {node["name"] for node in (control.facts.get("nodes") or {}).get("nodes", []) if node["alive"]}
    engines = {
        replica["node_address"]: {"state": replica["state"].lower()}
        for replica in serve["replicas"]
        if is_engine(replica["deployment"])
    }
    # An engine's own word is nearer to the truth than Serve's, where it has one.
    engines |= {report["address"]: report for report in control.facts.get("life") or []}
    running = any(condition(state) != "stopped" for state in (control.facts.get("services") or {}).values())
    models = _models(cluster, serve)
    if control.connected and not running:
        models = dict.fromkeys(models, "DOWN")
    rows = [
        _row(
            host,
            reachable=found[host.name].connected,
            alive=host.name in alive,
            report=engines.get(host.settings.network.address),
            memory=_memory(found[host.name]),
            services=found[host.name].facts.get("services") or {},
        )
        for host in cluster.hosts
    ]
    return _told(cluster, models, rows, source="hosts", age=0.0)


def describe_known(cluster: ClusterInventory, known: Mapping[str, Any]) -> dict[str, Any] | None:
    """The same from `/cluster/state`; None where that is not this cluster's, too old or not whole.

    A node's resident memory is not among what the control node knows. Pure.
    """
    try:
        nodes = {row["name"]: row for row in known["nodes"]}
        serve = known["serve"]
        heard = [known["ray"]["heard"], serve["heard"], *(row["heard"] for row in known["replicas"])]
        age = round(known["at"] - min(heard[:2]), 1)
        usable = known["cluster"] == cluster.control.settings.cluster and {host.name for host in cluster.hosts} <= set(
            nodes
        )
        if not (usable and known["ray"]["answers"] and age <= NEW_SECONDS):
            return None
        engines: dict[str, Any] = {
            replica["address"]: {"state": replica["state"].lower()}
            for replica in serve["replicas"]
            if is_engine(replica["deployment"])
        }
        engines |= {row["address"]: row for row in known["replicas"] if row["state"] != "gone"}
        rows = [
            _row(
                host,
                reachable=nodes[host.name]["state"] == "up",
                alive=nodes[host.name]["alive"] is True,
                report=engines.get(host.settings.network.address),
                memory="",
                services={},
            )
            for host in cluster.hosts
        ]
        return _told(cluster, _models(cluster, serve), rows, source=cluster.control.name, age=max(age, 0.0))
    except (KeyError, TypeError, AttributeError):
        return None  # of another version of this project


def _told(
    cluster: ClusterInventory, models: dict[str, str], rows: list[dict[str, Any]], *, source: str, age: float
) -> dict[str, Any]:
    settings = cluster.control.settings
    return {
        "cluster": cluster.name,
        "profile": settings.profile,
        "application": next((status for status in models.values() if status != "RUNNING"), "RUNNING"),
        "endpoint": settings.endpoint,
        "api_key_file": settings.secrets["api-key"] if settings.api_key_required else None,
        "model": settings.model.name,
        "models": models,
        "nodes": rows,
        "source": source,
        "age_seconds": age,
    }


def _models(cluster: ClusterInventory, serve: Mapping[str, Any]) -> dict[str, str]:
    """Serve's word on each declared model; its word on all where it has none on one."""
    known = serve.get("applications") or {}
    return {
        one.model.name: str(known.get(one.name, "NOT_STARTED" if known else serve["status"]))
        for one in cluster.control.settings.applications
    }


def _row(
    host: Host,
    *,
    reachable: bool,
    alive: bool,
    report: Mapping[str, Any] | None,
    memory: str,
    services: Mapping[str, Any],
) -> dict[str, Any]:
    settings = host.settings
    return {
        "node": host.name,
        "role": settings.role,
        "address": settings.network.address,
        "reachable": reachable,
        "ray": "alive" if alive else "absent",
        "model": settings.mine.model.name if settings.mine else None,
        **_engine(report, declared=settings.runs_engine),
        "memory": memory,
        "trouble": _trouble(services),
    }


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


def _trouble(services: Mapping[str, Any]) -> list[str]:
    """Services that end again and again, each with its last words; what was stopped is no trouble here."""
    return [f"{name} {trouble(state)}" for name, state in services.items() if condition(state) == "restarting"]


def _memory(seen: Observation) -> str:
    size = (seen.facts.get("processes") or {}).get("total_bytes", 0)
    return f"{size / 1024**3:.2f} GiB" if size else ""
