"""Whether a host keeps the names that it is given. Pure."""

from __future__ import annotations

from facts.health.result import CheckResult


def hosts_owner_check(node: str, cloud_init: str) -> CheckResult:
    """`cloud_init`: the file that tells it to write /etc/hosts at every boot, "" where none does."""
    if not cloud_init:
        return CheckResult("hosts_file", True, f"{node}: nothing else writes /etc/hosts")
    return CheckResult(
        "hosts_file",
        False,
        f"{node}: cloud-init writes /etc/hosts anew at every boot (manage_etc_hosts in {cloud_init}), without the "
        "cluster's names",
        f"say `manage_etc_hosts: false` in {cloud_init}, or in the machine's user data where it comes from there",
    )
