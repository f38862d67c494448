"""The roles of a host, and what they declare together: services, files and programs.

Each role says in its own `declared.py` what it declares; deploy and verification read the same. Pure, but for the
project's own files that are copied to the hosts.
"""

from __future__ import annotations

from collections.abc import Iterable

from deploys import hosts
from deploys.compute_base import declared as compute_base
from deploys.declaration import Role
from deploys.depot import declared as depot
from deploys.files import ManagedFile
from deploys.gateway import declared as gateway
from deploys.observability import declared as observability
from deploys.pxe_server import declared as pxe_server
from deploys.ray_head import declared as ray_head
from deploys.ray_worker import declared as ray_worker
from deploys.services.description import Service
from deploys.settings import Settings
from deploys.vllm import declared as vllm
from deploys.watch import declared as watch


def roles(settings: Settings) -> tuple[Role, ...]:
    """The roles of a host, in the order in which their services start."""
    seen = (observability.ROLE,) if settings.observability.kind != "none" else ()
    if not settings.is_control:
        return (compute_base.ROLE, *seen, ray_worker.ROLE, vllm.ROLE)
    boot = (pxe_server.ROLE,) if settings.boots_nodes else ()
    copies = () if settings.system.shared_files else (depot.ROLE,)
    return (
        *(compute_base.ROLE, *boot, *copies, *seen),
        *(ray_head.ROLE, vllm.ROLE, gateway.ROLE, watch.ROLE),
    )


def services(settings: Settings) -> tuple[Service, ...]:
    """Declared services of a host, in the order in which they start."""
    return tuple(service for role in roles(settings) for service in role.services(settings))


def programs(settings: Settings) -> tuple[ManagedFile, ...]:
    """Programs on a host that every node has; where the nodes share their files, the control node writes them."""
    if settings.system.shared_files and not settings.is_control:
        return ()
    return once(file for role in roles(settings) for file in role.programs(settings))


def managed_files(settings: Settings) -> tuple[ManagedFile, ...]:
    """Every file that this project declares on a host, but for secrets."""
    descriptions = hosts.of(settings).service_files(*services(settings))
    others = (file for role in roles(settings) for file in role.files(settings))
    return once((*programs(settings), *descriptions, *others))


def once(files: Iterable[ManagedFile]) -> tuple[ManagedFile, ...]:
    """Each file at its first mention: roles share what several of their programs import."""
    return tuple({file.path: file for file in files}.values())
