"""clock-offset: one service that sees another time (libfaketime), or the whole host's clock stepped.

Standard library only; systemd. A container shares its clock with the machine, and may not set it: there only a service
can be given another time. A service starts anew for it, and once more when it is healed.
"""

import glob
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploys.faults.programs import host_tools
from deploys.faults.programs.host_tools import FaultError

NAMES = ("clock-offset",)
_LIBRARIES = "/usr/lib/*-linux-gnu/faketime/libfaketime.so.1"
_DROP_IN = "90-cluster-fault-clock.conf"
# Below /run: a reboot heals it as well.
_UNITS = Path("/run/systemd/system")
_TIME_SERVICES = ("systemd-timesyncd", "chrony", "chronyd", "ntpsec")
_SET_TIME = 25
_TOLERANCE_SECONDS = 0.25
Note = Callable[[dict[str, Any]], None]


def drop_in(library: str, offset_seconds: float) -> str:
    """What gives a service another time of day; its monotonic clock stays, or its waits would never end. Pure."""
    return (
        "# A fault of an experiment: it goes with the fault.\n[Service]\n"
        f"Environment=LD_PRELOAD={library} FAKETIME={offset_seconds:+g}s FAKETIME_DONT_FAKE_MONOTONIC=1\n"
    )


def inject(_directory: str, order: dict[str, Any], note: Note, _program: str) -> dict[str, Any]:
    """Give the service, or the host without one, another time."""
    service, offset = str(order["parameters"].get("service") or ""), float(order["parameters"]["offset_seconds"])
    if not host_tools.has_systemd():
        raise FaultError("clock-offset: systemd runs nothing here; this host's clock is the machine's, and stays right")
    return _service(service, offset, note) if service else _host(offset, note)


def heal(_directory: str, record: dict[str, Any]) -> None:
    """Put the time back: by the clock that no step moves, so that the time it took counts."""
    made = record.get("made") or {}
    if file := made.get("drop_in"):
        Path(file).unlink(missing_ok=True)
        host_tools.run("systemctl", "daemon-reload")
        if _fakes(made["service"]):
            host_tools.run("systemctl", "restart", made["service"], seconds=120)
    if "zero" in made:
        if abs(_zero() - made["zero"]) > _TOLERANCE_SECONDS:
            time.clock_settime(time.CLOCK_REALTIME, made["zero"] + host_tools.boot_seconds())
        for service in made["time_services"]:
            host_tools.run("systemctl", "start", service, check=False)


def traces(_directory: str, _name: str, record: dict[str, Any] | None, _context: dict[str, Any]) -> list[str]:
    """Drop-ins of ours, a service that was started with one, a clock that is elsewhere than it was noted."""
    found = [f"file {file}" for file in glob.glob(f"{_UNITS}/*.service.d/{_DROP_IN}")]  # noqa: PTH207
    made = (record or {}).get("made") or {}
    if made.get("service") and _fakes(made["service"]):
        found.append(f"{made['service']} sees another time")
    if "zero" in made and abs(off := _zero() - made["zero"]) > _TOLERANCE_SECONDS:
        found.append(f"the clock is {off:+.2f} s off")
    return found


def _service(service: str, offset: float, note: Note) -> dict[str, Any]:
    libraries = glob.glob(_LIBRARIES)  # noqa: PTH207
    if not libraries:
        raise FaultError("clock-offset: libfaketime is not installed here; run the deploy of the fault tools")
    if host_tools.run("systemctl", "is-active", service, check=False).strip() != "active":
        raise FaultError(f"clock-offset: {service} does not run here; name a service that does")
    file = _UNITS / f"{service.removesuffix('.service')}.service.d" / _DROP_IN
    made = {"means": "libfaketime", "service": service, "drop_in": str(file)}
    note(made)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(drop_in(libraries[0], offset))
    host_tools.run("systemctl", "daemon-reload")
    host_tools.run("systemctl", "restart", service, seconds=120)
    return made


def _host(offset: float, note: Note) -> dict[str, Any]:
    if not may_set_time(Path("/proc/self/status").read_text()):
        raise FaultError(
            "clock-offset: this host may not set its clock, which it shares with the machine below it; "
            "give a service, which alone then sees another time"
        )
    services = [
        one for one in _TIME_SERVICES if host_tools.run("systemctl", "is-active", one, check=False).strip() == "active"
    ]
    made = {"means": "the host's clock", "zero": _zero(), "time_services": services}
    note(made)
    for one in services:
        host_tools.run("systemctl", "stop", one)
    time.clock_settime(time.CLOCK_REALTIME, time.time() + offset)
    return made


def may_set_time(status: str) -> bool:
    """Whether a process with this /proc/self/status has CAP_SYS_TIME. Pure."""
    masks = [line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")]
    return bool(masks) and bool(int(masks[0], 16) >> _SET_TIME & 1)


def _zero() -> float:
    """What the clock says of the moment of boot: a step of the clock is a step of this."""
    return time.time() - host_tools.boot_seconds()


def _fakes(service: str) -> bool:
    """Whether the service's main process was started with another time."""
    main = host_tools.run("systemctl", "show", "--property=MainPID", "--value", service, check=False).strip()
    try:
        return b"FAKETIME=" in Path(f"/proc/{int(main or 0)}/environ").read_bytes()
    except OSError:
        return False
