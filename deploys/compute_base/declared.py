"""What compute_base declares: programs that every node has, the system's files, secrets.

Pure, but for the project's own files that are copied to the hosts.
"""

from __future__ import annotations

from deploys import hosts, library, runtime_lock
from deploys.declaration import Role
from deploys.environment import api_key_path, token_path
from deploys.files import ManagedFile
from deploys.library import script
from deploys.settings import Settings

_PROGRAMS = "deploys.compute_base.programs"
CLUSTER_WAIT, KEEP_TOGETHER = f"{_PROGRAMS}.cluster_wait", f"{_PROGRAMS}.keep_together"
PATIENT_RAY, REJOIN = f"{_PROGRAMS}.patient_ray", f"{_PROGRAMS}.rejoin"
BUILD_RUNTIME = "deploys/compute_base/programs/build_runtime.sh"
FETCH_FROM_DEPOT = "deploys/compute_base/programs/fetch_from_depot.sh"
FIREWALL_GUARD = "deploys/compute_base/programs/firewall_guard.sh"


def programs(settings: Settings) -> tuple[ManagedFile, ...]:
    """What builds, copies, waits and starts, and the runtime's lock."""
    lock, kind = runtime_lock.load(settings.runtime), hosts.of(settings)
    return (
        *((script(settings, FIREWALL_GUARD),) if kind.firewall else ()),
        script(settings, BUILD_RUNTIME),
        script(settings, FETCH_FROM_DEPOT),
        *library.programs(settings, CLUSTER_WAIT, KEEP_TOGETHER, PATIENT_RAY, REJOIN),
        ManagedFile(f"{settings.directories.library}/{lock.name}.lock", lock.path.read_text(), owner=kind.owner),
    )


def files(settings: Settings) -> tuple[ManagedFile, ...]:
    """What a host has because of how it is kept: the system's files, or its supervisor's."""
    return hosts.of(settings).files()


def secret_files(settings: Settings) -> dict[str, str]:
    """Secret name -> path on the host. The gateway alone asks for the API key."""
    secrets = {"ray-token": token_path(settings)}
    if settings.api_key_required and settings.is_control:
        secrets["api-key"] = api_key_path(settings)
    return secrets


ROLE = Role(programs=programs, files=files)
