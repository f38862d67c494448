"""pxe_server: DHCP or proxy DHCP, TFTP and HTTP on the control node, for the nodes whose MAC address is known."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.facts.deb import DebPackages
from pyinfra.operations import apt, files, server

from deploys import hosts, settings
from deploys.operations import account, managed, netboot, service, stage
from deploys.pxe_server import declared
from deploys.pxe_server.configuration import HTTP_USER, LOADERS, PLACE, images_directory, netboot_of
from deploys.settings import Settings

# dnsmasq-base is the daemon without Debian's service, which would answer DNS on every interface.
PACKAGES = ["dnsmasq-base", "ipxe", "nginx", "openssh-client", "python3"]
SIGNED_PACKAGES = ["grub-efi-amd64-signed", "shim-signed"]


@deploy("Boot server")
def pxe_server() -> None:
    """Packages, user, directories, files, scripts and identities, daemons; for a control node that boots nodes."""
    here = settings.of(host)
    if here.netboot is None:
        return
    for node in here.netboot.without_mac:
        stage.meet(
            name=f"Leave {node} to its own disk: machines.yaml has no MAC address for it",
            reached="not booted from here",
        )
    if not here.boots_nodes:
        return
    _install(here)
    account.ensure(  # noqa: S604 (the user's login shell; no subprocess)
        name=f"Create user {HTTP_USER} on {here.node}", user=HTTP_USER, home=PLACE, shell="/usr/sbin/nologin"
    )
    for directory in (images_directory(here), f"{PLACE}/http/images", f"{PLACE}/tftp/images"):
        files.directory(name=f"Make {directory} on {here.node}", path=directory, user="root", group="root", mode="755")
    for loader, source in _loaders(here).items():
        files.link(name=f"Offer {loader} on {here.node}", path=f"{PLACE}/tftp/{loader}", target=source)
    services = declared.services(here)
    managed.write_files(
        name=f"Write boot server on {here.node}",
        files=(*declared.files(here), *hosts.of(here).service_files(*services)),
    )
    netboot.apply(name=f"Write scripts and identities of the nodes on {here.node}", settings=here)
    service.ensure_running(name=f"Start boot server on {here.node}", settings=here, services=services)


def _signed(here: Settings) -> bool:
    return any(machine.secure_boot for machine in netboot_of(here).machines)


def _loaders(here: Settings) -> dict[str, str]:
    return {
        name: source for name, source in LOADERS.items() if name in ("undionly.kpxe", "snponly.efi") or _signed(here)
    }


def _install(here: Settings) -> None:
    wanted = [*PACKAGES, *(SIGNED_PACKAGES if _signed(here) else [])]
    there = host.get_fact(DebPackages)
    if "nginx" not in there:
        # Installed, Debian's own service would listen on port 80 of every interface; ours is another one.
        server.shell(name=f"Keep Debian's nginx service off on {here.node}", commands=["systemctl mask nginx.service"])
    apt.packages(
        name=f"Install boot server on {here.node}",
        packages=wanted,
        update=bool(set(wanted) - set(there)),  # a control node that booted from an image has no lists of packages
        cache_time=7 * 86400,
        no_recommends=True,
        _timeout=900,
    )
