"""Judgements over what the hosts said, against what was declared. Pure, but for reading the operator's copy of secrets.

Each check names the host first: whoever reads only the failures knows where to go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploys import hosts, runtime_lock
from deploys.compute_base.declared import secret_files
from deploys.gateway.configuration import digest
from deploys.gateway.declared import gateway_file
from deploys.ray_worker.declared import WORKER
from deploys.roles import managed_files, services
from facts.health.result import CheckResult
from facts.health.services import condition, read_log, trouble
from operate import machine
from operate.clusters import ClusterInventory, Host
from operate.preflight import reach_check
from operate.runner import Observation
from operate.verification.names import names_checks


def judge(cluster: ClusterInventory, found: Mapping[str, Observation]) -> list[CheckResult]:
    """All checks, host by host, then the cluster as Ray sees it, then the answers."""
    up = f"run `{cluster.command} up`"
    checks: list[CheckResult] = []
    for host in cluster.hosts:
        seen = found[host.name]
        checks.append(reach_check(host, seen))
        if seen.connected:
            checks += service_checks(host, seen, up)
            checks += file_checks(host, seen, up)
            checks += names_checks(host, seen, up)
            checks += runtime_checks(host, seen, up)
            checks += model_checks(host, seen, up)
            checks += engine_place_checks(host, seen, cluster.command)
    checks += [
        replace(check, remedy=cluster.named(check.remedy))
        for check in machine.checks(cluster, found)
        if check.ok is not None or check.name in ("gpu_tool", "gpu_count", "cluster_address")
    ]
    control = found[cluster.control.name]
    if control.connected:
        checks += topology_checks(cluster, control, up)
        checks += gateway_checks(cluster.control, control, up)
        checks += application_checks(cluster, control, up)
        checks += proof_checks(cluster, control)
    else:
        name = cluster.control.name
        checks.append(
            CheckResult("topology", None, f"{name}: Ray's nodes could not be asked for, it does not answer", up)
        )
    return checks


def _unread(host: Host, seen: Observation, key: str) -> list[CheckResult]:
    why = seen.errors.get(key, "not read")
    return [CheckResult(key, None, f"{host.name}: {key} could not be read: {why}")]


def service_checks(host: Host, seen: Observation, up: str) -> list[CheckResult]:
    """Declared services run, start at boot, and run with the declared configuration."""
    if "services" not in seen.facts:
        return _unread(host, seen, "services")
    checks = []
    for service in services(host.settings):
        state = seen.facts["services"].get(service.name) or {}
        problem = trouble(state)
        if not problem and not state.get("enabled"):
            problem = "does not start at boot"
        elif not problem and state.get("configuration") != service.digest:
            problem = "runs with another configuration than the declared one"
        detail = f"{host.name}: {service.name} {problem or 'runs as declared'}"
        log = hosts.of(host.settings).manager.log(service.name)
        remedy = read_log(host.name, log) if condition(state) == "restarting" else up
        checks.append(CheckResult("service", not problem, detail, remedy if problem else ""))
    return checks


def file_checks(host: Host, seen: Observation, up: str) -> list[CheckResult]:
    """Managed files and secrets are as declared; loaded firewall rules are those of the file."""
    if "files" not in seen.facts:
        return _unread(host, seen, "files")
    found, wrong = seen.facts["files"], []
    files = managed_files(host.settings)
    for file in files:
        state = found.get(file.path)
        if state is None:
            wrong.append(f"{file.path} is missing")
        elif state["sha256"] != file.sha256:
            wrong.append(f"{file.path} differs from the declared one")
        elif state["mode"] != file.mode or (file.owner and state["owner"] != file.owner):
            wrong.append(
                f"{file.path} is {state['mode']} {state['owner']} instead of {file.mode} {file.owner}".rstrip()
            )
    for secret, path in secret_files(host.settings).items():
        state = found.get(path)
        if state is None or state["mode"] != "0400":
            wrong.append(f"secret {path} is {'missing' if state is None else 'readable by others'}")
        elif not _same_secret(host.settings.secrets[secret], state["sha256"]):
            wrong.append(f"secret {path} is not this machine's copy")
    if (firewall := hosts.of(host.settings).firewall) and seen.facts.get("firewall") != firewall:
        wrong.append("the loaded firewall rules are not the declared ones")
    if not wrong:
        return [CheckResult("configuration", True, f"{host.name}: {len(files)} files are as declared")]
    return [CheckResult("configuration", False, f"{host.name}: {what}", up) for what in wrong]


def _same_secret(local: str, sha256: str) -> bool:
    try:
        return hashlib.sha256(Path(local).read_bytes()).hexdigest() == sha256
    except OSError:
        return False


def runtime_checks(host: Host, seen: Observation, up: str) -> list[CheckResult]:
    """The locked runtime is whole, and the Ray in it is the locked one."""
    if "runtime" not in seen.facts:
        return _unread(host, seen, "runtime")
    runtime, lock = seen.facts["runtime"], runtime_lock.load(host.settings.runtime)
    if not runtime["complete"]:
        return [CheckResult("runtime", False, f"{host.name}: runtime {runtime['name']} is not whole", up)]
    if runtime["ray_version"] != lock.ray_version:
        detail = (
            f"{host.name}: Ray {runtime['ray_version'] or 'unknown'} instead of {lock.ray_version} in {runtime['name']}"
        )
        remedy = f"remove {host.settings.directories.runtime}/{runtime['name']} on {host.name} and {up}"
        return [CheckResult("runtime", False, detail, remedy)]
    return [CheckResult("runtime", True, f"{host.name}: Ray {lock.ray_version} in {runtime['name']}")]


def model_checks(host: Host, seen: Observation, up: str) -> list[CheckResult]:
    """Weights on a node with an engine are whole."""
    if not host.settings.mine:
        return []
    if "model" not in seen.facts:
        return _unread(host, seen, "model")
    state, directory = seen.facts["model"], host.settings.mine.model.directory
    if state["state"] == "whole":
        return [CheckResult("model", True, f"{host.name}: {directory} is whole ({state['bytes'] / 1e6:.0f} MB)")]
    said = "; ".join(state["problems"][:3]) or state["state"]
    remedy = f"{up}, which mends it" if state["state"] == "corrupt" else f"remove it there and {up}"
    return [CheckResult("model", False, f"{host.name}: {directory}: {said}", remedy)]


def engine_place_checks(host: Host, seen: Observation, command: str) -> list[CheckResult]:
    """No engine process where none is declared; above all, the head loads no model."""
    if "processes" not in seen.facts:
        return _unread(host, seen, "processes")
    engines = seen.facts["processes"]["engines"]
    if engines and not host.settings.runs_engine:
        detail = f"{host.name}: runs an engine ({engines[0][:60]}) and none is declared there"
        return [CheckResult("placement", False, detail, f"`{command} down`, then `{command} up`")]
    used = seen.facts["processes"]["total_bytes"] / 1024**3
    what = "an engine" if host.settings.runs_engine else "no model"
    return [CheckResult("placement", True, f"{host.name}: {what}, {used:.2f} GiB resident")]


def topology_checks(cluster: ClusterInventory, control: Observation, up: str) -> list[CheckResult]:
    """Ray's nodes are the inventory's: name, address, CPUs, GPUs, engine slots; missing, extra and wrong each named."""
    name = cluster.control.name
    if "nodes" not in control.facts:
        return _unread(cluster.control, control, "nodes")
    report = control.facts["nodes"]
    if report["unreachable"]:
        return [CheckResult("topology", False, f"{name}: Ray does not answer: {report['unreachable']}", up)]
    alive = [node for node in report["nodes"] if node["alive"]]
    declared = {host.name: host.settings for host in cluster.hosts}
    checks = []
    for host_name, settings in declared.items():
        mine = [node for node in alive if node["name"] == host_name]
        if not mine:
            dead = [node for node in report["nodes"] if node["name"] == host_name]
            why = f", which Ray calls dead: {dead[-1]['why_dead']}" if dead and dead[-1]["why_dead"] else ""
            checks.append(CheckResult("topology", False, f"{host_name}: missing from Ray's nodes{why}", up))
            continue
        node = mine[0]
        wanted = {
            "address": settings.network.address,
            "cpus": float(settings.ray.cpus),
            "gpus": float(settings.ray.gpus),
            "engine_slots": float(settings.ray.engine_slots),
        }
        wrong = [f"{key} {node[key]} instead of {value}" for key, value in wanted.items() if node[key] != value]
        if node["head"] != settings.is_control:
            wrong.append("is the head" if node["head"] else "is not the head")
        detail = f"{host_name}: in Ray with {', '.join(wrong)}" if wrong else f"{host_name}: in Ray as declared"
        checks.append(CheckResult("topology", not wrong, detail, up if wrong else ""))
    counted: set[str] = set()
    for node in alive:
        extra = node["name"] not in declared or node["name"] in counted
        counted.add(node["name"])
        if extra:
            detail = f"{node['name'] or 'a node'} ({node['address']}): in Ray and not in the inventory"
            checks.append(CheckResult("topology", False, detail, "stop Ray there, or add the node to the inventory"))
    return checks


def gateway_checks(host: Host, seen: Observation, up: str) -> list[CheckResult]:
    """The gateway has loaded the declared configuration: a file that was written and not loaded serves nobody."""
    if "gateway" not in seen.facts:
        return _unread(host, seen, "gateway")
    loaded, declared = seen.facts["gateway"], digest(gateway_file(host.settings).content)
    if loaded == declared:
        return [CheckResult("gateway", True, f"{host.name}: the gateway runs with the declared configuration")]
    what = "with another configuration than the declared one" if loaded else "not, or does not answer on its socket"
    return [CheckResult("gateway", False, f"{host.name}: the gateway runs {what}", up)]


def application_checks(cluster: ClusterInventory, control: Observation, up: str) -> list[CheckResult]:
    """Serve calls every declared application running."""
    if "serve" not in control.facts:
        return _unread(cluster.control, control, "serve")
    state, name = control.facts["serve"], cluster.control.name
    checks = []
    for application in cluster.control.settings.applications:
        known = state["applications"]
        status = known.get(application.name, "NOT_STARTED" if known else state["status"])
        if status == "RUNNING":
            checks.append(CheckResult("application", True, f"{name}: Serve runs {application.model.name} as declared"))
            continue
        said = f": {' '.join(state['message'].split())[:200]}" if state["message"] and status == state["status"] else ""
        detail = f"{name}: Serve says {status} of {application.model.name}{said}"
        checks.append(CheckResult("application", False, detail, up))
    return checks


def _restart(cluster: ClusterInventory, node: str) -> str:
    manager = hosts.of(cluster.control.settings).manager
    return f"restart it: {manager.restart_remedy(WORKER, node, cluster.command)}"


def proof_checks(cluster: ClusterInventory, control: Observation) -> list[CheckResult]:
    """Every declared engine gave its model's golden answer, on its own node; no engine elsewhere."""
    if "proofs" not in control.facts:
        return _unread(cluster.control, control, "proofs")
    report = control.facts["proofs"]
    if report["unreachable"]:
        detail = f"{cluster.control.name}: engines could not be asked: {report['unreachable']}"
        return [CheckResult("answer", None, detail)]
    proofs: Sequence[Mapping[str, Any]] = report["proofs"]
    checks = []
    applications = cluster.control.settings.applications
    engines = {host.name for host in cluster.hosts if host.settings.runs_engine}
    for proof in proofs:
        node = proof["node"] or proof["address"] or "an unknown node"
        if node not in engines:
            detail = f"{node}: an engine answers there and none is declared"
            restart = f"`{cluster.command} down`, then `{cluster.command} up`"
            checks.append(CheckResult("answer", False, detail, restart))
        elif proof["correct"]:
            who = f"{proof['model']} answered" if len(applications) > 1 else "answered"
            detail = f"{node}: {who} {proof['answer'].strip()!r} in {proof['seconds']:.2f} s"
            checks.append(CheckResult("answer", True, detail))
        else:
            detail = f"{node}: engine gives no right answer: {proof['detail']}"
            checks.append(CheckResult("answer", False, detail, _restart(cluster, node)))
    heard = {proof["node"] for proof in proofs}
    silent = engines - heard
    for application in applications:
        if application.serving.mode == "span" and heard & set(application.nodes):
            silent -= set(application.nodes)  # one engine over all of them answers from one
    for node in sorted(silent):
        checks.append(
            CheckResult("answer", False, f"{node}: no engine answers there", f"see `{cluster.command} status`")
        )
    return checks
