"""compute_base: what a node needs before Ray. Elsewhere than on a managed machine: directories, runtime, secrets."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.operations import systemd

from deploys import hosts, roles, secrets, settings
from deploys.compute_base import accelerator, declared
from deploys.compute_base.shared import Shared, shared_base
from deploys.operations import directories, firewall, managed, names, runtime, shared_memory
from deploys.ray_node import shared_memory_bytes


@deploy("Base of every node")
def compute_base() -> None:
    """Packages, user, time, driver, directories, managed files, names, firewall, boot menu, secrets, in this order."""
    here = settings.of(host)
    kind = hosts.of(here)
    if kind.has_own_system:
        shared_base(Shared.of(here))
        shared_memory.ensure(
            name=f"Give {here.node} shared memory for Ray's object store", size_bytes=shared_memory_bytes(here)
        )
    directories.make(name=f"Make directories on {here.node}", settings=here)
    programs = roles.programs(here)
    written = managed.write_files(
        name=f"Write base configuration on {here.node}",
        files=(*programs, *declared.files(here)),
        # A program of an earlier version would still be found by its name.
        directory=here.directories.library if programs else "",
        declared=frozenset(file.path for file in roles.managed_files(here)),
    )
    if kind.has_own_system:
        systemd.service(
            name=f"Have the journal read its limits on {here.node}",
            service="systemd-journald",
            restarted=True,
            _if=written.did_change,
        )
        names.keep(name=f"Keep the cluster's names on {here.node}", settings=here)
        firewall.load(name=f"Load firewall on {here.node}", settings=here)
        accelerator.boot_menu(here)
    managed.write_secrets(
        name=f"Place secrets on {here.node}",
        secrets={secrets.ensure(here.secrets[secret]): path for secret, path in declared.secret_files(here).items()},
        owner=kind.secrets_owner,
    )


@deploy("Locked runtime")
def install_runtime() -> None:
    """Built on the control node, whose depot then hands it out; copied by the compute nodes."""
    here = settings.of(host)
    if here.is_control:
        runtime.build(name=f"Build locked runtime on {here.node}", settings=here)
    elif not here.system.shared_files:
        runtime.copy_from_depot(name=f"Copy locked runtime to {here.node}", settings=here)
