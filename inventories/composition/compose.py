"""Turns a hardware profile, addresses and a few choices into pyinfra groups of plain data.

Every host gets one key, `settings`, that deploys/settings.py parses; the rest is for pyinfra's own connectors.
ProfileError says what does not fit together before anything connects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeVar

from hardware.model import Cluster, Node, ProfileError, check_address
from inventories.composition import chosen, machines, members, ssh_files
from inventories.composition.layout import (
    DEPOT_PORT,
    PLACES,
    RAY_PORTS,
    TELEMETRY_PORTS,
    ServiceManager,
    port_ranges,
)
from inventories.composition.members import Members
from inventories.composition.netboot import Netboot, boot_plan
from inventories.composition.operator import package_sources, secret_path
from inventories.composition.serving import API_PORT, Application, Gateway, Serving, applications, limits_of, node_fit
from inventories.composition.way_in import way_in

__all__ = ["API_PORT", "DEPOT_PORT", "RAY_PORTS", "Gateway", "Group", "Serving", "Site", "compose"]

Value = TypeVar("Value")
Group = list[tuple[str, dict[str, Any]]]

# vLLM binds an engine's threads to the machine's first processors, and several engines on one machine to the same ones:
# a start then got one percent of a processor while another was idle.
_UNBOUND = {"VLLM_CPU_OMP_THREADS_BIND": "nobind"}

_RUNTIME_PYTHON = {"cpu": "3.11", "cuda": "3.12", "rocm": "3.12"}


@dataclass(frozen=True)
class Site:
    """How the hosts are reached and kept, apart from what they are.

    `service_manager`: systemd on hosts whose whole system is the cluster's; supervisor for nodes that are processes in
    the operator's own account; compose for containers. Only the first changes users, time, limits, name resolution and
    firewall. `shared_files`: the nodes see one file system with runtime and model on it.
    `shared_processors`: the nodes are one machine's, whose scheduler has to place their engines' threads.
    `netboot`: the control node boots the compute nodes; None where each starts from its own disk. `new_nodes`: how
    `cluster nodes add N` makes compute nodes: as processes of this machine, which the inventory reads from the record
    of members; as hosts of the lab; or not. `most_nodes`: how many there can be; 0 is as many as the machine bears.
    `let_in`: ports of the operator's own services that the firewall leaves open on the cluster's interface, each as in
    udp/51820.
    `control_store`: where the Ray head remembers nodes, actors and applications. From disk it knows them again after a
    crash of the control node, and the engines live through it; in memory they all begin anew.
    `telemetry`: what is kept of the cluster between experiments. metrics: Prometheus and node exporters, on hosts with
    systemd, for `telemetry_days`; traces: those, and a span of each request from its engine.
    """

    login_user: str
    service_manager: ServiceManager = "systemd"
    service_user: str = "cluster"
    shared_files: bool = False
    connection: Mapping[str, Any] = field(default_factory=dict)
    connector: str = ""
    use_operator_package_sources: bool = False
    shared_processors: bool = False
    netboot: Netboot | None = None
    new_nodes: Literal["none", "processes", "lab_hosts"] = "none"
    most_nodes: int = 0
    let_in: tuple[str, ...] = ()
    control_store: Literal["disk", "memory"] = "disk"
    telemetry: Literal["none", "metrics", "traces"] = "none"
    telemetry_days: int = 15


def compose(
    cluster: Cluster,
    *,
    addresses: Mapping[str, str],
    serving: Serving | Sequence[Serving],
    site: Site,
    name: str | None = None,
    connections: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[Group, Group]:
    """Return (control, compute) groups for an inventory module.

    `addresses` is the one address plan: each node's address on the cluster's own network. `connections` adds pyinfra
    connector data for single hosts, such as an ssh_hostname that differs from the cluster address. `serving` may be
    several models: the first answers requests that name none.
    """
    servings = (serving,) if isinstance(serving, Serving) else tuple(serving)
    name = name or cluster.name
    choice = chosen.read(name)
    servings = chosen.apply(servings, choice)
    telemetry = (choice.telemetry if choice else None) or site.telemetry
    if telemetry not in ("none", "metrics", "traces"):
        raise ProfileError(f"inventory {name}: telemetry {telemetry!r}; give none, metrics or traces")
    whole, present = machines.fill_in(name, cluster), members.read(name)
    everyone = whole.compute
    cluster = _present(name, whole, present)
    missing = [node.name for node in cluster.nodes if node.name not in addresses]
    if missing:
        raise ProfileError(f"inventory {name}: no address for {', '.join(missing)}; add it to the address plan")
    for node in cluster.nodes:
        check_address(addresses[node.name], f"inventory {name}: {node.name}")
    used = [addresses[node.name] for node in cluster.nodes]
    twice = sorted({address for address in used if used.count(address) > 1})
    if twice:
        raise ProfileError(
            f"inventory {name}: {', '.join(twice)} given to more than one node; each needs its own address"
        )

    # A node that was taken out boots all the same: it has to come up to be repaired.
    boot = boot_plan(name, whole, addresses, site.netboot) if site.netboot else None
    # A node keeps its ports whoever else is there.
    index_of = {node.name: index for index, node in enumerate((cluster.control, *everyone))}
    served = applications(name, servings, everyone, present.out)
    application_of = {node.name: application for application in served for node in application.nodes}
    places = PLACES[site.service_manager]
    models = places.directories(name, cluster.control.name)["models"]
    peers = {node.name: addresses[node.name] for node in cluster.nodes}
    links = [
        {
            "kind": link.kind,
            "members": list(link.members),
            "bits_per_second": link.bits_per_second.value,
            "optional": link.optional,
        }
        for link in cluster.links
    ]
    shared = {
        "cluster": name,
        "profile": f"{cluster.name} {cluster.version}",
        "control_node": cluster.control.name,
        "system": {
            "login_user": site.login_user,
            "service_user": site.service_user,
            "service_manager": site.service_manager,
            "shared_files": site.shared_files,
            "shared_machine": site.shared_processors,
            "new_nodes": site.new_nodes,
            "most_nodes": site.most_nodes,
            "package_sources": package_sources() if site.use_operator_package_sources else {},
        },
        "depot": {"port": DEPOT_PORT},
        "runtime": {"kind": cluster.runtime_kind, "python": _RUNTIME_PYTHON[cluster.runtime_kind]},
        "applications": [_application(application, cluster, models) for application in served],
        "gateway": {
            **asdict(servings[0].gateway),
            "names": list(servings[0].gateway.names),
            "port": servings[0].api_port,
            "engine_ports": {
                node.name: list(range(ports["engine_first"], ports["engine_last"] + 1))
                for node in cluster.compute
                if node.name in application_of and node.name not in present.draining
                for ports in [places.ports(index_of[node.name])]
            },
        },
        "watch": {
            "accelerators": {node.name: [part.name for part in node.accelerators] for node in cluster.nodes},
        },
        "observability": {"kind": telemetry, "retention_days": site.telemetry_days, **TELEMETRY_PORTS},
        "netboot": boot,
        "secrets": {secret: str(secret_path(name, secret)) for secret in ("ray-token", "api-key")},
    }

    def host(node: Node) -> tuple[str, dict[str, Any]]:
        mine = application_of.get(node.name)
        reached = {**site.connection, **(connections or {}).get(node.name, {})}
        own_ports = places.ports(index_of[node.name])
        telemetry_ports = [(port, port) for port in TELEMETRY_PORTS.values() if telemetry != "none"]
        settings = {
            **shared,
            "node": node.name,
            "role": node.role,
            "network": {
                "address": addresses[node.name],
                "interface": node.cluster_interface,
                "peers": peers,
                "links": links,
            },
            # Only a firewall of ours could close it.
            "way_in": way_in(
                f"inventory {name}",
                node.name,
                reached,
                site.let_in,
                [*port_ranges(own_ports), (DEPOT_PORT, DEPOT_PORT), *telemetry_ports]
                if site.service_manager == "systemd"
                else [],
            ),
            "directories": places.directories(name, node.name),
            "accelerators": {
                "names": [part.name for part in node.engine_accelerators],
                "vendor": _shared([part.vendor for part in node.engine_accelerators], ""),
                "architecture": _shared([part.architecture for part in node.engine_accelerators], ""),
                "memory_bytes": _shared(
                    [
                        0 if part.shares_system_memory else int(part.memory_bytes.value)
                        for part in node.engine_accelerators
                    ],
                    0,
                ),
                "kernel_arguments": [
                    argument for part in node.engine_accelerators for argument in part.kernel_arguments
                ],
                "environment": {
                    **{key: value for part in node.engine_accelerators for key, value in part.environment},
                    **(_UNBOUND if site.shared_processors else {}),
                },
            },
            "fit": node_fit(mine, node, served, alone=not site.shared_processors) if mine else None,
            "ray": {
                # Ray's CPUs are slots, not cores: an engine replica takes two, the ingress half of one.
                "cpus": 0 if node.role == "control" else 4,
                "gpus": len(node.engine_accelerators) if node.role == "compute" else 0,
                "engine_slots": 1 if mine else 0,
                "object_store_bytes": 100_000_000,
                "ports": own_ports,
                "control_store": site.control_store,
            },
        }
        # Hosts that are reached by an SSH configuration of ours have the connector that writes it.
        connector = site.connector or ("jump" if ssh_files.CONFIGURATION in site.connection else "")
        target = f"@{connector}/{node.name}" if connector else node.name
        return target, {**reached, "settings": settings}

    hosts = [host(node) for node in cluster.nodes]
    return hosts[:1], hosts[1:]


def _shared(values: Sequence[Value], none: Value) -> Value:
    """What all have; `none` where there are none, or they differ."""
    return values[0] if values and all(value == values[0] for value in values) else none


def _application(application: Application, cluster: Cluster, models: str) -> dict[str, Any]:
    """Plain data of one served model: what it is, how its engines run, and on which nodes."""
    model = application.model.to_settings()  # its own name may differ: a hub id or a path is no directory name
    return {
        # As Ray Serve knows it, by the rule that Ray Serve LLM has for deployments.
        "name": model["name"].replace("/", "--").replace(".", "_"),
        "model": {
            **model,
            "directory": f"{models}/{model['name']}",
            "dtypes": list(application.model.dtypes_on(cluster.runtime_kind)),
            "limits": limits_of(application),
        },
        "serving": dict(application.plan),
        "nodes": [node.name for node in application.nodes],
    }


def _present(name: str, cluster: Cluster, present: Members) -> Cluster:
    """The profile without the nodes that were taken out; ProfileError when none is left."""
    left = tuple(node for node in cluster.compute if node.name not in present.out)
    if not left:
        raise ProfileError(
            f"inventory {name}: every compute node was taken out; take {cluster.compute[0].name} out of `out` in "
            f"{members.path(name)}"
        )
    names = {node.name for node in (cluster.control, *left)}
    links = (
        replace(link, members=tuple(member for member in link.members if member in names)) for link in cluster.links
    )
    return replace(cluster, compute=left, links=tuple(link for link in links if len(link.members) > 1))
