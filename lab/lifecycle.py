"""Bring the lab up and down. Both work from whatever is there, so each mends what an interrupted one left.

What is there is read from the machine (namespaces, cgroups, supervisors), not from lab.json, which is for
readers.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from lab import processes
from lab.boot import boot, wait_ready
from lab.checks import preflight
from lab.disks import image_of, make_shared, write_known_hosts
from lab.image import LabImage, read_image
from lab.lock import check_owner, claim, exclusive, release
from lab.network import (
    build_switch,
    cabled_hosts,
    cables_up,
    connect_machine,
    disconnect_machine,
    namespaces,
    remove_namespace,
    set_cable,
    unplug,
)
from lab.paths import LabPaths
from lab.plan import LabHost, LabState, check_nodes, plan_hosts, write_state
from lab.settings import borrow, give_back
from lab.system import LabError, Progress

STOP_DEADLINE_SECONDS = 20.0


def present_hosts(paths: LabPaths) -> tuple[str, ...]:
    """Names of the hosts that this machine has anything of: a namespace, a cgroup or a disk."""
    disks = [path.name for path in paths.hosts.iterdir() if path.is_dir()] if paths.hosts.is_dir() else []
    return tuple(sorted({*disks, *cabled_hosts(), *processes.grouped_hosts()}))


def up(nodes: int, progress: Progress, image: Path, paths: LabPaths | None = None) -> LabState:
    """Bring up control and `nodes` compute hosts (1 to 64) and return when all are ready.

    They boot the image in that directory (see lab.image).
    Running hosts are left alone, frozen and cut ones are mended, dead ones booted on their own disk, surplus
    ones removed. ValueError for a bad number; LabError with one line for anything that stands in the way.
    """
    check_nodes(nodes)
    places = paths or LabPaths()
    problems = preflight(places)
    if problems:
        raise LabError(problems[0])
    with exclusive(places):
        check_owner(places, bool(namespaces()))
        claim(places)
        booted = read_image(image)
        make_shared(places)
        hosts = plan_hosts(nodes)
        wanted = {host.name for host in hosts}
        _remove_hosts(tuple(name for name in present_hosts(places) if name not in wanted), places, progress)
        borrow(places)
        build_switch()
        connect_machine()
        dead = _mend(hosts, places, booted, progress)
        boot(dead, hosts, places, booted, progress)
        write_known_hosts(hosts, places)
        # An interrupted `up` leaves hosts that live but were never seen ready.
        wait_ready(tuple(host for host in hosts if host not in dead), places)
        return write_state(places, hosts, booted.directory)


def _mend(hosts: tuple[LabHost, ...], paths: LabPaths, image: LabImage, progress: Progress) -> tuple[LabHost, ...]:
    """Thaw and join what a fault experiment left; returns the hosts that have to be booted."""
    joined, cabled = cables_up(), frozenset(cabled_hosts())
    dead = []
    for host in hosts:
        if processes.supervisor_pid(paths, host.name) is None or host.name not in cabled:
            dead.append(host)
            continue
        if image_of(host.name, paths) != image.directory:
            progress("mend", f"{host.name} runs on another image; `cluster lab down` and `up` renew it")
        if processes.is_frozen(host.name):
            processes.freeze(host.name, frozen=False)
            progress("mend", f"{host.name} thawed")
        if host.name not in joined:
            set_cable(host.name, up=True)
            progress("mend", f"{host.name} joined the network again")
    return tuple(dead)


def _remove_hosts(names: tuple[str, ...], paths: LabPaths, progress: Progress, keep_disks: bool = False) -> None:
    if not names:
        return
    progress("stop", f"powering off {', '.join(names)}")
    forced = processes.stop(paths, names, STOP_DEADLINE_SECONDS)
    if forced:
        progress("stop", f"killed {', '.join(forced)}: still running after {STOP_DEADLINE_SECONDS:g} s")
    for name in names:
        unplug(name)
        if not keep_disks and paths.host(name).exists():
            shutil.rmtree(paths.host(name))


def down(progress: Progress, paths: LabPaths | None = None, keep_disks: bool = False) -> None:
    """Power every host off, and take away all that `up` made but the cache.

    Hosts that take longer than 20 s are killed. keep_disks leaves the hosts' disks and keys for the next `up`.
    Nothing to do is no error. LabError when the lab is another home's.
    """
    places = paths or LabPaths()
    if not places.home.exists() and not namespaces() and not places.owner_file.exists():
        progress("down", "no lab is up")
        return
    if os.geteuid() != 0:
        raise LabError("not root: the lab's namespaces and mounts are root's; run the command with sudo")
    with exclusive(places):
        check_owner(places, bool(namespaces()))
        # First, so that nobody takes a lab for whole that is being taken down.
        places.state_file.unlink(missing_ok=True)
        _remove_hosts(present_hosts(places), places, progress, keep_disks)
        disconnect_machine()
        give_back(places)
        for name in namespaces():
            remove_namespace(name)
        processes.remove_group()
        if not keep_disks:
            for folder in (places.hosts, places.ssh_key.parent):
                shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                places.home.rmdir()
        release(places)
        progress("down", "the lab is down")
