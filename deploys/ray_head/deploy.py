"""ray_head: start the head, and wait until it answers."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy

from deploys import hosts, settings
from deploys.operations import managed, ready, service
from deploys.ray_head.declared import head_service


@deploy("Ray head")
def ray_head() -> None:
    """Unit, service, and the wait for its control store; for the control node."""
    here = settings.of(host)
    head = head_service(here)
    managed.write_files(name=f"Write Ray head unit on {here.node}", files=hosts.of(here).service_files(head))
    service.ensure_running(name=f"Start Ray head on {here.node}", settings=here, services=(head,))
    ready.wait_for_head(name=f"Wait until Ray head on {here.node} answers", settings=here)
