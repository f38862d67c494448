"""How a program of this project runs on a host for an experiment: sent to it, so that nothing has to be installed.

The program is the first line of its standard input; what follows is its own. On hosts that are reached by SSH it runs
as root where the inventory's connection may: journal and conntrack are root's.
"""

from __future__ import annotations

import base64
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from facts import sources
from operate.clusters import Host
from operate.ssh import ssh_command

OBSERVE = "deploys.observability.programs.observe_node"
READ_LOGS = "deploys.observability.programs.read_logs"
RAY_DASHBOARDS = "deploys.observability.programs.ray_dashboards"
LOADER = "import base64,sys;exec(compile(base64.b64decode(sys.stdin.readline()),'cluster','exec'))"


def words(host: Host, command: Sequence[str]) -> list[str]:
    """What runs a command on a host, from here."""
    if "ssh_user" not in host.data:
        return list(command)
    root = ["sudo", "-n"] if host.data.get("_sudo") and host.data["ssh_user"] != "root" else []
    return [*ssh_command(host), shlex.join([*root, *command])]


def program(host: Host, order: Mapping[str, Any]) -> list[str]:
    """What runs a program on a host that reads `first_line` of it, with its order as JSON."""
    python = "python3" if "ssh_user" in host.data else sys.executable
    return words(host, [python, "-u", "-c", LOADER, json.dumps(order)])


def first_line(name: str) -> bytes:
    """A program with all that it imports, as the line that its loader reads."""
    return base64.b64encode(sources.text(name).encode()) + b"\n"
