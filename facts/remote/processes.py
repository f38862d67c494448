"""Processes that belong to one cluster node, with their memory, as one JSON line: NODE CLUSTER"""

import json
import os
import re
import sys

node, cluster = sys.argv[1:3]
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


def belongs(pid: int) -> bool:
    """Whether the process or an ancestor carries the marks; a renamed process has overwritten its environment."""
    seen = 0
    while pid in parents and seen < 64:
        if pid in marked:
            return True
        pid, seen = parents[pid], seen + 1
    return False


rows = []
for pid in parents:
    if not names.get(pid) or not belongs(pid):
        continue
    try:
        with open(f"/proc/{pid}/smaps_rollup") as text:
            share = re.search(r"^Pss:\s+(\d+)", text.read(), re.M)
    except OSError:
        share = None
    size = int(share[1]) * 1024 if share else 0
    rows.append({"pid": pid, "name": names[pid], "bytes": size})
print(json.dumps({"processes": rows}))
