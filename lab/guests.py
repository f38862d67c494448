"""Virtual machines with empty disks on the lab's switch: QEMU without hardware acceleration, one network card.

A guest is a real firmware (SeaBIOS, or OVMF with its own PXE and no option ROM) that finds its system on the network or
not at all. Its serial console is a file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from lab.network import MTU_BYTES, SWITCH_INTERFACE, SWITCH_NAMESPACE
from lab.plan import PREFIX
from lab.system import LabError

# 60 on an idle machine, 400 have been seen on a busy one; a busier one may be given more.
BOOT_SECONDS = int(os.environ.get("CLUSTER_GUEST_BOOT_SECONDS", "600"))
MACS = {"compute-bios": "52:54:00:77:00:65", "compute-uefi": "52:54:00:77:00:66"}
ADDRESSES = {"compute-bios": f"{PREFIX}.101", "compute-uefi": f"{PREFIX}.102"}
_OVMF = Path("/usr/share/OVMF")


def missing_programs() -> list[str]:
    """Debian packages without which no guest can be made here."""
    needed = {
        "qemu-system-x86": Path("/usr/bin/qemu-system-x86_64"),
        "ipxe-qemu": Path("/usr/lib/ipxe/qemu/pxe-virtio.rom"),
        "ovmf": _OVMF / "OVMF_CODE_4M.fd",
        "busybox": Path("/bin/busybox"),
        "tcpdump": Path("/usr/bin/tcpdump"),
    }
    return [package for package, file in needed.items() if not file.exists()]


def write_machines(directory: Path) -> None:
    """What an operator writes down of these machines, in the directory of their cluster."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    (directory / "machines.yaml").write_text("".join(f"{node}: {mac}\n" for node, mac in MACS.items()))


def in_switch(*command: str, seconds: float = 60, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command in the namespace of the lab's switch."""
    return subprocess.run(
        ["ip", "netns", "exec", SWITCH_NAMESPACE, *command],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=check,
    )


@dataclass
class Guest:
    """One virtual machine. `firmware`: bios, uefi or secure (UEFI with Secure Boot and Microsoft's keys)."""

    name: str
    mac: str
    firmware: str
    directory: Path
    memory_mib: int = 1024
    local_disk_bytes: int = 0
    started: float = 0.0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def tap(self) -> str:
        """Its end of the cable at the switch; the kernel takes 15 characters."""
        return "t" + self.mac.replace(":", "")[-8:]

    @property
    def console(self) -> Path:
        """What it said on its serial port since power-on."""
        return self.directory / f"{self.name}.console"

    def power_on(self) -> None:
        """Start it; with an empty disk and, for UEFI, empty variables."""
        self.power_off()
        self.directory.mkdir(parents=True, exist_ok=True)
        in_switch("ip", "tuntap", "add", "dev", self.tap, "mode", "tap")
        in_switch("ip", "link", "set", self.tap, "mtu", str(MTU_BYTES), "master", SWITCH_INTERFACE, "up")
        self.console.write_bytes(b"")
        log = (self.directory / f"{self.name}.qemu").open("wb")
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", SWITCH_NAMESPACE, *self._command()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )

    def power_off(self) -> None:
        """Pull the plug."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process = None
        in_switch("ip", "link", "delete", self.tap, check=False)

    def said(self) -> str:
        """Its console so far."""
        return self.console.read_text(errors="replace")

    def wait_for(self, text: str, seconds: float = BOOT_SECONDS) -> float:
        """Seconds since power-on until its console has `text`; LabError with the console's end otherwise."""
        deadline = time.monotonic() + seconds
        while text not in self.said():
            if self.process is None or self.process.poll() is not None:
                said = (self.directory / f"{self.name}.qemu").read_text()
                raise LabError(f"{self.name}: QEMU ended: {said[-500:]}")
            if time.monotonic() > deadline:
                raise LabError(f"{self.name} did not say {text!r} in {seconds:.0f} s; last: {self.said()[-1500:]}")
            time.sleep(0.5)
        return time.monotonic() - self.started

    def _local_disk(self) -> list[str]:
        """A second disk, sparse, with the file system's label of a node's local storage; it outlives power losses."""
        disk = self.directory / f"{self.name}.local"
        if not disk.exists():
            with disk.open("wb") as stream:
                stream.truncate(self.local_disk_bytes)
            subprocess.run(["mkfs.ext4", "-q", "-L", "cluster-local", str(disk)], check=True)
        return ["-drive", f"if=none,id=local,format=raw,file={disk}", "-device", "virtio-blk-pci,drive=local"]

    def _command(self) -> list[str]:
        disk = self.directory / f"{self.name}.disk"
        disk.unlink(missing_ok=True)
        with disk.open("wb") as stream:
            stream.truncate(64 * 1024**2)
        card = f"virtio-net-pci,netdev=net,mac={self.mac},bootindex=1,host_mtu={MTU_BYTES}"
        machine, extra = "q35", self._local_disk() if self.local_disk_bytes else []
        if self.firmware != "bios":
            kind = ".ms" if self.firmware == "secure" else ""
            variables = self.directory / f"{self.name}.variables"
            shutil.copyfile(_OVMF / f"OVMF_VARS_4M{kind}.fd", variables)
            # Without an option ROM the firmware's own PXE is at work, and its loader comes over TFTP.
            card += ",romfile="
            extra += [
                *("-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={_OVMF}/OVMF_CODE_4M{kind}.fd"),
                *("-drive", f"if=pflash,format=raw,unit=1,file={variables}"),
            ]
            if self.firmware == "secure":
                machine = "q35,smm=on"
                extra += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
                extra += ["-global", "ICH9-LPC.disable_s3=1"]
        return [
            "qemu-system-x86_64",
            *("-name", self.name, "-nodefaults", "-no-user-config", "-display", "none", "-machine", machine),
            *("-accel", "tcg,thread=multi,tb-size=512", "-cpu", "Nehalem", "-m", str(self.memory_mib)),
            *("-netdev", f"tap,id=net,ifname={self.tap},script=no,downscript=no", "-device", card),
            *("-drive", f"if=none,id=disk,format=raw,file={disk}", "-device", "virtio-blk-pci,drive=disk"),
            *("-device", "virtio-rng-pci", "-serial", f"file:{self.console}"),
            *extra,
        ]
