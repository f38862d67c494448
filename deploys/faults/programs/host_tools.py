"""What the programs of a fault share on a host: commands, marked processes, what keeps them, the dead man's timer.

Standard library only. Where systemd runs the host and we are root, it keeps processes and timers; elsewhere they are
children with a session and a deadline of their own. Either way nothing hangs on whoever asked for the fault. Seconds.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

# In the environment of every process of a fault, and of what waits for its deadline: DIRECTORY:NAME.
MARK, TIMER_MARK = "CLUSTER_FAULT", "CLUSTER_FAULT_TIMER"
# What must go on while the rest of the host hangs.
SLICE = "clusterfaults.slice"
_UNIT = "cluster-fault-"


class FaultError(Exception):
    """A fault that cannot be done or undone here; one line with the thing, the value and the fix."""


def boot_seconds() -> float:
    """Seconds since the host's boot: no step of its clock moves them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def has_systemd() -> bool:
    """Whether systemd keeps what we start."""
    return os.path.isdir("/run/systemd/system") and os.geteuid() == 0  # noqa: PTH112 (programs stay small)


def environment() -> dict[str, str]:
    """Ours, with the administrators' programs on the path."""
    path = os.environ.get("PATH", "/usr/bin:/bin")
    return {**os.environ, "PATH": f"{path}:/usr/local/sbin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}


def run(*words: str, text: str = "", check: bool = True, seconds: float = 60) -> str:
    """Standard output of a command; FaultError with its last words when it fails, is missing or does not end."""
    try:
        done = subprocess.run(
            words, input=text, capture_output=True, text=True, env=environment(), timeout=seconds, check=False
        )
    except FileNotFoundError:
        raise FaultError(f"{words[0]} is not installed here; run the deploy of the fault tools") from None
    except subprocess.TimeoutExpired:
        raise FaultError(f"{' '.join(words[:4])}: no end after {seconds:g} s") from None
    if check and done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-300:]
        raise FaultError(f"{' '.join(words[:6])}: exit {done.returncode}: {said}")
    return done.stdout


def processes_with(variable: str) -> list[int]:
    """Living processes with NAME=VALUE in their environment, but for this one."""
    found, wanted = [], variable.encode()
    for entry in os.listdir("/proc"):  # noqa: PTH208 (names are all that is wanted)
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/environ", "rb") as stream:
                if wanted in stream.read().split(bytes(1)):
                    found.append(int(entry))
    return found


def process_state(process: int) -> tuple[str, int]:
    """State letter and start time in clock ticks, which name a process together with its number; ("", 0) for none."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return "", 0
    return fields[0], int(fields[19])


def start(directory: str, name: str, words: list[str], seconds: float) -> None:
    """Start a fault's process, which nobody's end ends but its own deadline; systemd ends it soon after that."""
    mark = f"{MARK}={directory}:{name}"
    if has_systemd():
        _forget(f"{_UNIT}{name}.service")
        run(
            *("systemd-run", "--quiet", "--collect", f"--unit={_UNIT}{name}", f"--slice={SLICE}", f"--setenv={mark}"),
            *(f"--property=RuntimeMaxSec={seconds + 5:.0f}", "--property=OOMScoreAdjust=1000"),
            *("--property=SendSIGKILL=yes", "--property=TimeoutStopSec=3"),
            *words,
        )
    else:
        _detached(words, mark)


def stop(directory: str, name: str) -> None:
    """End a fault's processes, however they are kept."""
    if has_systemd():
        _forget(f"{_UNIT}{name}.service")
    _kill(processes_with(f"{MARK}={directory}:{name}"))


def running(directory: str, name: str) -> list[str]:
    """The fault's processes, for a person."""
    return [f"process {number}" for number in processes_with(f"{MARK}={directory}:{name}")]


def arm(directory: str, name: str, seconds: float, program: str) -> None:
    """Have `program DIRECTORY expire NAME` run after this time, whoever dies meanwhile."""
    disarm(directory, name)
    if has_systemd():
        run(
            *("systemd-run", "--quiet", "--collect", f"--unit={_UNIT}{name}-heal", f"--slice={SLICE}"),
            *(f"--on-active={seconds:g}s", "--timer-property=AccuracySec=100ms"),
            *("--property=StandardOutput=null", "--property=StandardError=null"),
            *("/usr/bin/python3", program, directory, "expire", name),
        )
    else:
        words = [sys.executable, program, directory, "wait", name, f"{seconds:g}"]
        _detached(words, f"{TIMER_MARK}={directory}:{name}")


def disarm(directory: str, name: str) -> None:
    """Take the timer away; not from within what it started."""
    if has_systemd():
        _forget(f"{_UNIT}{name}-heal.timer", f"{_UNIT}{name}-heal.service")
    _kill(processes_with(f"{TIMER_MARK}={directory}:{name}"))


def is_armed(directory: str, name: str) -> bool:
    """Whether the timer will go off."""
    if has_systemd():
        return run("systemctl", "is-active", f"{_UNIT}{name}-heal.timer", check=False).strip() == "active"
    return bool(processes_with(f"{TIMER_MARK}={directory}:{name}"))


def wait_until(holds: Callable[[], object], seconds: float) -> bool:
    """Ask `holds()` until it is true; False when it was not within this time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _forget(*units: str) -> None:
    run("systemctl", "stop", "--quiet", *units, check=False)
    run("systemctl", "reset-failed", "--quiet", *units, check=False)


def _kill(processes: list[int]) -> None:
    for number in processes:
        with contextlib.suppress(OSError):
            os.kill(number, signal.SIGKILL)


def _detached(words: list[str], mark: str) -> None:
    name, _, value = mark.partition("=")
    subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**environment(), name: value},
        cwd="/",
        start_new_session=True,
    )
