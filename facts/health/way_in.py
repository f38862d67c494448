"""Whether the operator's own way in stays open when the firewall's rules are loaded. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from facts.health.result import CheckResult
from facts.parse.way_in import WayInReport


def way_in_check(
    node: str, report: WayInReport, declared: Iterable[int], closed: Iterable[tuple[int, int]]
) -> CheckResult:
    """`declared`: ports that the inventory connects to. `closed`: first and last of those for the cluster's hosts only.

    The port at which the present connection arrived is let in whatever the inventory says, but for one that is closed.
    """
    ports = sorted(declared)
    named = ", ".join(map(str, ports))
    if report.port is None:
        if not report.listening:
            detail = f"{node}: by which port we come in cannot be told; the firewall lets in {named}"
            return CheckResult("way_in", None, detail, "set ssh_port in the inventory to sshd's port")
        if set(ports) & set(report.listening):
            return CheckResult("way_in", True, f"{node}: sshd listens on port {named}, which is let in")
        found = ", ".join(map(str, report.listening))
        return CheckResult(
            "way_in",
            False,
            f"{node}: the firewall would let in port {named}, and sshd listens on {found}",
            f"set ssh_port={report.listening[0]} in the inventory",
        )
    over = f"over {report.interface}" if report.interface else f"to {report.address}"
    for first, last in closed:
        if first <= report.port <= last:
            return CheckResult(
                "way_in",
                False,
                f"{node}: sshd takes our connection at port {report.port}, which is one of the cluster's own "
                f"({first} to {last}) and closed to everybody else",
                "let sshd listen on another port",
            )
    elsewhere = "" if report.port in ports else f" (the inventory connects to {named}; both are let in)"
    return CheckResult("way_in", True, f"{node}: we come in {over} at port {report.port}{elsewhere}")
