"""The benchmark of the network boot: many clients against a real server, and a report of what was measured."""

from __future__ import annotations

import functools
import http.server
import threading
from pathlib import Path

from benchmarks import netboot_join
from benchmarks.netboot import report
from benchmarks.netboot_boot import PHASES, phases
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
    boot["phases"] = dict(zip(PHASES, (10.0, 5.0, 15.0, 31.5), strict=True))
    lost = {"firmware": "bios", "seconds": None, "bytes": 1, "memory_used_bytes": None}
    machine = {"processor": "P", "cores": 2, "memory_bytes": 2**30, "system": "S", "kernel": "6"}
    text = report(
        {
            "image": {"name": "none-1", "files": {"root.squashfs": 99_000_000}},
            "machine": machine,
            "started": "today",
            "boots": [boot, lost],
            "clients": [{"clients": 64, "first_seconds": 1, "last_seconds": 2.5, "bytes_per_second": 5e8}],
            "live": [{**boot, "image": "ours"}, {**boot, "image": "live-boot", "seconds": 123.0}],
            "misses": ["one"],
        }
    )
    assert "| ours, bios (boots) | 1 of 2 | 61.5 | 61.5 | 61.5 | 130.0 | 300 |" in text
    assert "| ours, bios (boots) | 10.0 | 5.0 | 15.0 | 31.5 |" in text
    assert "live-boot, bios (live) | 1 of 1 | 123.0 |" in text
    assert "boots in turns: 0.50 (aim: 0.50)" in text
    assert "| 64 | 1.00 | 2.50 | 500 |" in text
    assert "- one" in text


def test_phases_of_a_boot_add_up_to_its_seconds() -> None:
    console = "iPXE\n[    3.2] Linux\n[    5.25] Run /init as init process\nLoading, please wait...\n"
    found = phases(61.5, 51.5, 20.0, console)
    assert found == dict(zip(PHASES, (10.0, 5.2, 14.8, 31.5), strict=True))
    assert phases(61.5, 51.5, 20.0, "a console without a kernel") is None


def test_report_of_the_whole_way_shows_each_phase_of_each_up() -> None:
    told = [{"phase": "boot", "seconds": 90.5}, {"phase": "workers", "seconds": 12.0}]
    nodes = {"compute-bios": True, "compute-uefi": True}
    used = {"compute-bios": 700 * 1024**2, "compute-uefi": None}
    up = {"status": 0, "seconds": 102.5, "phases": told, "changed": 9, "topology": nodes, "memory_used_bytes": used}
    text = netboot_join.report(
        {
            "machine": {"processor": "P", "cores": 2, "memory_bytes": 2**30, "system": "S", "kernel": "6"},
            "started": "today",
            "guest_memory_bytes": 3 * 2**30,
            "ups": [
                {**up, "which": "from nothing", "load_before": 0.5},
                {**up, "which": "after a power loss", "load_before": 1.0, "phases": told[:1]},
                {"status": 1, "which": "lost", "load_before": 1.0},
            ],
            "misses": ["up, lost: exit 1"],
        }
    )
    assert "| `cluster up` | from nothing | after a power loss |" in text
    assert "| boot: nodes boot and answer | 90.5 | 90.5 |" in text
    assert "| workers: Ray workers | 12.0 | - |" in text
    assert "| machines in Ray by `verify` | 2 of 2 | 2 of 2 |" in text
    assert "| compute-uefi: memory used MiB | - | - |" in text
    assert "- up, lost: exit 1" in text
