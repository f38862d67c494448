"""How whoever runs this came to the host, and where its sshd listens: one JSON line. Standard library only.

`arrival`: address and port that the SSH connection arrived at, as sshd told the shell that it started, and the
interface with that address; null without one. `listening`: TCP ports of sshd, seen with root only. `let_in`: ports that
the loaded firewall rules name beside their own.
"""

import json
import os
import re
import subprocess
import sys

_LISTENERS = ("sshd", "dropbear")
_SEARCH_PATH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"


def connection() -> str:
    """SSH_CONNECTION of this process or of the nearest one above it: sudo does not hand it down. "" without one."""
    pid = os.getpid()
    while pid > 1:
        try:
            with open(f"/proc/{pid}/environ", "rb") as stream:
                variables = stream.read().decode(errors="replace").split("\0")
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
                parent = int(stream.read().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            break
        for variable in variables:
            name, _, value = variable.partition("=")
            if name == "SSH_CONNECTION":
                return value
        pid = parent
    return os.environ.get("SSH_CONNECTION", "")


def said(*command: str) -> str:
    """What a program prints; "" where it is not there or fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=15, check=False, env={**os.environ, "PATH": _SEARCH_PATH}
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def arrival() -> dict[str, object] | None:
    """Where the connection arrived, None where there is none."""
    cells = connection().split()
    if len(cells) != 4 or not cells[3].isdecimal():
        return None
    address = cells[2].partition("%")[0]
    interface = cells[2].partition("%")[2]
    for line in said("ip", "-o", "address", "show").splitlines():
        found = re.match(r"\d+:\s+(\S+)\s+inet6?\s+([^/\s]+)", line)
        if found and found[2] == address and not interface:
            interface = found[1]
    return {"address": address, "port": int(cells[3]), "interface": interface.partition("@")[0]}


def listening() -> list[int]:
    """Ports of sshd, and those where systemd listens for it."""
    ports: set[int] = set()
    for line in said("ss", "-ltnpH").splitlines():
        cells = line.split()
        port = cells[3].rpartition(":")[2] if len(cells) > 3 else ""
        if port.isdecimal() and any(f'"{program}' in line for program in _LISTENERS):
            ports.add(int(port))
    # Both units by name: a host has one of them, as Ubuntu has ssh.socket.
    shown = said("systemctl", "show", "-p", "ActiveState", "-p", "Listen", "ssh.socket", "sshd.socket")
    for unit in shown.split("\n\n"):
        if "ActiveState=active" in unit:
            ports.update(int(port) for port in re.findall(r"(\d+) \(Stream\)", unit))
    return sorted(ports)


def let_in(name: str) -> list[int]:
    """Ports in the set of that name of the loaded rules."""
    found = re.search(r"elements = \{([^}]*)\}", said("nft", "list", "set", "inet", "cluster", name))
    return sorted(int(port) for port in re.findall(r"\d+", found[1])) if found else []


if __name__ == "__main__":
    print(json.dumps({"arrival": arrival(), "listening": listening(), "let_in": let_in(sys.argv[1])}))
