"""Whether one host reaches a TCP port of another, and how it fails. Reads only."""

from __future__ import annotations

import shlex

from pyinfra.api.facts import FactBase

from facts import script

_PROBE = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()
    print("open")
except ConnectionRefusedError:
    print("refused")
except TimeoutError:
    print("filtered")
except OSError as error:
    print("unreachable:", error.strerror or error)
"""


class Reach(FactBase[str]):
    """Asked from the host: open, refused (nobody listens), filtered (no answer: a firewall) or "unreachable: WHY"."""

    def command(self, address: str, port: int) -> str:
        return f"timeout 8 python3 -c {shlex.quote(_PROBE)} {shlex.quote(address)} {int(port)} 2>&1; true"

    def process(self, output: list[str]) -> str:
        return output[-1] if output else "unreachable: no answer"


class Answers(FactBase[int]):
    """HTTP status of a GET, asked from the host; 0 when there is no answer. Certificates are not judged."""

    def command(self, url: str) -> str:
        return script.command("http_status", url, seconds=8)

    def process(self, output: list[str]) -> int:
        found = [line.split()[1] for line in output if line.startswith("status ")]
        return int(found[-1]) if found else 0
