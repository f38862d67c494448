"""Names, roles and addresses of the lab's hosts, and the state file that others read.

One address plan: 10.77.0.1 is control, 10.77.0.11 + i is compute i, 10.77.0.254 the switch's own address and
every host's gateway. 10.77.255.0/30 joins the switch's namespace to this machine.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.paths import LabPaths
from lab.system import LabError, read_json, write_whole

STATE_VERSION = 1
MAXIMUM_NODES = 64
CONTROL = "control"
LOGIN_USER = "compute"
INTERFACE = "eth0"
PREFIX = "10.77.0"
HOST_NETWORK = f"{PREFIX}.0/24"
LAB_NETWORK = "10.77.0.0/16"
GATEWAY = f"{PREFIX}.254"
FIRST_COMPUTE = 11


@dataclass(frozen=True)
class LabHost:
    """One host: its name (also its host name), `control` or `compute`, and its IPv4 address."""

    name: str
    role: str
    address: str


@dataclass(frozen=True)
class LabState:
    """A lab whose hosts were all up when this was written. The same shape is in lab.json; `image` is a directory."""

    version: int
    hosts: tuple[LabHost, ...]
    interface: str
    login_user: str
    ssh_key: Path
    known_hosts: Path
    image: Path

    def host(self, name: str) -> LabHost:
        """The host of that name; LabError names the choices."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise LabError(f"{name!r} is no host of this lab; choose from {', '.join(host.name for host in self.hosts)}")


def check_nodes(nodes: int) -> int:
    """nodes itself when it is a whole number from 1 to 64, else ValueError."""
    if isinstance(nodes, bool) or not isinstance(nodes, int) or not 1 <= nodes <= MAXIMUM_NODES:
        raise ValueError(f"nodes is {nodes!r}; the lab takes 1 to {MAXIMUM_NODES} compute hosts")
    return nodes


def plan_hosts(nodes: int) -> tuple[LabHost, ...]:
    """Control and `nodes` compute hosts, control first. ValueError outside 1..64."""
    check_nodes(nodes)
    compute = (LabHost(f"compute{i}", "compute", f"{PREFIX}.{FIRST_COMPUTE + i}") for i in range(nodes))
    return (LabHost(CONTROL, "control", f"{PREFIX}.1"), *compute)


def to_text(state: LabState) -> str:
    """lab.json as text."""
    value = asdict(state)
    for name in ("ssh_key", "known_hosts", "image"):
        value[name] = str(value[name])
    return json.dumps(value, indent=2) + "\n"


def from_value(value: dict[str, object]) -> LabState:
    """lab.json's object as LabState; ValueError when it has another shape."""
    if value.get("version") != STATE_VERSION:
        raise ValueError(f"version is {value.get('version')!r}, this command reads {STATE_VERSION}")
    listed = value.get("hosts")
    if not isinstance(listed, list) or not listed:
        raise ValueError("hosts is not a list of hosts")
    hosts = []
    for entry in listed:
        if not isinstance(entry, dict):
            raise ValueError("a host is not an object")
        hosts.append(LabHost(_text(entry, "name"), _text(entry, "role"), _text(entry, "address")))
    return LabState(
        version=STATE_VERSION,
        hosts=tuple(hosts),
        interface=_text(value, "interface"),
        login_user=_text(value, "login_user"),
        ssh_key=Path(_text(value, "ssh_key")),
        known_hosts=Path(_text(value, "known_hosts")),
        image=Path(_text(value, "image")),
    )


def _text(value: dict[str, object], key: str) -> str:
    found = value.get(key)
    if not isinstance(found, str) or not found:
        raise ValueError(f"{key} is {found!r}, not a text")
    return found


def state(paths: LabPaths | None = None) -> LabState | None:
    """The lab that `up` made, from home/lab.json; None when there is none.

    It says what was brought up, not what lives now: host_states() asks the machine. LabError when the file cannot
    be understood.
    """
    path = (paths or LabPaths()).state_file
    if not path.exists():
        return None
    value = read_json(path)
    try:
        if value is None:
            raise ValueError("no JSON object")
        return from_value(value)
    except ValueError as error:
        raise LabError(f"{path}: {error}; run `cluster lab down`, then `cluster lab up`") from error


def write_state(paths: LabPaths, hosts: tuple[LabHost, ...], image: Path) -> LabState:
    """Write lab.json in one step and return what it says."""
    written = LabState(STATE_VERSION, hosts, INTERFACE, LOGIN_USER, paths.ssh_key, paths.known_hosts, image)
    write_whole(paths.state_file, to_text(written))
    return written
