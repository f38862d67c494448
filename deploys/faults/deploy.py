"""What faults are done with, on the hosts where that is wanted: stress-ng, iptables for delays, libfaketime for clocks.

Not part of any role: a cluster that nobody breaks has none of it. Where one is missing, a fault does without it or says
so. Apply it alone: `pyinfra inventories/NAME.py deploys.faults.deploy.fault_tools`.
"""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.facts.deb import DebPackages
from pyinfra.operations import apt

from deploys import hosts, settings

PACKAGES = ["iptables", "libfaketime", "stress-ng"]


@deploy("Tools of faults")
def fault_tools() -> None:
    """Install them where the system is the cluster's; elsewhere the faults that need them are refused."""
    here = settings.of(host)
    if not hosts.of(here).has_own_system:
        return
    missing = set(PACKAGES) - set(host.get_fact(DebPackages))
    apt.packages(
        name=f"Install tools of faults on {here.node}",
        packages=PACKAGES,
        update=bool(missing),
        cache_time=7 * 86400,
        no_recommends=True,
        _timeout=600,
    )
