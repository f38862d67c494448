"""Cause and fix of what would go wrong, judged from the facts that `up` looks at before it starts. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from deploys import hosts
from facts.health.clock import skew_check
from facts.health.memory import memory_check, shared_memory_check
from facts.health.names import hosts_owner_check
from facts.health.network import resolution_check
from facts.health.result import CheckResult
from facts.health.services import has_process
from facts.parse.clock import ClockReport
from facts.parse.memory import FilesystemReport, MemoryReport
from facts.parse.network import ResolutionReport
from operate import machine, preflight, runner
from operate.clusters import ClusterInventory
from operate.runner import Observation


def examine(cluster: ClusterInventory) -> list[CheckResult]:
    """Look at every host; all checks."""
    asked = preflight.requests(cluster)
    for host in cluster.hosts:
        asked[host.name] += machine.more_requests(host)
    return judge(cluster, runner.observe(cluster, asked))


def judge(cluster: ClusterInventory, found: Mapping[str, Observation]) -> list[CheckResult]:
    """All checks: those that stop a deploy first, then what only makes it worse."""
    checks = preflight.blocking_checks(cluster, found) + preflight.loops(cluster, found)
    judged: set[str] = set()
    for host in cluster.hosts:
        seen, settings = found[host.name], host.settings
        if not seen.connected:
            continue
        checks += [CheckResult(key, None, f"{host.name}: {why}") for key, why in seen.errors.items()]
        checks += machine.more_checks(host, seen)
        shared = hosts.of(settings).machine
        if shared in judged:
            continue  # several nodes on one machine: its memory is judged once
        judged.add(shared)
        serving = any(has_process(state) for state in (seen.facts.get("services") or {}).values())
        if "memory" in seen.facts and not serving:
            report = MemoryReport(**seen.facts["memory"])
            checks.append(memory_check(host.name, report, preflight.engine_memory_bytes(cluster, host)))
        if "shared_memory" in seen.facts:
            report_shm = FilesystemReport(**seen.facts["shared_memory"])
            checks.append(shared_memory_check(host.name, report_shm, settings.ray.object_store_bytes))
        if "clock" in seen.facts:
            asked, answered = seen.times["clock"]
            checks.append(skew_check(host.name, ClockReport(**seen.facts["clock"]), asked, answered, 2.0))
        for key in ("resolution", "own_resolution"):
            if key not in seen.facts or (key == "own_resolution" and _calls_itself_as_we_do(seen)):
                continue
            values = dict(seen.facts[key])
            report_name = ResolutionReport(**{key: _tuple(value) for key, value in values.items() if key in _FIELDS})
            checks.append(resolution_check(host.name, report_name, settings.network.address))
        if "names" in seen.facts:
            checks.append(hosts_owner_check(host.name, seen.facts["names"]["cloud_init"]))
        if "reach" in seen.facts:
            checks.append(
                _reach_head_check(host.name, seen.facts["reach"], settings.head_address, settings.ray.ports.gcs)
            )
        checks.append(_python_check(host.name, seen, settings.runtime.python, complete=_complete(seen)))
    return [replace(check, remedy=cluster.named(check.remedy)) for check in checks]


_FIELDS = set(ResolutionReport.__dataclass_fields__)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _complete(seen: Observation) -> bool:
    return bool((seen.facts.get("runtime") or {}).get("complete"))


def _calls_itself_as_we_do(seen: Observation) -> bool:
    """One name, so one answer."""
    names = [(seen.facts.get(key) or {}).get("host_name") for key in ("resolution", "own_resolution")]
    return names[0] == names[1]


def _reach_head_check(node: str, found: str, address: str, port: int) -> CheckResult:
    """Refused is fine before the head runs; no answer at all is a firewall or a wrong network."""
    detail = f"{node}: {address} port {port}, the Ray head, is {found} from here"
    if found in ("open", "refused"):
        return CheckResult("firewall", True, detail)
    return CheckResult(
        "firewall", False, detail, "let the cluster's hosts reach each other: a firewall or a wrong network"
    )


def _python_check(node: str, seen: Observation, wanted: str, *, complete: bool) -> CheckResult:
    """Ray refuses a node whose Python differs, so every node runs the runtime's own."""
    found = str((seen.facts.get("host") or {}).get("python_version") or "unknown")
    if complete:
        python = seen.facts["runtime"]["python"]
        ok = python.startswith(f"{wanted}.")
        return CheckResult("python", ok, f"{node}: the runtime has Python {python}, {wanted} is locked")
    if found.startswith(f"{wanted}."):
        return CheckResult("python", True, f"{node}: Python {found}, {wanted} is locked")
    return CheckResult(
        "python",
        None,
        f"{node}: /usr/bin/python3 is {found}, the runtime is locked for {wanted}",
        "uv will bring its own",
    )
