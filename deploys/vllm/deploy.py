"""vllm: weights, then the declared applications, then the wait until every engine has answered correctly."""

from __future__ import annotations

from pyinfra import host, logger
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from deploys import hosts, settings
from deploys.fit import fit_check
from deploys.operations import managed, model, ready, service
from deploys.vllm.declared import serve_file, serve_service
from facts.memory import Memory


def refuse_what_does_not_fit() -> None:
    """DeployError while the run is prepared, before anything is changed or fetched on any host."""
    here = settings.of(host)
    if here.fit is None:
        return
    known = here.fit.ok is not None or not here.fit.needed_bytes
    memory = None if known else host.get_fact(Memory)
    check = fit_check(here, memory.total_bytes if memory else None)
    if check and check.ok is False:
        raise DeployError(f"{check.detail}; {check.remedy}")
    if check and check.ok is None:
        logger.warning(check.detail)


@deploy("Weights")
def weights() -> None:
    """Fetch each model once on the control node, copy it to the nodes that run an engine of it."""
    here = settings.of(host)
    if here.is_control:
        for served in (application.model for application in here.applications):
            model.fetch(name=f"Fetch {served.name} to {here.node}", settings=here, model=served)
    elif here.mine and not here.system.shared_files:
        mine = here.mine.model
        model.copy_from_depot(name=f"Copy {mine.name} to {here.node}", settings=here, model=mine)


@deploy("vLLM on Ray Serve")
def vllm() -> None:
    """Topology, applications, proof; for the control node."""
    here = settings.of(host)
    ready.wait_for_nodes(name="Wait until Ray has exactly the declared nodes", settings=here)
    serve = serve_service(here)
    managed.write_files(
        name=f"Write Serve application on {here.node}", files=(serve_file(here), *hosts.of(here).service_files(serve))
    )
    service.ensure_running(name=f"Start Serve application on {here.node}", settings=here, services=(serve,))
    ready.wait_for_engines(name="Wait until every engine gave the golden answer", settings=here)
    ready.wait_for_gateway(name="Wait until the gateway has an engine of every model", settings=here)
