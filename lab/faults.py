"""Faults that happen to whole hosts, and what each host's state is now.

crash is a power loss (every process ends at once, the disk stays), freeze a hung host (the kernel answers, no
process does), cut a network partition at the switch. thaw and join undo them; join also boots a crashed host
again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lab import processes
from lab.boot import boot
from lab.disks import image_of
from lab.image import read_image
from lab.lock import check_owner, exclusive
from lab.network import cabled_hosts, cables_up, namespaces, set_cable
from lab.paths import LabPaths
from lab.plan import LabHost, state
from lab.system import LabError

KINDS = ("crash", "freeze", "thaw", "cut", "join")
HostState = Literal["running", "frozen", "cut", "dead"]


def host_states(paths: LabPaths | None = None) -> dict[str, HostState]:
    """Each host's state as the machine shows it now, in the order of lab.json; empty when no lab is up.

    A frozen host whose cable is cut counts as frozen. Needs no lock: it is one look.
    """
    places = paths or LabPaths()
    lab = state(places)
    if lab is None:
        return {}
    joined, cabled = cables_up(), frozenset(cabled_hosts())
    found: dict[str, HostState] = {}
    for host in lab.hosts:
        if host.name not in cabled or processes.supervisor_pid(places, host.name) is None:
            found[host.name] = "dead"
        elif processes.is_frozen(host.name):
            found[host.name] = "frozen"
        else:
            found[host.name] = "running" if host.name in joined else "cut"
    return found


def fault(kind: str, host: str, paths: LabPaths | None = None) -> None:
    """Do one of KINDS to the host of that name; returns when it took effect, after a boot when the host is ready.

    crash, thaw and join may be repeated. LabError for an unknown kind or host (it names the choices), and for what
    a dead host cannot do.
    """
    places = paths or LabPaths()
    if kind not in KINDS:
        raise LabError(f"{kind!r} is no fault; choose from {', '.join(KINDS)}")
    with exclusive(places):
        lab = state(places)
        if lab is None:
            raise LabError("no lab is up; run `cluster lab up` first")
        check_owner(places, bool(namespaces()))
        target = lab.host(host)
        if kind == "crash":
            processes.kill(host)
        elif host_states(places)[host] != "dead":
            _on_living(kind, host)
        elif kind == "join":
            _boot_again(target, lab.hosts, places, lab.image)
        else:
            raise LabError(f"{host} is dead, {kind} needs it running; run `cluster lab fault join {host}` first")


def _on_living(kind: str, name: str) -> None:
    if kind in ("freeze", "thaw"):
        processes.freeze(name, frozen=kind == "freeze")
    else:
        set_cable(name, up=kind == "join")


def _boot_again(target: LabHost, hosts: tuple[LabHost, ...], paths: LabPaths, image: Path) -> None:
    # The disk decides: a host crashed on one image must not come back as another.
    booted = read_image(image_of(target.name, paths) or image)
    boot((target,), hosts, paths, booted, lambda _phase, _detail: None)
