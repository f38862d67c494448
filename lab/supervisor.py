"""The process that keeps one host. Started by file, in a fresh mount namespace, with a JSON file as argument.

It makes the host's view of the machine (a pure cgroup2 tree, the overlay root), leaves its caller, runs the container
and starts it again when the host reboots. SIGTERM asks the host for an orderly poweroff. It imports nothing of this
package, so that it starts in isolated mode wherever the package lies; it must stay single-threaded, for it forks.

Exit status of the first process: 0 when the supervisor was left running, 1 with a line on the console log when not.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

GROUP_ROOT = Path("/sys/fs/cgroup")
CONTAINER_RUNTIME = Path("/run/systemd/nspawn")
# The container's exit status for "my host asked for a reboot" when it is not the service manager's own unit.
REBOOT_STATUS = 133
CONTROLLERS = ("cpu", "io", "memory", "pids")


class Keeper:
    """Runs the container until it ends for good. One instance a process: it owns the SIGTERM handler."""

    def __init__(
        self, command: list[str], group: Path, before_reboot: list[list[str]], environment: dict[str, str]
    ) -> None:
        self.command = command
        self.group = group
        self.before_reboot = before_reboot
        self.environment = environment
        self.stopping = False
        self.container: subprocess.Popen[bytes] | None = None

    def ask_to_stop(self, _signal: int, _frame: FrameType | None) -> None:
        """The container turns SIGTERM into the host's poweroff."""
        self.stopping = True
        if self.container is not None and self.container.poll() is None:
            self.container.send_signal(signal.SIGTERM)

    def keep(self) -> int:
        """Start the host, again after each reboot; returns the container's last exit status."""
        signal.signal(signal.SIGTERM, self.ask_to_stop)
        while True:
            remove_children(self.group)
            self.container = subprocess.Popen(self.command, env=self.environment, preexec_fn=self._enter_group)
            if self.stopping:
                self.container.send_signal(signal.SIGTERM)
            status = self.container.wait()
            print(f"lab supervisor: the container ended with status {status}", flush=True)
            if status != REBOOT_STATUS or self.stopping:
                return status
            for arguments in self.before_reboot:
                subprocess.run(arguments, check=False, stdin=subprocess.DEVNULL)

    def _enter_group(self) -> None:
        (self.group / "cgroup.procs").write_text("0\n")


def remove_children(group: Path) -> None:
    """Remove the empty groups that the host's last run left below group."""
    for path, _, _ in os.walk(group, topdown=False):
        if Path(path) != group:
            try:
                Path(path).rmdir()
            except OSError as error:
                print(f"{path}: {error}", file=sys.stderr)


def mounted_type(target: Path, mount_table: str) -> str | None:
    """The file system type that /proc/self/mountinfo gives for target, the uppermost one.

    None when nothing is mounted there.
    """
    found = None
    for line in mount_table.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) > 4 and fields[4] == str(target) and after:
            found = after.split()[0]
    return found


def prepare(specification: dict[str, Any]) -> Path:
    """Mounts and cgroups of the host; returns the group that the container starts in."""
    if mounted_type(GROUP_ROOT, Path("/proc/self/mountinfo").read_text()) != "cgroup2":
        subprocess.run(["umount", "--recursive", str(GROUP_ROOT)], check=True)
        subprocess.run(["mount", "-t", "cgroup2", "cgroup2", str(GROUP_ROOT)], check=True)
    host_group = GROUP_ROOT / str(specification["group"])
    keeper_group, guest_group = host_group / "keeper", host_group / "guest"
    for group in (keeper_group, guest_group):
        group.mkdir(parents=True, exist_ok=True)
    for group in (GROUP_ROOT, host_group.parent, host_group):
        for controller in CONTROLLERS:
            try:
                (group / "cgroup.subtree_control").write_text(f"+{controller}\n")
            except OSError:
                # A controller that cgroup v1 holds, or that this kernel lacks: hosts run without it.
                continue
    (keeper_group / "cgroup.procs").write_text("0\n")
    # The container's runtime directory must be a tmpfs of this host's own, whatever /run is here.
    CONTAINER_RUNTIME.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(CONTAINER_RUNTIME)], check=True)
    # All hosts of an image share one loop device, and with it one superblock and its cache: mount finds the device.
    # The mount is this host's own and goes with its last process, like the others.
    subprocess.run(
        ["mount", "-t", "squashfs", "-o", "loop,ro", specification["image_root"], specification["lower"]],
        check=True,
    )
    subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", specification["overlay"], specification["root"]],
        check=True,
    )
    return guest_group


def note_supervisor(path: Path, pid: int) -> None:
    """Write the supervisor's pid with its start time, in one step."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps({"pid": pid, "start_time_ticks": int(fields[19])}) + "\n")
    temporary.replace(path)


def main(specification_file: str) -> int:
    """Prepare, leave the caller, keep the host."""
    os.umask(0o022)
    specification: dict[str, Any] = json.loads(Path(specification_file).read_text())
    try:
        guest_group = prepare(specification)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"lab supervisor: {error}", file=sys.stderr)
        return 1
    child = os.fork()
    if child != 0:
        note_supervisor(Path(specification["supervisor_file"]), child)
        return 0
    keeper = Keeper(specification["command"], guest_group, specification["before_reboot"], specification["environment"])
    status = keeper.keep()
    os._exit(status if 0 <= status <= 255 else 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
