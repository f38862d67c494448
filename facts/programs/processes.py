"""Processes that belong to one cluster node, with their memory, as one JSON line: NODE CLUSTER"""

import json
import os
import re
import sys


def found(node: str, cluster: str) -> tuple[dict[int, int], dict[int, str], set[int]]:
    """Parents, names, and those that carry the node's marks in their environment."""
    marks = {f"CLUSTER_NODE_NAME={node}".encode(), f"CLUSTER_NAME={cluster}".encode()}
    parents: dict[int, int] = {}
    marked: set[int] = set()
    names: dict[int, str] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 (names are all that is wanted)
        if not entry.isdigit():
            continue
        pid = int(entry)
        try:
            with open(f"/proc/{pid}/stat", "rb") as stream:
                parents[pid] = int(stream.read().rsplit(b")", 1)[1].split()[1])
            with open(f"/proc/{pid}/cmdline", "rb") as stream:
                names[pid] = stream.read().replace(b"\0", b" ").decode(errors="replace").strip()[:100]
            with open(f"/proc/{pid}/environ", "rb") as stream:
                if marks <= set(stream.read().split(b"\0")):
                    marked.add(pid)
        except OSError:
            continue
    return parents, names, marked


def belongs(pid: int, parents: dict[int, int], marked: set[int]) -> bool:
    """Whether the process or an ancestor carries the marks; a renamed process has overwritten its environment."""
    seen = 0
    while pid in parents and seen < 64:
        if pid in marked:
            return True
        pid, seen = parents[pid], seen + 1
    return False


def _bytes(pid: int) -> int:
    """Proportional set size; 0 where it may not be read."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as text:
            share = re.search(r"^Pss:\s+(\d+)", text.read(), re.M)
    except OSError:
        share = None
    return int(share[1]) * 1024 if share else 0


def main() -> None:
    """All of the node's processes in one document."""
    parents, names, marked = found(*sys.argv[1:3])
    mine = [pid for pid in parents if names.get(pid) and belongs(pid, parents, marked)]
    print(json.dumps({"processes": [{"pid": pid, "name": names[pid], "bytes": _bytes(pid)} for pid in mine]}))


if __name__ == "__main__":
    main()
