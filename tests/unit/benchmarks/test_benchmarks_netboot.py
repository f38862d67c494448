"""The benchmark of the network boot: many clients against a real server, and a report of what was measured."""

from __future__ import annotations

import functools
import http.server
import threading
from pathlib import Path

from benchmarks.netboot import report
from benchmarks.netboot_clients import fetch_at_once


def test_every_client_gets_the_whole_file(tmp_path: Path) -> None:
    (tmp_path / "root.squashfs").write_bytes(b"x" * 300_000)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        found = fetch_at_once(f"http://127.0.0.1:{server.server_port}/root.squashfs", 3)
    finally:
        server.shutdown()
    assert (found["clients"], found["bytes"]) == (3, 300_000)
    assert 0 < found["first_seconds"] <= found["last_seconds"]


def test_report_counts_boots_that_did_not_come_up() -> None:
    boot = {"firmware": "bios", "seconds": 61.5, "bytes": 130_000_000, "memory_used_bytes": 300 * 1024**2}
    lost = {"firmware": "bios", "seconds": None, "bytes": 1, "memory_used_bytes": None}
    machine = {"processor": "P", "cores": 2, "memory_bytes": 2**30, "system": "S", "kernel": "6"}
    text = report(
        {
            "image": {"name": "none-1", "files": {"root.squashfs": 99_000_000}},
            "machine": machine,
            "started": "today",
            "boots": [boot, lost],
            "clients": [{"clients": 64, "first_seconds": 1, "last_seconds": 2.5, "bytes_per_second": 5e8}],
            "misses": ["one"],
        }
    )
    assert "| ours, bios (boots) | 1 of 2 | 61.5 | 61.5 | 61.5 | 130.0 | 300 |" in text
    assert "| 64 | 1.00 | 2.50 | 500 |" in text
    assert "- one" in text
