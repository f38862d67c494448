"""What the boot server's daemons are told: dnsmasq, nginx, GRUB, and the data of the choosing program. Pure.

DHCP answers known cards on the cluster's interface. iPXE comes over TFTP (for Secure Boot shim, GRUB and the kernel),
everything else over HTTP from the control node's cluster address.
"""

from __future__ import annotations

import ipaddress
import json

from deploys.files import ManagedFile
from deploys.pxe_server.settings import BootPlan, Machine
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
    netboot = netboot_of(settings)
    network = ipaddress.IPv4Network(netboot.network)
    scope = "proxy" if netboot.proxy else "static"
    lines = [
        "# Managed by cluster.",
        "port=0",
        f"interface={settings.network.interface}",
        "except-interface=lo",
        "bind-interfaces",
        "no-ping",
        "log-dhcp",
        f"dhcp-range={network.network_address},{scope},{network.netmask}" + ("" if netboot.proxy else ",12h"),
        "dhcp-ignore=tag:!known",
        "enable-tftp",
        f"tftp-root={PLACE}/tftp",
    ]
    if not netboot.proxy:
        # Without a value none is sent; without the line dnsmasq would name itself.
        lines += [
            ",".join(("dhcp-option=option:router", *filter(None, [netboot.router]))),
            ",".join(("dhcp-option=option:dns-server", *netboot.name_servers)),
        ]
    lines += [
        "dhcp-match=set:ipxe,175",
        "dhcp-match=set:bios,option:client-arch,0",
        "dhcp-match=set:efi,option:client-arch,7",
        "dhcp-match=set:efi,option:client-arch,9",
    ]
    for machine in netboot.machines:
        tags = f"set:{machine.node}" + (",set:signed" if machine.secure_boot else "")
        lines.append(f"dhcp-host={machine.mac_address},{tags},{machine.address},{machine.node}")
    lines += _loaders(settings, netboot)
    return "\n".join(lines) + "\n"


def _loaders(settings: Settings, netboot: BootPlan) -> list[str]:
    scripts = [
        f"dhcp-boot=tag:ipxe,tag:{machine.node},{base_url(settings)}/nodes/{machine.node}/start.ipxe"
        for machine in netboot.machines
    ]
    if not netboot.proxy:
        return [
            "dhcp-boot=tag:bios,tag:!ipxe,undionly.kpxe",
            "dhcp-boot=tag:efi,tag:!ipxe,tag:!signed,snponly.efi",
            "dhcp-boot=tag:efi,tag:!ipxe,tag:signed,shimx64.efi",
            *scripts,
        ]
    return [
        'pxe-prompt="cluster",0',
        'pxe-service=tag:!ipxe,x86PC,"cluster",undionly.kpxe',
        *(
            f'pxe-service=tag:!ipxe,tag:{sign},{architecture},"cluster",{loader}'
            for architecture in ("X86-64_EFI", "BC_EFI")
            for sign, loader in (("!signed", "snponly.efi"), ("signed", "shimx64.efi"))
        ),
        *scripts,
    ]


def nginx_text(settings: Settings) -> str:
    """nginx's configuration: images for everybody on the network, a node's identity for that node's address alone."""
    netboot = netboot_of(settings)
    temporary = "/run/cluster-netboot-http"
    identities = "".join(_identity(machine) for machine in netboot.machines)
    return f"""\
# Managed by cluster.
daemon off;
pid {temporary}/pid;
error_log stderr warn;
worker_processes auto;
events {{ worker_connections 1024; }}
http {{
    log_format line '$remote_addr $request_method $request_uri $status $body_bytes_sent';
    access_log syslog:server=unix:/dev/log,nohostname,tag={LOG_TAG} line;
    client_body_temp_path {temporary}/body;
    proxy_temp_path {temporary}/proxy;
    fastcgi_temp_path {temporary}/fastcgi;
    uwsgi_temp_path {temporary}/uwsgi;
    scgi_temp_path {temporary}/scgi;
    default_type application/octet-stream;
    server_tokens off;
    sendfile on;
    tcp_nopush on;
    send_timeout 30s;
    server {{
        listen {settings.network.address}:{netboot.http_port};
        root {PLACE}/http;
        if ($request_method !~ ^(GET|HEAD)$) {{ return 405; }}
        location /images/ {{ }}
        location /nodes/ {{ }}
        location /report/ {{ default_type text/plain; return 200 "noted\\n"; }}
{identities}        location / {{ return 404; }}
    }}
}}
"""


def _identity(machine: Machine) -> str:
    return f"        location /identity/{machine.node}/ {{ allow {machine.address}; deny all; }}\n"


def grub_text() -> str:
    """What signed GRUB reads first; it knows no HTTP, so a node's own menu and kernel come over TFTP too."""
    return (
        "# Managed by cluster.\n"
        "set timeout=0\n"
        "configfile /by-mac/$net_default_mac/grub.cfg\n"
        'echo "the control node has no image for this node: cluster netboot use NAME"\n'
        "sleep 10\n"
        "reboot\n"
    )


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
