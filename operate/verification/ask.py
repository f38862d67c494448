"""Which facts the verification needs of each host. Pure."""

from __future__ import annotations

from deploys import hosts, runtime_lock
from deploys.compute_base.declared import secret_files
from deploys.compute_base.firewall import PROVEN_PATH
from deploys.gateway.configuration import gateway_socket
from deploys.roles import managed_files, services
from operate import machine
from operate.clusters import ClusterInventory
from operate.runner import FactRequest

PROOF_SECONDS = 20


def requests(cluster: ClusterInventory, *, full: bool) -> dict[str, list[FactRequest]]:
    """Facts by host. `full` reads every byte of the weights again."""
    return {host.name: _host_requests(cluster, host.name, full=full) for host in cluster.hosts}


def _host_requests(cluster: ClusterInventory, name: str, *, full: bool) -> list[FactRequest]:
    host = next(host for host in cluster.hosts if host.name == name)
    settings = host.settings
    kind = hosts.of(settings)
    paths = [file.path for file in managed_files(settings)] + list(secret_files(settings).values())
    asked = [
        FactRequest("services", "facts.services.Services", kind.states(services(settings))),
        FactRequest("files", "facts.files.Digests", {"paths": paths}),
        FactRequest("runtime", "facts.ray.Runtime", {"directory": runtime_lock.directory(settings)}),
        FactRequest("processes", "facts.vllm.Processes", {"node": settings.node, "cluster": settings.cluster}),
    ]
    asked += machine.requests(host)
    if kind.firewall:
        asked.append(FactRequest("firewall", "facts.services.FirewallRules", {"proven": PROVEN_PATH}))
    if kind.has_own_system:
        asked.append(FactRequest("names", "facts.names.Names"))
    if settings.mine:
        directory = settings.mine.model.directory
        asked.append(
            FactRequest("model", "facts.vllm.ModelDirectory", {"directory": directory, "full": full}, alone=full)
        )
    if settings.is_control:
        asked += [
            FactRequest("nodes", "facts.ray.Nodes", alone=True),
            FactRequest("serve", "facts.ray.Serve", alone=True),
            FactRequest("proofs", "facts.ray.Proofs", {"seconds": PROOF_SECONDS}, alone=True),
            FactRequest("gateway", "facts.gateway.Loaded", {"socket": gateway_socket(settings)}),
        ]
    return asked
