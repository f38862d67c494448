"""What a host's hardware is, against what was declared of it: its interface, its accelerators. Pure.

Asked by `up` before it changes anything, by `doctor` and by `verify`, of every host, in the same command as what they
ask anyway. The count of GPUs is the driver's and the PCI bus's, not what we told Ray.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from deploys import hosts
from facts.health.cpu import processor_check
from facts.health.gpu import agreement_check, gpu_checks, of_target, standing_checks, state_checks
from facts.health.network import find_interface, interface_checks, speed_check
from facts.health.npu import npu_checks
from facts.health.result import CheckResult
from facts.parse.cpu import CpuReport
from facts.parse.gpu import GpuReport
from facts.parse.network import InterfacesReport
from facts.parse.npu import NpuReport
from inventories.composition import machines
from operate.clusters import ClusterInventory, Host
from operate.runner import FactRequest, Observation

_GPUS = {"nvidia": "facts.nvidia.Gpus", "amd": "facts.amd.Gpus"}


def requests(host: Host) -> list[FactRequest]:
    """What is asked of a host each time. Nodes that share a machine's loopback have no interface of their own."""
    settings = host.settings
    asked = []
    if hosts.of(settings).has_own_system:
        asked.append(FactRequest("interfaces", "facts.network.Interfaces"))
    if settings.accelerators.vendor:
        asked.append(FactRequest("gpus", _GPUS[settings.accelerators.vendor]))
    return asked


def more_requests(host: Host) -> list[FactRequest]:
    """What only `doctor` asks: no deploy depends on it."""
    settings = host.settings
    asked = [FactRequest("npus", "facts.npu.Npus")] if hosts.of(settings).has_own_system else []
    if settings.runs_engine and settings.runtime.kind == "cpu":
        asked.append(FactRequest("cpu", "facts.cpu.Cpu"))
    return asked


def checks(cluster: ClusterInventory, found: Mapping[str, Observation]) -> list[CheckResult]:
    """Host by host, then the driver over all hosts with one."""
    results: list[CheckResult] = []
    versions: dict[str, dict[str, str]] = {}
    judged: set[str] = set()
    for host in cluster.hosts:
        seen, accelerators = found[host.name], host.settings.accelerators
        results += _interface_checks(cluster, host, seen)
        report = _gpus(host, seen)
        if report and (place := hosts.of(host.settings).machine) in judged:
            continue  # several nodes on one machine: its cards are judged once
        if report:
            judged.add(place)
            expected = sum(
                len(other.settings.accelerators.names)
                for other in cluster.hosts
                if hosts.of(other.settings).machine == place
            )
            if not hosts.of(host.settings).has_own_system:
                report = _enough_of(report, expected)
            results += standing_checks(
                host.name, report, expected_count=expected, expected_memory_bytes=accelerators.memory_bytes
            )
            if version := report.driver_version or report.loaded_driver_version:
                versions.setdefault(report.vendor, {})[host.name] = version
        elif accelerators.vendor and seen.connected:
            why = seen.errors.get("gpus", "not asked")
            results.append(CheckResult("gpu_tool", None, f"{host.name}: GPUs could not be read: {why}"))
    return results + [agreement_check(told, vendor) for vendor, told in versions.items() if len(told) > 1]


def more_checks(host: Host, seen: Observation) -> list[CheckResult]:
    """What is worth knowing of one host and stops nothing: readings, the cable's speed, heat, NPUs, the processor."""
    results: list[CheckResult] = []
    if report := _gpus(host, seen):
        told = {"gpu_tool", "gpu_count", "gpu_bus", "gpu_state", "gpu_mig", "gpu_memory"}
        all_checks = gpu_checks(host.name, report, expected_count=len(host.settings.accelerators.names))
        results += [check for check in all_checks if check.name not in told]
    results += _link_checks(host, seen)
    if "npus" in seen.facts:
        results += npu_checks(host.name, msgspec.convert(seen.facts["npus"], NpuReport))
    if "cpu" in seen.facts:
        results.append(processor_check(host.name, msgspec.convert(seen.facts["cpu"], CpuReport)))
    return results


def _link_checks(host: Host, seen: Observation) -> list[CheckResult]:
    """Whether the cable is as fast as the profile's link, by which the plan reckons."""
    network = host.settings.network
    declared = [
        int(link["bits_per_second"])
        for link in network.links
        if link["kind"] == "ethernet" and not link["optional"] and host.name in link["members"]
    ]
    if not declared or "interfaces" not in seen.facts:
        return []
    report = msgspec.convert(seen.facts["interfaces"], InterfacesReport)
    carrier = find_interface(report, network.address, network.interface)
    return [speed_check(host.name, carrier, max(declared))] if carrier else []


def _gpus(host: Host, seen: Observation) -> GpuReport | None:
    if "gpus" not in seen.facts:
        return None
    return of_target(msgspec.convert(seen.facts["gpus"], GpuReport), host.settings.accelerators.architecture)


def _enough_of(report: GpuReport, expected: int) -> GpuReport:
    """A machine that is not ours has cards that are others': where enough are sound, the rest is nobody's business."""
    sound = tuple(gpu for gpu in report.gpus if not state_checks("", gpu))
    if len(sound) < expected:
        return report
    return replace(report, gpus=sound[:expected], devices_on_pci_bus=expected, bus_addresses=(), bus_drivers=())


def _interface_checks(cluster: ClusterInventory, host: Host, seen: Observation) -> list[CheckResult]:
    if not (seen.connected and hosts.of(host.settings).has_own_system):
        return []
    if "interfaces" not in seen.facts:
        why = seen.errors.get("interfaces", "not asked")
        return [CheckResult("cluster_address", None, f"{host.name}: interfaces could not be read: {why}")]
    network = host.settings.network
    return interface_checks(
        host.name,
        msgspec.convert(seen.facts["interfaces"], InterfacesReport),
        network.address,
        declared=network.interface,
        declared_in=str(machines.path(cluster.name)),
    )
