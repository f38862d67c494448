"""Send a signal to every process of a node whose title or program begins so: NAME SIGNAL NODE

Runs on the node's machine, which others may share, with the system's Python.
Prints {at, processes}; exit 1 when there is none.
"""

import json
import os
import signal
import sys
import time


def is_of(process: str, node: bytes) -> bool:
    """Whether a process belongs to the node: Ray and its engines have its name in their environment."""
    with open(f"/proc/{process}/environ", "rb") as stream:
        return b"CLUSTER_NODE_NAME=" + node in stream.read().split(bytes(1))


def main() -> int:
    """Look through all processes once."""
    name, number, node = sys.argv[1].encode(), signal.Signals[sys.argv[2]], sys.argv[3].encode()
    at, hit = time.time(), []
    for entry in os.listdir("/proc"):  # noqa: PTH208 (names are all that is wanted)
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as stream:
                line = stream.read()
            program = line.partition(bytes(1))[0].rpartition(b"/")[2]
            if (line.startswith(name) or program.startswith(name)) and is_of(entry, node):
                os.kill(int(entry), number)
                hit.append(f"{entry} {line.replace(bytes(1), b' ').decode(errors='replace').strip()[:80]}")
        except OSError:
            continue
    print(json.dumps({"at": at, "processes": hit}))
    return 0 if hit else 1


if __name__ == "__main__":
    sys.exit(main())
