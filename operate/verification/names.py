"""Whether /etc/hosts on a host has the cluster's names, and who else writes it. Pure."""

from __future__ import annotations

from deploys import hosts
from deploys.compute_base import names
from facts.health.result import CheckResult
from operate.clusters import Host
from operate.runner import Observation


def names_checks(host: Host, seen: Observation, up: str) -> list[CheckResult]:
    """Empty where the file is not ours to write."""
    if not hosts.of(host.settings).has_own_system:
        return []
    if "names" not in seen.facts:
        why = seen.errors.get("names", "not asked")
        return [CheckResult("names", None, f"{host.name}: {names.PATH} could not be read: {why}")]
    found = seen.facts["names"]
    if names.merged(found["hosts"], found["host_name"], host.settings) == found["hosts"]:
        return [CheckResult("names", True, f"{host.name}: {names.PATH} has the cluster's names")]
    cause = ""
    if found["cloud_init"]:
        cause = f": cloud-init writes it anew at every boot (manage_etc_hosts in {found['cloud_init']})"
        up = f"say `manage_etc_hosts: false` there, then {up}"
    return [CheckResult("names", False, f"{host.name}: {names.PATH} has not the cluster's names{cause}", up)]
