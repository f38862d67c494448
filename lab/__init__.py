"""Real hosts on one machine: control and up to 64 compute hosts, each with systemd, an address and sshd.

up() makes them, down() takes them away, fault() breaks one, host_states() looks, state() says what was
brought up. The hosts are Debian. Linux and root only; standard library only. Bytes and seconds. `LabError`
carries one line for the person at the keyboard.

In the hosts: /opt/cluster is shared by all (control writes), /opt/cluster/uv-cache is the place for uv's
cache (hard links do not cross a mount), /var/lib/cluster/models is control's. The hosts reach tcp 80 and 443
and the name servers, nothing else outside.
"""

from lab.checks import preflight
from lab.faults import KINDS, HostState, fault, host_states
from lab.lifecycle import down, up
from lab.paths import LabPaths
from lab.plan import LabHost, LabState, state
from lab.system import LabError, Progress

__all__ = [
    "KINDS",
    "HostState",
    "LabError",
    "LabHost",
    "LabPaths",
    "LabState",
    "Progress",
    "down",
    "fault",
    "host_states",
    "preflight",
    "state",
    "up",
]
