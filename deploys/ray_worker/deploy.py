"""ray_worker: start the worker and wait until it has joined; that all have is judged on the control node."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy

from deploys import hosts, settings
from deploys.operations import managed, ready, service
from deploys.ray_worker.declared import worker_service


@deploy("Ray worker")
def ray_worker() -> None:
    """Unit and service; for compute nodes."""
    here = settings.of(host)
    worker = worker_service(here)
    managed.write_files(name=f"Write Ray worker unit on {here.node}", files=hosts.of(here).service_files(worker))
    started = service.ensure_running(name=f"Start Ray worker on {here.node}", settings=here, services=(worker,))
    ready.wait_for_join(name=f"Wait until Ray knows the worker on {here.node}", settings=here, _if=started.did_change)
