"""What the depot declares: an rsync daemon and its configuration. Pure."""

from __future__ import annotations

from deploys.declaration import Role
from deploys.files import ManagedFile
from deploys.services.description import Service
from deploys.settings import Settings

DEPOT = "cluster-depot"


def depot_service(settings: Settings) -> Service:
    """Hands runtime and weights to the compute nodes, read-only, on the cluster's network."""
    wanted = depot_file(settings)
    return Service(
        name=DEPOT,
        description=f"Runtimes and weights of cluster {settings.cluster}, read-only",
        command=("/usr/bin/rsync", "--daemon", "--no-detach", f"--config={wanted.path}"),
        inputs=(wanted.sha256,),
        ports={settings.depot.port: "the depot"},
    )


def depot_file(settings: Settings) -> ManagedFile:
    """rsync's daemon configuration: two read-only modules for the compute nodes' addresses."""
    allowed = " ".join(address for node, address in settings.network.peers.items() if node != settings.control_node)
    text = "\n".join(
        [
            "# Managed by cluster.",
            f"address = {settings.network.address}",
            f"port = {settings.depot.port}",
            "use chroot = no",
            "read only = yes",
            "list = no",
            f"hosts allow = {allowed}",
            "",
            "[runtime]",
            f"path = {settings.directories.runtime}",
            "",
            "[models]",
            f"path = {settings.directories.models}",
            "",
        ]
    )
    return ManagedFile(f"{settings.directories.configuration}/rsyncd.conf", text, owner="root")


def services(settings: Settings) -> tuple[Service, ...]:
    """The daemon."""
    return (depot_service(settings),)


def files(settings: Settings) -> tuple[ManagedFile, ...]:
    """The daemon's configuration."""
    return (depot_file(settings),)


ROLE = Role(services=services, files=files)
