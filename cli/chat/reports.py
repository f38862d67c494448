"""`status`, `actors` and `logs` within a conversation: tables of what the hosts and the cluster's watch service say."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cli import display
from cli.chat.screen import Screen
from deploys import hosts
from deploys.roles import services
from operate import runner
from operate.chat.failures import ChatError
from operate.chat.nodes import labels, title
from operate.chat.stream import Api
from operate.clusters import ClusterInventory, Host
from operate.runner import FactRequest, Observation
from operate.status import describe, requests

LOG_LINES = 20
_GIB = 1024**3


def cluster_state(cluster: ClusterInventory, api: Api) -> dict[str, Any]:
    """What the watch service says behind the gateway (`GET /cluster/state`); ChatError when it says nothing."""
    url = f"{cluster.control.settings.endpoint.removesuffix('/v1')}/cluster/state"
    try:
        state = api.get(url)
    except ChatError as error:
        raise type(error)(f"the cluster's watch service says nothing: {error}") from None
    if not isinstance(state, dict) or not isinstance(state.get("replicas"), list):
        raise ChatError(f"the cluster's watch service says nothing: {url}: no `replicas` in its answer")
    return state


def status(cluster: ClusterInventory, screen: Screen, state: Mapping[str, Any] | None) -> None:
    """Nodes with role, engine, resources and memory. `state` is cluster_state()'s, or None where there is none."""
    with screen.busy(f"asking {len(cluster.hosts)} hosts"):
        found = runner.observe(cluster, requests(cluster))
    told = describe(cluster, found)
    control = found[cluster.control.name]
    ray = {node["name"]: node for node in (control.facts.get("nodes") or {}).get("nodes", []) if node["alive"]}
    hardware = {str(row.get("name")): row for row in (state or {}).get("nodes") or []}
    names = labels(cluster)
    rows = []
    for row in told["nodes"]:
        name = row["node"]
        seen = found[name]
        since = _age(row["since"])
        rows.append(
            (
                names[name],
                name,
                row["address"],
                row["ray"] if seen.connected else f"unreachable: {seen.error}",
                _reasoned(row["engine"], row["reason"]) + (f" for {since}" if since != "-" else ""),
                _resources(ray.get(name), hardware.get(name)),
                row["memory"] or "-",
            )
        )
    screen.table(
        f"{cluster.name}: {told['application']}, {', '.join(told['models'])}",
        ("", "host", "address", "ray", "engine", "resources", "resident"),
        rows,
    )
    slots = sum(node["engine_slots"] for node in ray.values())
    cpus, gpus = (sum(node[kind] for node in ray.values()) for kind in ("cpus", "gpus"))
    resident = sum(_resident(seen) for seen in found.values())
    screen.say(
        f"{len(ray)} of {len(cluster.hosts)} nodes in Ray: {cpus:.0f} CPU slots, {gpus:.0f} GPUs, "
        f"{slots:.0f} engine slots; {resident / _GIB:.2f} GiB resident; endpoint {told['endpoint']}"
    )


def engines(cluster: ClusterInventory, screen: Screen) -> list[Mapping[str, Any]]:
    """What the engines say of themselves, asked from the control node: where the watch service says nothing."""
    control = cluster.control.name
    with screen.busy(f"asking the engines from {control}"):
        alone = replace(cluster, hosts=(cluster.control,))
        seen = runner.observe(alone, {control: [FactRequest("life", "facts.vllm.Life")]})[control]
    if "life" not in seen.facts:
        raise ChatError(
            f"{control}: the engines could not be asked: {seen.error or seen.errors.get('life', 'not read')}"
        )
    return list(seen.facts["life"])


def actors(cluster: ClusterInventory, screen: Screen, replicas: Sequence[Mapping[str, Any]]) -> None:
    """Engine replicas: where, in which state and since when, and what they proved."""
    rows = [
        (
            str(replica.get("replica") or "-"),
            title(cluster, str(replica.get("node") or ""), str(replica.get("address") or "")),
            str(replica.get("model") or "-"),
            _reasoned(replica.get("state"), replica.get("reason")),
            _age(replica.get("since")),
            _proofs(replica.get("proofs")),
            _load(replica),
        )
        for replica in replicas
    ]
    if not rows:
        screen.say("no engine replica is known; `logs` may say why")
        return
    screen.table("replicas", ("replica", "node", "model", "state", "for", "proofs", "requests"), rows)


def logs(cluster: ClusterInventory, screen: Screen, node: str, lines: int) -> None:
    """The last lines of every service and of the newest replicas, of all nodes or of one."""
    hosts = [host for host in cluster.hosts if node in ("", host.name)]
    with screen.busy(f"reading the logs of {', '.join(host.name for host in hosts)}"):
        found = runner.observe(cluster, {host.name: [log_request(host, lines or LOG_LINES)] for host in hosts})
    names = labels(cluster)
    for host in hosts:
        seen = found[host.name]
        where = f"{names[host.name]}: {host.name}, {host.settings.network.address}"
        if "logs" not in seen.facts:
            screen.problem(f"{where}: {seen.error or seen.errors.get('logs', 'not read')}")
            continue
        for tail in seen.facts["logs"]:
            screen.say(f"── {where} · {tail['source']}")
            screen.say("\n".join(tail["lines"]) or "(empty)")


def log_request(host: Host, lines: int) -> FactRequest:
    """The fact that reads a host's logs."""
    settings = host.settings
    arguments = {
        "services": [service.name for service in services(settings)],
        "lines": lines,
        "supervisor": hosts.of(settings).manager.state_directory,
        "ray": settings.directories.ray,
        "replicas": 2,
    }
    return FactRequest("logs", "facts.logs.Logs", arguments)


def _reasoned(state: Any, reason: Any) -> str:
    return f"{state or 'unknown'}: {reason}" if reason and state != "serving" else str(state or "unknown")


def _proofs(proofs: Any) -> str:
    if not isinstance(proofs, dict):
        return "-"
    said = f"{proofs.get('asked', 0)} asked, {proofs.get('failed', 0)} failed"
    last = proofs.get("last")
    if not isinstance(last, dict):
        return said
    how = "right" if last.get("correct") else f"wrong: {last.get('detail') or last.get('answer') or 'no answer'}"
    return f"{said}; last {how}, {_age(last.get('at'))} ago"


def _load(replica: Mapping[str, Any]) -> str:
    counted = replica.get("requests")
    if not isinstance(counted, dict):
        return "-"
    said = ", ".join(f"{counted.get(kind, 0)} {kind}" for kind in ("running", "waiting", "finished"))
    cache = replica.get("kv_cache_usage")
    return f"{said}; cache {cache:.0%}" if isinstance(cache, int | float) else said


def _age(since: Any) -> str:
    """How long ago a Unix time was; `-` for none."""
    if not isinstance(since, int | float) or isinstance(since, bool):
        return "-"
    return display.duration(max(0.0, time.time() - since))


def _resources(node: Mapping[str, Any] | None, hardware: Mapping[str, Any] | None) -> str:
    parts = []
    if node:
        counts = ((node["cpus"], "CPU slots"), (node["gpus"], "GPUs"), (node["engine_slots"], "engine slots"))
        parts = [f"{count:.0f} {what}" for count, what in counts if count]
    if hardware and isinstance(hardware.get("memory_bytes"), int | float) and hardware["memory_bytes"]:
        parts.append(f"{hardware['memory_bytes'] / _GIB:.1f} GiB")
    if hardware and isinstance(hardware.get("accelerators"), list):
        parts += [str(part.get("name") if isinstance(part, dict) else part) for part in hardware["accelerators"]]
    return ", ".join(parts) or "-"


def _resident(seen: Observation) -> int:
    return int((seen.facts.get("processes") or {}).get("total_bytes", 0))
