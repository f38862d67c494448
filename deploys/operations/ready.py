"""Wait until something holds, with a deadline; nothing to do when it holds already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import StringCommand

from deploys import hosts, shell
from deploys.compute_base.declared import CLUSTER_WAIT
from deploys.compute_base.programs.service_ends import SYSTEMD
from deploys.deadlines import ENGINES_SECONDS, GATEWAY_SECONDS, HEAD_SECONDS, nodes_seconds
from deploys.environment import ray_client
from deploys.gateway.configuration import health_of
from deploys.gateway.declared import GATEWAY
from deploys.library import start
from deploys.operations.service import restart
from deploys.ray_head.declared import HEAD
from deploys.ray_worker.declared import WORKER
from deploys.settings import Settings
from deploys.vllm.declared import SERVE
from facts.programs.engines import is_engine
from facts.ray import Nodes, Serve
from facts.reach import Answers, Reach

Commands = Generator[StringCommand, None, None]


def _waiting(settings: Settings, service: str, *arguments: str) -> list[str]:
    """The command that waits for what `service`, one of this host's, is to bring, word by word."""
    manager = hosts.of(settings).manager.state_directory or SYSTEMD
    dashboard = f"http://{settings.head_address}:{settings.ray.ports.dashboard}"
    return [*start("python3", CLUSTER_WAIT), manager, service, dashboard, *arguments]


def waiting_for_nodes(settings: Settings) -> list[str]:
    """The command that waits until Ray has exactly the declared nodes."""
    pairs = [f"{name}={address}" for name, address in settings.network.peers.items()]
    return _waiting(settings, HEAD, "nodes", str(nodes_seconds(len(pairs))), *pairs)


def waiting_for_engines(settings: Settings) -> list[str]:
    """The command that waits until every declared engine has given the golden answer."""
    wanted = [f"{name}={count}" for name, count in _engines(settings).items()]
    return _waiting(settings, SERVE, "engines", str(ENGINES_SECONDS), *wanted)


def waiting_for_gateway(settings: Settings) -> list[list[str]]:
    """The commands that wait until the gateway has seen an engine of each model."""
    return [_waiting(settings, GATEWAY, "gateway", str(GATEWAY_SECONDS), url) for url in health_of(settings)]


def _engines(settings: Settings) -> dict[str, int]:
    return {application.name: application.serving.replicas for application in settings.applications}


def _as_rays_client(settings: Settings, command: list[str]) -> StringCommand:
    environment = " ".join(shell.line(f"{key}={value}") for key, value in sorted(ray_client(settings).items()))
    return StringCommand(f"env {environment} {shell.line(*command)}")


@operation()
def wait_for_head(settings: Settings) -> Commands:
    """Wait until the head's dashboard answers, from the node that asks."""
    if host.get_fact(Reach, address=settings.head_address, port=settings.ray.ports.gcs) == "open":
        host.noop("the head answers")
        return
    place = f"{settings.head_address}:{settings.ray.ports.gcs}"
    yield _as_rays_client(settings, _waiting(settings, HEAD, "head", str(HEAD_SECONDS), place))


@operation()
def wait_for_join(settings: Settings) -> Commands:
    """Wait until Ray has this node; for a worker that was just started."""
    seconds = nodes_seconds(len(settings.network.peers))
    pair = f"{settings.node}={settings.network.address}"
    yield _as_rays_client(settings, _waiting(settings, WORKER, "joined", str(seconds), pair))


@operation()
def wait_for_nodes(settings: Settings) -> Commands:
    """Wait until Ray has exactly the declared nodes at the declared addresses; says which are missing or too many."""
    # While a first run is prepared the head is not up yet, and the report has no nodes.
    alive = {(node.name, node.address) for node in host.get_fact(Nodes).nodes if node.alive}
    if alive == set(settings.network.peers.items()):
        host.noop("Ray has exactly the declared nodes")
        return
    yield _as_rays_client(settings, waiting_for_nodes(settings))


@operation()
def wait_for_engines(settings: Settings) -> Commands:
    """Wait until every declared engine has given the golden answer, which is when Serve calls it running."""
    state = host.get_fact(Serve)
    wanted = _engines(settings)
    found = Counter(
        replica.application
        for replica in state.replicas
        if is_engine(replica.deployment) and replica.state == "RUNNING"
    )
    running = all(state.applications.get(name) == "RUNNING" for name in wanted)
    if running and all(found[name] == count for name, count in wanted.items()):
        host.noop("every engine has answered")
        return
    if any(state.applications.get(name) == "DEPLOY_FAILED" for name in wanted):
        yield from restart(settings, SERVE)  # it begins anew with an application that was given up
    yield _as_rays_client(settings, waiting_for_engines(settings))


@operation()
def wait_for_gateway(settings: Settings) -> Commands:
    """Wait until the gateway has seen an engine of every model that serves: before, the public API says 503."""
    if all(host.get_fact(Answers, url=url) == 200 for url in health_of(settings)):
        host.noop("the gateway has an engine of every model")
        return
    for command in waiting_for_gateway(settings):
        yield _as_rays_client(settings, command)
