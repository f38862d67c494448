"""Run a Ray worker on another node-manager port each time: rejoin.py FIRST-PORT LAST-PORT STATE-FILE COMMAND...

The head keeps a broken connection to the address and port of a node that died, and may not try it again for minutes. A
node that is back there before is known and cannot be reached: Ray 2.60 then books the engine's slot on it,
fails to hand it over, and never gives the booking back. The next port of a pinned range has no such past.

Replaces itself by the command (exec), so that the service manager keeps the right process. Standard library only.
"""

import contextlib
import os
import sys
from pathlib import Path


def next_port(first: int, last: int, state: Path) -> int:
    """The port after the one written in `state`, which is overwritten; `first` where nothing usable is written."""
    try:
        port = int(state.read_text()) + 1
    except (OSError, ValueError):
        port = first
    port = port if first <= port <= last else first
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
