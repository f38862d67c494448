"""Start hosts and wait until they are ready. Seconds.

Ready means: a login as the lab's user worked, with the host's key checked, and systemd says that the boot has
ended. Hosts boot side by side, a few at a time; every wait has a deadline, and a host that died is noticed
before it.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from lab import processes
from lab.disks import prepare_disk, write_known_hosts
from lab.image import LabImage
from lab.network import plug_in
from lab.paths import LabPaths
from lab.plan import LOGIN_USER, LabHost
from lab.system import LabError, Progress, command_environment, last_line

BOOTING_AT_ONCE = 8
BOOT_DEADLINE_SECONDS = 120.0
POLL_SECONDS = 0.05
SUPERVISOR = Path(__file__).with_name("supervisor.py")
READY_COMMAND = "systemctl is-system-running --wait"


def ssh_command(host: LabHost, paths: LabPaths, command: str, connect_seconds: int = 5) -> list[str]:
    """The ssh command line for a shell command on the host; it reads nobody's own ssh settings."""
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": str(connect_seconds),
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(paths.known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "LogLevel": "ERROR",
    }
    flat = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", "-F", "none", "-i", str(paths.ssh_key), *flat, f"{LOGIN_USER}@{host.address}", command]


def console_log(name: str, paths: LabPaths) -> Path:
    """What the host's console showed since its last start."""
    return paths.host(name) / "console.log"


def last_words(console_text: str) -> str:
    """What a host's console said before its end, as one line without colours. Pure."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", console_text)
    said = [line.strip() for line in plain.splitlines() if line.strip() and not line.startswith("lab supervisor:")]
    return " ".join(said[-2:]) or "nothing on its console"


def start(host: LabHost, paths: LabPaths, image: LabImage) -> None:
    """Boot one host that does not run, with a fresh cable; returns when its supervisor lives."""
    processes.kill(host.name)
    processes.remove_group(host.name)
    prepare_disk(host, paths, image)
    plug_in(host)
    log = console_log(host.name, paths)
    # A namespace of its own for the mounts: they go when its last process goes, however that happens.
    arguments = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        sys.executable,
        "-I",
        "-S",
        str(SUPERVISOR),
    ]
    with log.open("wb") as stream:
        done = subprocess.run(
            [*arguments, str(paths.host(host.name) / "host.json")],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=command_environment(),
            cwd="/",
            start_new_session=True,
            timeout=BOOT_DEADLINE_SECONDS,
            check=False,
        )
    if done.returncode != 0:
        raise LabError(f"{host.name}: did not start: {last_line(log.read_text(errors='replace'))}; see {log}")


@dataclass
class _Booting:
    host: LabHost
    started: float
    login: subprocess.Popen[str] | None = None
    not_before: float = 0.0


def boot(
    hosts: tuple[LabHost, ...], known: tuple[LabHost, ...], paths: LabPaths, image: LabImage, progress: Progress
) -> None:
    """Boot hosts and return when all of them are ready.

    known are the hosts whose keys the known_hosts file holds. LabError names the first host that is not ready
    BOOT_DEADLINE_SECONDS after its start, or that stopped before.
    """
    waiting, booting = deque(hosts), list[_Booting]()
    try:
        while waiting or booting:
            while waiting and len(booting) < BOOTING_AT_ONCE:
                host = waiting.popleft()
                started = time.monotonic()
                start(host, paths, image)
                write_known_hosts(tuple(h for h in known if paths.host(h.name).exists()), paths)
                booting.append(_Booting(host, started))
            for host, seconds, word in _ready_now(booting, paths):
                note = "" if word == "running" else f" (systemd says {word}: see `systemctl --failed` there)"
                progress("boot", f"{host.name} up in {seconds:.1f} s{note}")
            time.sleep(POLL_SECONDS)
    finally:
        _end_logins(booting)


def wait_ready(hosts: tuple[LabHost, ...], paths: LabPaths) -> None:
    """Return when every one of these living hosts is ready; LabError as in boot()."""
    waiting, looking = deque(hosts), list[_Booting]()
    try:
        while waiting or looking:
            while waiting and len(looking) < BOOTING_AT_ONCE:
                looking.append(_Booting(waiting.popleft(), time.monotonic()))
            _ready_now(looking, paths)
            time.sleep(POLL_SECONDS)
    finally:
        _end_logins(looking)


def _ready_now(booting: list[_Booting], paths: LabPaths) -> list[tuple[LabHost, float, str]]:
    """Take the hosts that became ready out of booting: each with its seconds and systemd's word."""
    ready = []
    for entry in tuple(booting):
        word = _look(entry, paths)
        if word is not None:
            booting.remove(entry)
            ready.append((entry.host, time.monotonic() - entry.started, word))
    return ready


def _end_logins(booting: list[_Booting]) -> None:
    for entry in booting:
        if entry.login is not None and entry.login.poll() is None:
            entry.login.kill()
            entry.login.wait()


def _look(entry: _Booting, paths: LabPaths) -> str | None:
    """One step of waiting for one host: systemd's word once the host is ready, None before."""
    now, name = time.monotonic(), entry.host.name
    if entry.login is not None and entry.login.poll() is not None:
        said = last_line(entry.login.stdout.read() if entry.login.stdout else "")
        if entry.login.stdout:
            entry.login.stdout.close()
        entry.login = None
        if said in ("running", "degraded"):
            return said
        # Refused: users are let in only some way into the boot.
        entry.not_before = now + 0.1
    if processes.supervisor_pid(paths, name) is None:
        log = console_log(name, paths)
        raise LabError(f"{name}: stopped while booting: {last_words(log.read_text(errors='replace'))}; see {log}")
    if now > entry.started + BOOT_DEADLINE_SECONDS:
        raise LabError(f"{name}: not ready after {BOOT_DEADLINE_SECONDS:g} s; see {console_log(name, paths)}")
    if entry.login is None and now >= entry.not_before and _greets(entry.host.address):
        entry.login = subprocess.Popen(
            ssh_command(entry.host, paths, READY_COMMAND),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=command_environment(),
            start_new_session=True,
        )
    return None


def _greets(address: str) -> bool:
    """True when an ssh server answers.

    A connection attempt costs far less than an ssh client on a busy machine.
    """
    try:
        with socket.create_connection((address, 22), timeout=0.2):
            return True
    except OSError:
        return False
