"""SSH to compute nodes through the control node, as an OpenSSH configuration that pyinfra and ssh both read. Pure.

The text is part of the host data; it is written into the cluster's state on the operator's machine when somebody
connects (ssh_files.py). The addresses in it come from the inventory, which stays their one owner.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from hardware.model import Cluster, ProfileError
from inventories.composition import ssh_files
from inventories.composition.compose import Site
from inventories.composition.netboot import Netboot
from inventories.composition.operator import cluster_directory
from inventories.composition.way_in import SSH_PORT, checked_port


def connections(
    cluster: Cluster,
    *,
    addresses: Mapping[str, str],
    login_user: str,
    control_host: str,
    name: str | None = None,
    ssh_key: str = "",
    known_hosts: str = "",
    ssh_port: int = SSH_PORT,
    control_port: int | None = None,
) -> dict[str, Any]:
    """Return connector data for every host, for Site(connection=...).

    `control_host` is where the operator reaches the control node, which need not be its cluster address. Host keys are
    accepted once and pinned in the cluster's own known-hosts file, unless `known_hosts` names one that is complete.
    `ssh_port`: where sshd listens on every host; `control_port`: where it is reached at `control_host`, if elsewhere.
    """
    if not control_host or control_host.startswith("-"):
        raise ProfileError(f"inventory {name or cluster.name}: control_host {control_host!r} is no host to connect to")
    directory = cluster_directory(name or cluster.name)
    strict = "yes" if known_hosts else "accept-new"
    known_hosts = known_hosts or str(directory / "known_hosts")
    lines = [
        "# Written by cluster from the inventory; changes are overwritten.",
        f"Host {cluster.control.name}",
        f"  HostName {control_host}",
        *_port_line(control_port or ssh_port),
        *(
            line
            for node in cluster.compute
            for line in (
                f"Host {node.name}",
                f"  HostName {addresses[node.name]}",
                *_port_line(ssh_port),
                f"  ProxyJump {login_user}@{cluster.control.name}",
            )
        ),
        "Host *",
        f"  User {login_user}",
        f"  UserKnownHostsFile {known_hosts}",
        f"  StrictHostKeyChecking {strict}",
        "  ConnectTimeout 8",
        *([f"  IdentityFile {ssh_key}"] if ssh_key else []),
    ]
    everyone: dict[str, Any] = {
        "ssh_user": login_user,
        "ssh_config_file": str(directory / "ssh_config"),
        ssh_files.CONFIGURATION: "\n".join(lines) + "\n",
        "ssh_known_hosts_file": known_hosts,
        "ssh_strict_host_key_checking": strict,
        "ssh_paramiko_connect_kwargs": {"banner_timeout": 10, "auth_timeout": 10},
        "_sudo": True,
        **({"ssh_key": ssh_key} if ssh_key else {}),
    }
    return everyone


def site(cluster: Cluster, addresses: Mapping[str, str], netboot: Netboot | None = None) -> Site:
    """A bare-metal site behind its control node, with the operator's own choices from the environment.

    CLUSTER_LOGIN_USER (default compute), CLUSTER_CONTROL_HOST (default the control node's name), CLUSTER_SSH_KEY,
    CLUSTER_SSH_PORT of every host's sshd (default 22), CLUSTER_CONTROL_PORT where the control host has another outside.
    ProfileError for a port that is none.
    """
    login_user = os.environ.get("CLUSTER_LOGIN_USER", "compute")
    return Site(
        login_user=login_user,
        connection=connections(
            cluster,
            addresses=addresses,
            login_user=login_user,
            control_host=os.environ.get("CLUSTER_CONTROL_HOST", cluster.control.name),
            ssh_key=os.environ.get("CLUSTER_SSH_KEY", ""),
            ssh_port=_port("CLUSTER_SSH_PORT") or SSH_PORT,
            control_port=_port("CLUSTER_CONTROL_PORT"),
        ),
        netboot=netboot,
    )


def _port_line(port: int) -> tuple[str, ...]:
    """Nothing for SSH's own port: pyinfra 3.10 takes a jump's port as text, and then wants the key of [NAME]:22."""
    return () if port == SSH_PORT else (f"  Port {port}",)


def _port(variable: str) -> int | None:
    said = os.environ.get(variable)
    return checked_port(said, variable) if said else None
