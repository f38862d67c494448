"""The boot server on a lab's control host, set up by the operator's commands; ExperimentError when one fails."""

from __future__ import annotations

from pathlib import Path

from experiments.errors import ExperimentError
from experiments.operated_lab import Done, Lab
from lab.guests import ADDRESSES, write_machines

INVENTORY = "experiments/boot_lab/inventory.py"
CLUSTER = "netboot"


class BootLab(Lab):
    """A lab whose control host boots guests."""

    def netboot(self, *arguments: str, seconds: int = 900) -> Done:
        """`cluster netboot ...` for the guests' cluster."""
        return self.run("-c", INVENTORY, "netboot", *arguments, seconds=seconds)

    def guest_ssh(self, name: str, line: str, *, seconds: int = 180, stdin: str = "") -> Done:
        """A command on a guest as root, its host key checked against what the control node keeps."""
        return self.ssh_to(ADDRESSES[name], line, self.home / CLUSTER / "known_hosts", seconds=seconds, stdin=stdin)


def serve(boot_lab: BootLab) -> None:
    """The lab's control host is the boot server of the guests."""
    write_machines(boot_lab.home / CLUSTER)
    served = boot_lab.netboot("serve")
    if served.status:
        raise ExperimentError(f"the lab's control host cannot boot the guests: {served.stderr[-3000:]}")


def choose_image(boot_lab: BootLab, directory: Path | None = None) -> Path:
    """The image of the guests' cluster, by the project's own commands: built unless given, sent, chosen."""
    if directory is None:
        built = boot_lab.run("-c", INVENTORY, "image", "build", "--json", seconds=1800)
        _refuse(built)
        directory = Path(built.json["directory"])
    sent = boot_lab.netboot("push", str(directory))
    _refuse(sent)
    chosen = boot_lab.netboot("use", directory.name)
    _refuse(chosen)
    return directory


def _refuse(done: Done) -> None:
    if done.status:
        raise ExperimentError(f"the lab's control host cannot boot the guests: {done.stderr[-2000:]}")
