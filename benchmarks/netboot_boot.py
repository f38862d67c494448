"""One boot of an emulated machine, from power-on to a login with a checked key, and where its seconds went."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import lab
from deploys.pxe_server.configuration import images_directory
from deploys.settings import Settings
from experiments import machine
from experiments.boot_lab.lab import INVENTORY, BootLab
from experiments.errors import ExperimentError
from facts.sources import REPOSITORY
from lab.guests import ADDRESSES, BOOT_SECONDS, Guest, missing_programs
from operate import clusters
from operate.errors import OperatorError

# By the kernel's clock, which begins when it is started; what is before is the rest of the time since power-on.
PHASES = ("firmware, loader s", "kernel s", "initrd, root s", "system, login s")
_RUN_INIT = re.compile(r"\[ *(\d+\.\d+)\] Run /init as init process")


def control() -> Settings:
    """Settings of the control host that boots the guests; ExperimentError when no lab is up."""
    try:
        return clusters.read(str(REPOSITORY / INVENTORY)).control.settings
    except OperatorError as error:
        raise ExperimentError(str(error)) from None


def images_url(settings: Settings) -> str:
    """Where the control host's HTTP daemon has the images."""
    if settings.netboot is None:
        raise ExperimentError(f"{settings.node}: boots no nodes")
    return f"http://{settings.network.address}:{settings.netboot.http_port}/images"


def manifest_of(server: BootLab, image: str) -> Any:
    """The manifest of an image that the control host has."""
    settings = control()
    return json.loads(server.ssh(settings.node, f"cat {images_directory(settings)}/{image}/manifest.json").stdout)


def boot_server() -> BootLab:
    """The lab that is up, as its operator sees it."""
    if missing := missing_programs():
        raise ExperimentError(f"not on this machine: {', '.join(missing)}; apt-get install them")
    if lab.state() is None:
        raise ExperimentError("no lab is up; run `cluster lab up --nodes 1`")
    return BootLab(lab.LabPaths().home.parent, None)


def measured_boot(server: BootLab, guest: Guest, misses: list[str]) -> dict[str, Any]:
    """Seconds, bytes and memory of one boot; the guest is off afterwards. A boot that does not come up is a miss."""
    mark = server.ssh("control", "date +%s.%N").stdout.strip()
    load = machine.load_average()
    guest.power_on()
    uptime, seconds = "", 0.0
    while not uptime and time.monotonic() < guest.started + BOOT_SECONDS:
        uptime = server.guest_ssh(guest.name, "cat /proc/uptime").stdout
        seconds = round(time.monotonic() - guest.started, 1)
        if not uptime:
            time.sleep(0.5)
    found: dict[str, Any] = {"firmware": guest.firmware, "seconds": seconds if uptime else None, "load_before": load}
    if uptime:
        ask = "systemctl show --value --property UserspaceTimestampMonotonic; cat /proc/meminfo"
        userspace, text = server.guest_ssh(guest.name, ask).stdout.split("\n", 1)
        found["phases"] = phases(seconds, float(uptime.split()[0]), int(userspace) / 1e6, guest.said())
        found |= memory(text)
    else:
        misses.append(f"{guest.name} ({guest.firmware}): no login after {BOOT_SECONDS} s: {guest.said()[-200:]!r}")
    found["bytes"] = _bytes_sent(server, ADDRESSES[guest.name], mark)
    guest.power_off()
    return found


def memory(text: str) -> dict[str, int]:
    """Bytes of a machine's memory, and of that in use, from its /proc/meminfo; empty where nothing was said. Pure."""
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in text.splitlines() if ":" in line}
    if not sizes:
        return {}
    return {
        "memory_total_bytes": sizes["MemTotal"],
        "memory_used_bytes": sizes["MemTotal"] - sizes["MemAvailable"],
    }


def phases(seconds: float, uptime: float, userspace: float, console: str) -> dict[str, float] | None:
    """Seconds of each of PHASES; None when the console has no line that says when the initrd began. Pure.

    `seconds` since power-on and `uptime` by the kernel's clock are of one moment, the login; `userspace` is when
    systemd began, by the kernel's clock.
    """
    begun = _RUN_INIT.findall(console)
    if not begun:
        return None
    kernel = float(begun[-1])
    parts = (seconds - uptime, kernel, userspace - kernel, uptime - userspace)
    return {name: round(part, 1) for name, part in zip(PHASES, parts, strict=True)}


def _bytes_sent(server: BootLab, address: str, since: str) -> int:
    """What the HTTP daemon sent to an address since then; loaders over TFTP are not in it."""
    log = server.ssh("control", f"journalctl -q -t cluster_netboot -o cat --no-pager --since @{since}").stdout
    return sum(int(line.split()[4]) for line in log.splitlines() if line.split()[:1] == [address])
