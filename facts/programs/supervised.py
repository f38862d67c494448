"""What a node's supervisor runs, one line a service: DIRECTORY NAME...

Asks on the supervisor's own socket: its command-line program takes a quarter of a second for each question. A line is
`service NAME STATE ENABLED CONFIGURATION`, as for systemd; a supervisor that is not there runs nothing.
"""

import os
import re
import socket
import sys
from pathlib import Path

METHOD = b"<?xml version='1.0'?><methodCall><methodName>supervisor.getAllProcessInfo</methodName></methodCall>"
ASKED = b"POST /RPC2 HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%s" % (len(METHOD), METHOD)


def answer(directory: str) -> str:
    """The supervisor's answer, empty where there is none."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(20)
        try:
            # A path of a socket may have 107 characters, and a home directory may be deep.
            os.chdir(directory)
            asking.connect("control.sock")
            asking.sendall(ASKED)
            return b"".join(iter(lambda: asking.recv(65536), b"")).decode(errors="replace")
        except OSError:
            return ""


def configuration(pid: int) -> str:
    """The digest that a process was started with, `-` where it has none."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            variables = stream.read().decode(errors="replace").split("\0")
    except OSError:
        return "-"
    found = [value.partition("=")[2] for value in variables if value.startswith("CLUSTER_CONFIGURATION=")]
    return (found or ["-"])[0] or "-"


def programs(directory: str) -> dict[str, dict[str, str]]:
    """What the supervisor says of each program, by name; empty where no supervisor answers.

    In its own words, of its getProcessInfo: `statename`, `pid` (0: none), `start` and `stop` (seconds since 1970),
    `spawnerr`.
    """
    rows = answer(directory).split("<struct>")[1:]
    found = (dict(re.findall(r"<name>(\w+)</name>\s*<value><\w+>([^<]*)<", row)) for row in rows)
    return {values.get("name", ""): values for values in found}


def main() -> None:
    """A line for each of the names."""
    directory, *names = sys.argv[1:]
    known = programs(directory)
    for name in names:
        values = known.get(name, {})
        state, pid = values.get("statename", "none"), int(values.get("pid", 0))
        enabled = "program" if Path(directory, "conf.d", f"{name}.conf").exists() else "none"
        print("service", name, state, enabled, configuration(pid) if pid else "-")


if __name__ == "__main__":
    main()
