"""The files of a cluster in containers: which go into the image, which are mounted, and where they lie until then.

Pure. They are the roles' managed files, with the same content and the same paths as on a host.
"""

from __future__ import annotations

import posixpath
from pathlib import Path

from containers.declared import Declared
from deploys import library, roles
from deploys.files import ManagedFile
from deploys.settings import Settings

HERE = Path(__file__).parent
HEALTHY = "containers.programs.healthy"
ENTRYPOINT = "containers/programs/entrypoint.sh"
# Beside the compose files, not in the repository: made again by every `python -m containers`.
PREPARED = "prepared"


def configuration_files(here: Settings) -> tuple[ManagedFile, ...]:
    """Files that a node's services read, but for secrets and this project's programs: mounted, so not in the image."""
    directory = f"{here.directories.library}/"
    return tuple(file for file in roles.managed_files(here) if not file.path.startswith(directory))


def source_of(here: Settings, file: ManagedFile) -> str:
    """Name of a mounted file in the compose file; it is also its name where it lies."""
    return f"{here.node}-{posixpath.basename(file.path)}"


def image_context(declared: Declared) -> dict[str, ManagedFile]:
    """Everything that the image is built from, by its path below the build's context."""
    directory = f"{declared.control.directories.library}/"
    programs = [file for file in roles.managed_files(declared.control) if file.path.startswith(directory)]
    programs += [*library.programs(declared.control, HEALTHY), library.script(declared.control, ENTRYPOINT)]
    return {
        "Dockerfile": ManagedFile("Dockerfile", (HERE / "Dockerfile").read_text()),
        "runtime.lock": ManagedFile("runtime.lock", declared.runtime.path.read_text()),
        # The lock is among the programs on a host, under the runtime's name; here it would be in every image again.
        **{f"library/{file.path[len(directory) :]}": file for file in programs if not file.path.endswith(".lock")},
    }


def mounted_files(declared: Declared) -> dict[str, ManagedFile]:
    """Every mounted file, by its path beside the compose file."""
    return {
        f"{configuration_directory(declared)}/{source_of(member.settings, file)}": file
        for member in declared.members
        for file in configuration_files(member.settings)
    }


def context_directory(declared: Declared) -> str:
    """The build's context, from the compose file."""
    return f"{PREPARED}/{declared.inventory}/image"


def configuration_directory(declared: Declared) -> str:
    """Where the mounted files lie, from the compose file."""
    return f"{PREPARED}/{declared.inventory}/files"
