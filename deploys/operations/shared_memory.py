"""Give /dev/shm the size that Ray's object store needs; with less, Ray puts the store on disk and is slow."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import StringCommand

from deploys import shell
from facts.memory import SharedMemory

Commands = Generator[StringCommand, None, None]

PATH = "/dev/shm"  # noqa: S108 (the mount point itself)


@operation()
def ensure(size_bytes: int) -> Commands:
    """At least `size_bytes`, now and after a boot; a larger one is left as it is."""
    if size_bytes <= 0:
        raise ValueError(f"shared memory of {size_bytes} bytes; give the size of the object store")
    found = host.get_fact(SharedMemory)
    if found.mount_point == PATH and found.size_bytes >= size_bytes:
        host.noop(f"{PATH} has {found.size_bytes} bytes")
        return
    line = f"tmpfs {PATH} tmpfs rw,nosuid,nodev,size={size_bytes} 0 0"
    # systemd-remount-fs applies the line at boot; an older line for the same mount is replaced.
    yield StringCommand(
        f"sed -i '\\#[[:space:]]{PATH}[[:space:]]#d' /etc/fstab && echo {shell.line(line)} >> /etc/fstab"
    )
    yield StringCommand(f"mountpoint -q {PATH} && mount -o remount,size={size_bytes} {PATH} || mount {PATH}")
