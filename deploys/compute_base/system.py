"""System files of a managed host: limits, journal, firewall, kernel arguments. Pure."""

from __future__ import annotations

from deploys.compute_base import firewall
from deploys.files import ManagedFile
from deploys.services.description import OPEN_FILES
from deploys.settings import Settings


def system_files(settings: Settings) -> list[ManagedFile]:
    """Files of a host whose system is ours to set up: limits, the network's names, packet filter, kernel arguments."""
    files = [
        limits_file(),
        journal_file(),
        *firewall.files(settings),
    ]
    # The control node gives them to a node that it boots.
    if settings.accelerators.kernel_arguments and not settings.is_booted:
        arguments = " ".join(settings.accelerators.kernel_arguments)
        files.append(
            ManagedFile(
                "/etc/default/grub.d/60-cluster.cfg",
                f'# Managed by cluster.\nGRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT {arguments}"\n',
                owner="root",
            )
        )
    return files


def journal_file() -> ManagedFile:
    """How much of a disk systemd's journal may take, in which the services' lines are."""
    return ManagedFile(
        "/etc/systemd/journald.conf.d/60-cluster.conf",
        "# Managed by cluster.\n[Journal]\nSystemMaxUse=40M\nRuntimeMaxUse=40M\n",
        owner="root",
    )


def limits_file() -> ManagedFile:
    """Limits of every login; the same on every host."""
    return ManagedFile(
        "/etc/security/limits.d/60-cluster.conf",
        f"# Managed by cluster. Ray holds a socket for each worker and each object transfer.\n"
        f"* soft nofile {OPEN_FILES}\n* hard nofile {OPEN_FILES}\n",
        owner="root",
    )
