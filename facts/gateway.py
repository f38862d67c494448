"""What the gateway says of itself on its socket. Reads only."""

from __future__ import annotations

import shlex

from pyinfra.api.facts import FactBase

_ASK = """
import socket, sys
asked = socket.socket(socket.AF_UNIX)
asked.settimeout(5)
try:
    asked.connect(sys.argv[1])
    asked.sendall(b"show info\\n")
    text = b""
    while part := asked.recv(65536):
        text += part
except OSError as error:
    print("silent:", error.strerror or error)
else:
    print("".join(line + "\\n" for line in text.decode().splitlines() if line.startswith("description:")))
"""


class Loaded(FactBase[str]):
    """Mark of the configuration that the running gateway has loaded; empty when it does not answer.

    `socket` is the path of HAProxy's socket on the host. Ask it of the control node.
    """

    def command(self, socket: str) -> str:
        return f"timeout 8 python3 -c {shlex.quote(_ASK)} {shlex.quote(socket)} 2>&1; true"

    def process(self, output: list[str]) -> str:
        return next((line.partition(":")[2].strip() for line in output if line.startswith("description:")), "")
