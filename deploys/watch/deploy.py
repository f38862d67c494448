"""watch: the cluster's web page, served by the control node."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy

from deploys import hosts, settings
from deploys.operations import managed, service
from deploys.watch import declared


@deploy("Web page")
def watch() -> None:
    """Page, program, configuration and service; for the control node, after its runtime."""
    here = settings.of(host)
    page = declared.watch_service(here)
    unit = hosts.of(here).service_files(page)
    managed.write_files(name=f"Write web page on {here.node}", files=(*declared.files(here), *unit))
    service.ensure_running(name=f"Start web page on {here.node}", settings=here, services=(page,))
