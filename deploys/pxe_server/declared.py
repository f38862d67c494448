"""What pxe_server declares: the boot server's two daemons, their confinement and their files.

Pure, but for the project's own files that are copied to the hosts.
"""

from __future__ import annotations

from deploys import library
from deploys.declaration import Role
from deploys.files import ManagedFile
from deploys.pxe_server.configuration import HTTP_USER, PLACE, boot_files, images_directory
from deploys.services.description import ROOT, Service
from deploys.settings import Settings

PROGRAM = "deploys.pxe_server.programs.cluster_netboot"
DHCP, HTTP = "cluster-netboot-dhcp", "cluster-netboot-http"

_CONFINED = (
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectControlGroups=yes",
    "ProtectClock=yes",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
)


def services(settings: Settings) -> tuple[Service, ...]:
    """HTTP first: a node that has an address asks for its script at once."""
    files = {file.path.rsplit("/", 1)[-1]: file for file in boot_files(settings)}
    # State of the cluster's service user is closed to others; both daemons see the images, and only these of it.
    images = images_directory(settings)
    return (
        Service(
            name=HTTP,
            description=f"Images and identities of cluster {settings.cluster} for nodes that boot",
            # nginx writes its title over its environment, where the digest of its configuration has to be read: so it
            # has a parent that keeps its own.
            command=("/bin/sh", "-c", f"/usr/sbin/nginx -e stderr -c {files['netboot-nginx.conf'].path} & wait $!"),
            inputs=(files["netboot-nginx.conf"].sha256,),
            user=HTTP_USER,
            confinement=(
                f"BindReadOnlyPaths={images}:{PLACE}/http/images",
                "RuntimeDirectory=cluster-netboot-http",
                "CapabilityBoundingSet=",
                "RestrictAddressFamilies=AF_INET AF_UNIX",
                *_CONFINED,
            ),
        ),
        Service(
            name=DHCP,
            description=f"DHCP and TFTP of cluster {settings.cluster} for nodes that boot",
            command=(
                "/usr/sbin/dnsmasq",
                "--keep-in-foreground",
                "--conf-file=" + files["dnsmasq.conf"].path,
                "--dhcp-leasefile=/var/lib/cluster-netboot-dhcp/leases",
                "--pid-file",
                "--log-facility=-",
            ),
            inputs=(files["dnsmasq.conf"].sha256,),
            user=ROOT,  # it binds ports 67 and 69 and goes on as the user dnsmasq
            confinement=(
                f"BindReadOnlyPaths={images}:{PLACE}/tftp/images",
                "StateDirectory=cluster-netboot-dhcp",
                "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW CAP_NET_BIND_SERVICE CAP_SETUID CAP_SETGID CAP_CHOWN",
                "RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_PACKET AF_UNIX",
                *_CONFINED,
            ),
        ),
    )


def files(settings: Settings) -> tuple[ManagedFile, ...]:
    """The daemons' configuration and the programs that choose and check images."""
    return (*boot_files(settings), *library.programs(settings, PROGRAM))


ROLE = Role(services=services, files=files)
