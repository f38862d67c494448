"""What the boot server's daemons are told: dnsmasq, nginx, GRUB, and the data of the choosing program. Pure.

DHCP answers known cards on the cluster's interface. iPXE comes over TFTP (for Secure Boot shim, GRUB and the kernel),
everything else over HTTP from the control node's cluster address.
"""

from __future__ import annotations

import ipaddress
import json

from deploys import templates
from deploys.files import ManagedFile
from deploys.pxe_server.settings import BootPlan
from deploys.settings import Settings

PLACE = "/var/lib/cluster-netboot"
HTTP_USER = "cluster-netboot"
LOG_TAG = "cluster_netboot"
LOADERS = {
    "undionly.kpxe": "/usr/lib/ipxe/undionly.kpxe",
    "snponly.efi": "/usr/lib/ipxe/snponly.efi",
    "shimx64.efi": "/usr/lib/shim/shimx64.efi.signed",
    "grubx64.efi": "/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed",
}


def netboot_of(settings: Settings) -> BootPlan:
    """The network boot of a control node that has one."""
    if settings.netboot is None:
        raise ValueError(f"{settings.node}: no network boot is declared")
    return settings.netboot


def images_directory(settings: Settings) -> str:
    """Where the control node keeps the images, by name."""
    return f"{settings.directories.state}/images"


def base_url(settings: Settings) -> str:
    """Where nodes fetch everything that is not TFTP."""
    return f"http://{settings.network.address}:{netboot_of(settings).http_port}"


def dnsmasq_text(settings: Settings) -> str:
    """dnsmasq's configuration: no DNS, one interface, known cards only."""
    return templates.render(
        __file__,
        "dnsmasq.conf.j2",
        interface=settings.network.interface,
        netboot=netboot_of(settings),
        network=ipaddress.IPv4Network(netboot_of(settings).network),
        place=PLACE,
        url=base_url(settings),
    )


def nginx_text(settings: Settings) -> str:
    """nginx's configuration: images for everybody on the network, a node's identity for that node's address alone."""
    return templates.render(
        __file__,
        "nginx.conf.j2",
        address=settings.network.address,
        log_tag=LOG_TAG,
        netboot=netboot_of(settings),
        place=PLACE,
        temporary="/run/cluster-netboot-http",
    )


def grub_text() -> str:
    """What signed GRUB reads first; it knows no HTTP, so a node's own menu and kernel come over TFTP too."""
    return templates.render(__file__, "grub.cfg.j2")


def choosing_text(settings: Settings) -> str:
    """Data of the program that writes each node's boot scripts, cluster_netboot.py."""
    netboot = netboot_of(settings)
    network = ipaddress.IPv4Network(netboot.network)
    machines = {
        machine.node: {
            "mac_address": machine.mac_address,
            "address": f"{machine.address}/{network.prefixlen}",
            "wake_on_lan": machine.wake_on_lan,
            "kernel_arguments": list(machine.kernel_arguments),
            "refused_packages": list(machine.refused_packages),
            "largest_load_bytes": machine.largest_load_bytes,
        }
        for machine in netboot.machines
    }
    value = {
        "cluster": settings.cluster,
        "place": PLACE,
        "images": images_directory(settings),
        "url": base_url(settings),
        "broadcast": str(network.broadcast_address),
        "router": netboot.router,
        "name_servers": list(netboot.name_servers),
        "login_user": settings.system.login_user,
        # Who may log in to the control node may log in to its nodes.
        "authorized_keys": f"~{settings.system.login_user}/.ssh/authorized_keys",
        "identity_group": HTTP_USER,
        "log_tag": LOG_TAG,
        "machines": machines,
    }
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


def boot_files(settings: Settings) -> tuple[ManagedFile, ...]:
    """Managed files of the boot server, but for its units and its program."""
    places = settings.directories.configuration
    return (
        ManagedFile(f"{places}/dnsmasq.conf", dnsmasq_text(settings), owner="root"),
        ManagedFile(f"{places}/netboot-nginx.conf", nginx_text(settings), owner="root"),
        ManagedFile(choosing_path(settings), choosing_text(settings), owner="root"),
        ManagedFile(f"{PLACE}/tftp/grub/grub.cfg", grub_text(), owner="root"),
    )


def choosing_path(settings: Settings) -> str:
    """Where the choosing program finds its data."""
    return f"{settings.directories.configuration}/netboot.json"
