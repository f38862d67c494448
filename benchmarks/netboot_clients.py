"""Many clients that fetch one file at once, each a process that keeps nothing. Standard library only.

`python -m benchmarks.netboot_clients URL CLIENTS` prints the figures as JSON: to be run where the URL can be reached.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from multiprocessing.synchronize import Barrier as BarrierType
from typing import Any

from facts.programs import direct

_BLOCK_BYTES = 1 << 20
_SECONDS = 900.0


def fetch_at_once(url: str, clients: int) -> dict[str, Any]:
    """Seconds until the first and the last of `clients` has the file, and the rate of all together."""
    context = multiprocessing.get_context("fork")
    start = context.Barrier(clients + 1)
    answers: Any = context.Queue()
    processes = [context.Process(target=_fetch, args=(url, start, answers)) for _ in range(clients)]
    for process in processes:
        process.start()
    start.wait(_SECONDS)
    found = [answers.get(timeout=_SECONDS) for _ in processes]
    for process in processes:
        process.join(_SECONDS)
    # The first client's clock, not this process's: on few processors it may be the last to go on.
    begun = min(begin for begin, _, _ in found)
    ends = [end - begun for _, end, _ in found]
    sizes = {size for _, _, size in found}
    if len(sizes) != 1 or not all(isinstance(size, int) for size in sizes):
        raise RuntimeError(f"{url}: clients got {sorted(str(size) for size in sizes)} bytes; the server cut some off")
    return {
        "clients": clients,
        "bytes": sizes.pop(),
        "first_seconds": round(min(ends), 3),
        "last_seconds": round(max(ends), 3),
        "bytes_per_second": round(sum(size for _, _, size in found) / max(ends)),
    }


def _fetch(url: str, start: BarrierType, answers: Any) -> None:
    start.wait(_SECONDS)
    begun = time.monotonic()
    size: Any = 0
    try:
        with direct.opened(url, _SECONDS) as stream:
            while block := stream.read(_BLOCK_BYTES):
                size += len(block)
    except OSError as error:
        size = str(error)
    answers.put((begun, time.monotonic(), size))


if __name__ == "__main__":
    print(json.dumps(fetch_at_once(sys.argv[1], int(sys.argv[2]))))
