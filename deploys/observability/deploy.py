"""observability: packages, directories and services, where the inventory asks for them; else what was there goes."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import deploy, operation
from pyinfra.api.command import StringCommand
from pyinfra.facts.deb import DebPackages
from pyinfra.operations import apt, files

from deploys import hosts, settings, shell
from deploys.observability import declared
from deploys.operations import managed, service
from deploys.settings import Settings
from facts.services import Services


@operation()
def mask(packages: tuple[str, ...]) -> Generator[StringCommand, None, None]:
    """Keep the distribution's own units of packages from starting: they listen on every address."""
    missing = [name for name in packages if name not in host.get_fact(DebPackages)]
    if not missing:
        host.noop("the packages are there, and their units masked")
        return
    yield StringCommand(
        shell.line("systemctl", "mask", "--", values=tuple(declared.PACKAGES[name] for name in missing))
    )


@operation()
def take_away(settings: Settings) -> Generator[StringCommand, None, None]:
    """Stop services that are not declared any more and remove their descriptions."""
    wanted = {one.name for one in declared.services(settings)}
    others = tuple(name for name in declared.NAMES if name not in wanted)
    found = host.get_fact(Services, names=others)
    left = [name for name in others if (state := found.get(name)) and (state.active or state.enabled)]
    if not left:
        host.noop("no service of an earlier choice is left")
        return
    for command in hosts.of(settings).manager.stop(left):
        yield StringCommand(command)
    paths = tuple(f"/etc/systemd/system/{name}.service" for name in left)
    yield StringCommand(shell.line("rm", "-f", "--", values=paths))


@deploy("Observability")
def observability() -> None:
    """Everything of it; twice is a no-op."""
    here = settings.of(host)
    kind, wanted = hosts.of(here), declared.services(here)
    if kind.has_own_system:
        take_away(name=f"Take away metrics and traces that are not declared on {here.node}", settings=here)
    if not wanted:
        return
    packages = declared.packages(here)
    if packages:
        mask(name=f"Mask units of metrics packages on {here.node}", packages=packages)
        apt.packages(
            name=f"Install metrics packages on {here.node}",
            packages=list(packages),
            no_recommends=True,
            _timeout=900,
        )
    for directory in declared.directories(here):
        files.directory(name=f"Make {directory} on {here.node}", path=directory, user=kind.service_user, mode="0750")
    managed.write_files(
        name=f"Write observability on {here.node}",
        files=(*declared.files(here), *kind.service_files(*wanted)),
    )
    service.ensure_running(name=f"Start observability on {here.node}", settings=here, services=wanted)
