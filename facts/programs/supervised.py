"""What a node's supervisor runs, one line a service: DIRECTORY NAME...

Asks on the supervisor's own socket: its command-line program takes a quarter of a second for each question. Lines are
`service NAME STATE ENABLED CONFIGURATION - RESTARTS UP_SECONDS` and `said NAME LAST-LINE`, as for systemd; a supervisor
that is not there runs nothing.
"""

import os
import re
import socket
import sys
from pathlib import Path

NEW_SECONDS = 60
TAIL_BYTES = 64 * 1024
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
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


def last_lines(directory: str, name: str, count: int) -> list[str]:
    """What a program wrote last, without empty lines and colours."""
    lines = _tail(Path(directory, f"{name}.log")).splitlines()
    return [text for line in lines if (text := _COLOUR.sub("", line).strip())][-count:]


def restarts(directory: str, name: str) -> int:
    """How often a program ended by itself since it was last stopped on purpose, as far back as the log's end goes.

    The supervisor counts no restarts, and its log tells of each.
    """
    count = 0
    for line in _tail(Path(directory, "supervisord.log")).splitlines():
        if f" stopped: {name} (" in line or " supervisord started with pid " in line:
            count = 0
        count += f" exited: {name} (" in line
    return count


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - TAIL_BYTES))
            return stream.read().decode(errors="replace")
    except OSError:
        return ""


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def main() -> None:
    """A line for each of the names."""
    directory, *names = sys.argv[1:]
    known = programs(directory)
    for name in names:
        values = known.get(name, {})
        state, pid = values.get("statename", "none"), _number(values.get("pid", ""))
        enabled = "program" if Path(directory, "conf.d", f"{name}.conf").exists() else "none"
        up = max(_number(values.get("now", "")) - _number(values.get("start", "")), 0)
        troubled = bool(values) and (state != "RUNNING" or up < NEW_SECONDS)
        ended = restarts(directory, name) if troubled else "-"
        print("service", name, state, enabled, configuration(pid) if pid else "-", "-", ended, up)
        if troubled and (ended or state != "RUNNING"):
            words = [*last_lines(directory, name, 1), values.get("spawnerr", "")]
            print("said", name, next(filter(None, words), ""))


if __name__ == "__main__":
    main()
