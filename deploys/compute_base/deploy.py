"""compute_base: what a node needs before Ray. Elsewhere than on a managed machine: directories, runtime, secrets."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.facts.deb import DebPackages
from pyinfra.operations import apt

from deploys import roles, secrets, settings
from deploys.compute_base import accelerator
from deploys.compute_base.system import firewall_chain
from deploys.operations import account, directories, managed, runtime, service, shared_memory, time
from deploys.services import service_file

# libnuma1: vLLM's CPU kernels load it, and without it the engine dies at its start.
PACKAGES = ["ca-certificates", "iproute2", "libnuma1", "nftables", "procps", "python3-venv", "rsync"]


@deploy("Base of every node")
def compute_base() -> None:
    """Packages, user, time, directories, managed files, firewall, driver, secrets, in this order."""
    here = settings.of(host)
    if here.manage_system:
        # A node that booted from an image has them, and its lists may be as old as the image: no index is fetched then.
        missing = set(PACKAGES) - set(host.get_fact(DebPackages))
        apt.packages(
            name=f"Install system packages on {here.node}",
            packages=PACKAGES,
            update=bool(missing),
            cache_time=7 * 86400,
            no_recommends=True,
            _timeout=900,  # without a network apt waits for many minutes before it says so
        )
        account.ensure(  # noqa: S604 (the user's login shell; no subprocess)
            name=f"Create service user {here.service_user} on {here.node}",
            user=here.service_user,
            home=here.directories.state,
            shell="/usr/sbin/nologin",
        )
        time.synchronise(name=f"Keep the clock of {here.node} synchronised")
        shared_memory.ensure(
            name=f"Give {here.node} shared memory for Ray's object store", size_bytes=2 * here.ray.object_store_bytes
        )
    directories.make(name=f"Make directories on {here.node}", settings=here)
    managed.write_files(name=f"Write base configuration on {here.node}", files=roles.base_files(here))
    if here.manage_system:
        service.load_firewall(
            name=f"Load firewall on {here.node}", chain=firewall_chain(here), unit="cluster-firewall.service"
        )
        accelerator.prepare(here)
    managed.write_secrets(
        name=f"Place secrets on {here.node}",
        secrets={secrets.ensure(here.secrets[secret]): path for secret, path in roles.secret_files(here).items()},
        owner=here.service_user if here.manage_system else "",
    )


@deploy("Locked runtime")
def install_runtime() -> None:
    """Built on the control node, which then hands it out; copied by the compute nodes."""
    here = settings.of(host)
    if here.is_control:
        runtime.build(name=f"Build locked runtime on {here.node}", settings=here)
        if not here.shared_files:
            depot = roles.depot_service(here)
            managed.write_files(
                name=f"Write depot configuration on {here.node}",
                files=(roles.depot_file(here), service_file(here, depot)),
            )
            service.ensure_running(name=f"Start depot on {here.node}", settings=here, services=(depot,))
    elif not here.shared_files:
        runtime.copy_from_depot(name=f"Copy locked runtime to {here.node}", settings=here)
