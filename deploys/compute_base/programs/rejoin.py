"""Run a Ray worker on another node-manager port each time: rejoin.py FIRST-PORT LAST-PORT STATE-FILE COMMAND...

The head keeps a broken connection to the address and port of a node that died, and may not try it again for minutes. A
node that is back there before is known and cannot be reached: Ray 2.60 then books the engine's slot on it,
fails to hand it over, and never gives the booking back. The next port of a pinned range has no such past.

Replaces itself by the command (exec), so that the service manager keeps the right process. Standard library only.
"""

import contextlib
import os
import random
import sys
from pathlib import Path


def next_port(first: int, last: int, state: Path) -> int:
    """The port after the one written in `state`, which is overwritten; any of the range where none is.

    A node that boots over the network forgets its record with its power, and was known to the head before all the same.
    """
    try:
        before = int(state.read_text())
    except (OSError, ValueError):
        before = -1
    following = before + 1 if before < last else first
    port = following if first <= before <= last else random.randint(first, last)  # noqa: S311 (no secret)
    with contextlib.suppress(OSError):  # a full disk must not keep a node away: it comes back on the same port
        state.parent.mkdir(parents=True, exist_ok=True)  # Ray makes it, after this
        state.write_text(f"{port}\n")
    return port


def main() -> None:
    """Does not return."""
    first, last, state, *command = sys.argv[1:]
    port = next_port(int(first), int(last), Path(state))
    os.execvp(command[0], [*command, f"--node-manager-port={port}"])  # noqa: S606 (the declared command)


if __name__ == "__main__":
    main()
