"""What a role declares for a host: services, programs and other files, each a function of the host's settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deploys.files import ManagedFile
from deploys.services.description import Service
from deploys.settings import Settings


def _no_services(settings: Settings) -> tuple[Service, ...]:
    return ()


def _no_files(settings: Settings) -> tuple[ManagedFile, ...]:
    return ()


@dataclass(frozen=True)
class Role:
    """One role. Pure functions, but that they read this project's own files.

    `services`: what the role keeps running, in the order in which it starts. `programs`: what compute_base brings to
    every node of the role before anything runs there. `files`: its other files, but for secrets and the descriptions of
    its services.
    """

    services: Callable[[Settings], tuple[Service, ...]] = _no_services
    programs: Callable[[Settings], tuple[ManagedFile, ...]] = _no_files
    files: Callable[[Settings], tuple[ManagedFile, ...]] = _no_files
