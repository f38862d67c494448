"""Send a signal to every process whose name begins so: NAME SIGNAL

Runs on a host with the system's Python. Prints {at, processes}; exit 1 when there is none.
"""

import json
import os
import signal
import sys
import time


def main() -> int:
    """Look through all processes once."""
    name, number = sys.argv[1].encode(), signal.Signals[sys.argv[2]]
    at, hit = time.time(), []
    for entry in os.listdir("/proc"):  # noqa: PTH208 (names are all that is wanted)
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as stream:
                line = stream.read()
            if line.startswith(name):
                os.kill(int(entry), number)
                hit.append(f"{entry} {line.replace(bytes(1), b' ').decode(errors='replace').strip()[:80]}")
        except OSError:
            continue
    print(json.dumps({"at": at, "processes": hit}))
    return 0 if hit else 1


if __name__ == "__main__":
    sys.exit(main())
