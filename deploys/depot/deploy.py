"""depot: the control node hands runtime and weights to the compute nodes, where they have files of their own."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy

from deploys import hosts, settings
from deploys.depot.declared import depot_file, depot_service
from deploys.operations import managed, service


@deploy("Depot")
def depot() -> None:
    """Configuration and service; for a control node whose nodes do not share its files."""
    here = settings.of(host)
    if here.system.shared_files:
        return
    daemon = depot_service(here)
    unit = hosts.of(here).service_files(daemon)
    managed.write_files(
        name=f"Write depot configuration on {here.node}",
        files=(depot_file(here), *unit),
    )
    service.ensure_running(name=f"Start depot on {here.node}", settings=here, services=(daemon,))
