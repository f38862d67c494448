"""What must hold before anything is changed: hosts that answer, ports that are free, weights that are whole, space.

`cluster up` refuses bad ground with the first problem; `cluster doctor` shows all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploys import hosts, runtime_lock
from deploys.compute_base.firewall import closed_ports
from deploys.compute_base.systems import system_check
from deploys.fit import fit_check
from deploys.roles import services
from deploys.settings import Settings
from facts.health.result import CheckResult
from facts.health.services import has_process, loop_checks
from facts.health.way_in import way_in_check
from facts.parse.way_in import WayInReport
from hardware.planner.assumptions import HOST_RESERVE_BYTES
from hardware.planner.fit import host_bytes
from operate import machine, runner
from operate.clusters import ClusterInventory, Host
from operate.errors import OperatorError
from operate.runner import FactRequest, Observation

GIB = 1024**3
_RUNTIME_BYTES = 8 * GIB
MENDED = "weights"  # the check of damaged weights, which a run mends by itself


def requests(cluster: ClusterInventory) -> dict[str, list[FactRequest]]:
    """Facts that the ground is judged by, for every host."""
    asked = {}
    for host in cluster.hosts:
        settings, kind = host.settings, hosts.of(host.settings)
        facts = [
            FactRequest("services", "facts.services.Services", kind.states(services(settings))),
            FactRequest("listening", "facts.network.Listening"),
            FactRequest("disk", "facts.memory.Disk", {"path": settings.directories.runtime}),
            FactRequest("memory", "facts.memory.Memory"),
            FactRequest("shared_memory", "facts.memory.SharedMemory"),
            FactRequest("host", "facts.host.Host"),
            FactRequest("runtime", "facts.ray.Runtime", {"directory": runtime_lock.directory(settings)}),
        ]
        facts += [
            # Between question and answer of the clock lies nothing else, or nobody knows how far off it is.
            FactRequest(key, fact, dict(arguments), alone=key == "clock")
            for key, (fact, arguments) in kind.ground_facts().items()
        ]
        for directory in _model_directories(host):
            facts.append(FactRequest(f"model {directory}", "facts.vllm.ModelDirectory", {"directory": directory}))
        facts += machine.requests(host)
        asked[host.name] = facts
    return asked


def refuse_unready_hosts(cluster: ClusterInventory) -> list[CheckResult]:
    """OperatorError (exit 2) with the first thing that would make a deploy fail half-way; nothing is changed.

    Returns what is no reason to refuse and the operator should hear of: fit that could not be told, weights that the
    run mends, a service that ends again and again, which it may mend.
    """
    found = runner.observe(cluster, requests(cluster))
    checks = blocking_checks(cluster, found)
    for check in checks:
        if check.ok is False and check.name != MENDED:
            said = f"{check.detail}; {check.remedy}" if check.remedy else check.detail
            raise OperatorError(cluster.named(said))
    mended = [
        CheckResult(check.name, None, f"{check.detail}; it is mended")
        for check in checks
        if check.name == MENDED and check.ok is False
    ]
    unknown = [check for check in checks if check.name == "fit" and check.ok is None]
    return [*unknown, *mended, *loops(cluster, found)]


def loops(cluster: ClusterInventory, found: Mapping[str, Observation]) -> list[CheckResult]:
    """Services of ours in a crash loop."""
    return [
        check
        for host in cluster.hosts
        for check in loop_checks(
            host.name, found[host.name].facts.get("services") or {}, hosts.of(host.settings).manager.log
        )
    ]


def blocking_checks(cluster: ClusterInventory, found: Mapping[str, Observation]) -> list[CheckResult]:
    """Checks without which nothing is started: reach, fit, ports, weights, disk, libraries."""
    checks = [reach_check(host, found[host.name]) for host in cluster.hosts]
    for host in cluster.hosts:
        seen = found[host.name]
        if not seen.connected:
            continue
        checks += fit_checks(host, seen)
        checks += port_checks(host, seen)
        checks += model_checks(host, seen, cluster.command)
        checks += disk_checks(host, seen)
        checks += library_checks(host, seen)
        checks += way_in_checks(host, seen)
        checks += system_checks(host, seen)
    return checks + [check for check in machine.checks(cluster, found) if not _to_be_installed(check, found)]


def _to_be_installed(check: CheckResult, found: Mapping[str, Observation]) -> bool:
    """Whether a check of the driver's tools fails on a node where nothing was installed yet: the deploy does that."""
    if check.name not in ("gpu_tool", "gpu_count"):
        return False
    seen = found.get(check.detail.partition(":")[0])
    runtime = (seen.facts.get("runtime") or {}) if seen else {}
    missing = seen is not None and (seen.facts.get("gpus") or {}).get("tool") == "missing"
    return missing and not runtime.get("complete")


def reach_check(host: Host, seen: Observation) -> CheckResult:
    """Whether a host answers, and lets us in."""
    if seen.connected:
        return CheckResult("reach", True, f"{host.name} answers")
    target = host.data.get("ssh_hostname", host.name)
    if "uthentication" in seen.error:
        user, key = host.data.get("ssh_user", ""), host.data.get("ssh_key", "the agent's keys")
        return CheckResult(
            "reach",
            False,
            f"{host.name} ({target}) refuses {user or 'the login user'} with {key}",
            "put the public key into that user's ~/.ssh/authorized_keys, "
            f"or set ssh_key in {host.settings.cluster}'s inventory",
        )
    return CheckResult(
        "reach",
        False,
        f"{host.name} ({target}) cannot be reached: {seen.error}",
        "is it switched on, on this network, and its address right in the inventory?",
    )


def fit_checks(host: Host, seen: Observation) -> list[CheckResult]:
    """The declared model fits, before a byte of it is fetched; the deploy asks the same (deploys/vllm/deploy.py)."""
    check = fit_check(host.settings, (seen.facts.get("memory") or {}).get("total_bytes"))
    return [check] if check else []


def port_checks(host: Host, seen: Observation) -> list[CheckResult]:
    """Ports of services that are not running must be free on this node's address."""
    settings = host.settings
    running = {name for name, state in (seen.facts.get("services") or {}).items() if has_process(state)}
    wanted: dict[int, str] = {}
    for service in services(settings):
        wanted |= {} if service.name in running else service.ports
    checks = []
    sockets = (seen.facts.get("listening") or {}).get("sockets", [])
    for port, purpose in wanted.items():
        taken = [
            socket
            for socket in sockets
            if socket["port"] == port and socket["address"] in ("0.0.0.0", "::", settings.network.address)  # noqa: S104
        ]
        if taken:
            who = taken[0].get("process") or "another process"
            checks.append(
                CheckResult(
                    "port",
                    False,
                    f"{host.name}: port {port} on {taken[0]['address']}, for {purpose}, is taken by {who} "
                    f"(process {taken[0].get('process_id') or 'unknown'})",
                    "stop it (a second cluster on this machine? `cluster -c NAME down`), "
                    "or use another machine for this cluster",
                )
            )
    return checks or [CheckResult("port", True, f"{host.name}: ports are free or ours")]


def _model_directories(host: Host) -> list[str]:
    """Where weights have to be: all of them on the control node, a node's own where it does not share its files."""
    settings = host.settings
    if settings.is_control:
        return [application.model.directory for application in settings.applications]
    return [settings.mine.model.directory] if settings.mine and not settings.system.shared_files else []


def model_checks(host: Host, seen: Observation, command: str) -> list[CheckResult]:
    """A model directory is whole, or not there yet. A damaged one is never served: `up` mends it, one without manifest
    is somebody's and stays."""
    checks = []
    for directory in _model_directories(host):
        state = seen.facts.get(f"model {directory}")
        if not state:
            continue
        if state["state"] in ("whole", "missing"):
            checks.append(CheckResult("model", True, f"{host.name}: {directory} is {state['state']}"))
            continue
        detail = f"{host.name}: model {directory}: {'; '.join(state['problems'][:3])}"
        if state["state"] == "corrupt":
            checks.append(CheckResult(MENDED, False, detail, f"run `{command} up`, which mends it"))
            continue
        remedy = f"remove {directory} and run `{command} up`, which fetches it again"
        checks.append(CheckResult("model", False, detail, remedy))
    return checks


def disk_checks(host: Host, seen: Observation) -> list[CheckResult]:
    """Space for the runtime and the weights where they are not there yet."""
    disk, runtime = seen.facts.get("disk"), seen.facts.get("runtime")
    if not disk or not runtime or runtime["complete"]:
        return []
    free = int(disk["free_bytes"])
    ok = free >= _RUNTIME_BYTES
    wanted = _RUNTIME_BYTES // GIB
    detail = f"{host.name}: {disk['mount_point']} has {free / GIB:.1f} GiB free, the engine's runtime wants {wanted}"
    remedy = hosts.of(host.settings).more_space_remedy()
    return [CheckResult("disk", ok, detail, "" if ok else remedy)]


def library_checks(host: Host, seen: Observation) -> list[CheckResult]:
    """Libraries that we cannot install on a machine that we do not manage."""
    if "numa" not in seen.facts or host.settings.runtime.kind != "cpu":
        return []
    found = bool(seen.facts["numa"])
    detail = f"{host.name}: libnuma.so.1 is {'there' if found else 'missing, and vLLM on a CPU loads it'}"
    return [CheckResult("library", found, detail, "" if found else "install it, on Debian: apt-get install libnuma1")]


def system_checks(host: Host, seen: Observation) -> list[CheckResult]:
    """All that is installed exists for the system that the host has."""
    check = system_check(host.settings, seen.facts.get("host") or {}, seen.facts.get("apt_sources"))
    return [check] if check else []


def way_in_checks(host: Host, seen: Observation) -> list[CheckResult]:
    """The firewall that is about to be loaded leaves open what the operator comes in through."""
    if "way_in" not in seen.facts:
        return []
    said: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in seen.facts["way_in"].items()
    }
    return [way_in_check(host.name, WayInReport(**said), host.settings.way_in.ports, closed_ports(host.settings))]


def engine_memory_bytes(cluster: ClusterInventory, host: Host) -> int:
    """Memory that the engines of this host's machine will want, and whatever else of the cluster is on it."""
    machine = hosts.of(host.settings).machine
    here = [entry.settings for entry in cluster.hosts if hosts.of(entry.settings).machine == machine]
    engines = [host_bytes(settings.runtime.kind, _needed(settings)) for settings in here if settings.runs_engine]
    return sum(engines) + (HOST_RESERVE_BYTES if len(engines) < len(here) else 0)


def _needed(settings: Settings) -> int:
    """An engine's need by the judgement of fit; 0 where nobody knows, or nobody wants to."""
    return settings.fit.needed_bytes if settings.fit else 0
