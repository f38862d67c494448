"""From power-on to the first token with machines that boot from the network: seconds of every phase of `cluster up`.

`python -m benchmarks.netboot_join` as root, with a lab of one compute host up (`cluster lab up --nodes 1`). That host
serves; two emulated machines (TCG), BIOS and UEFI, with an empty disk and one for the runtime, boot from the control
host, are configured, copy the runtime and join Ray without engine. `up` is run three times: from nothing, with all up
already, and after both lost their power. Exit 0 measured, 1 a machine did not join, 2 could not measure.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import lab
from benchmarks import common
from benchmarks.netboot_boot import boot_server, memory
from benchmarks.smoke import add_argument, report_kept
from experiments import machine
from experiments.boot_lab.lab import BootLab
from experiments.errors import ExperimentError
from experiments.measures import MIB
from experiments.report import markdown, results
from facts.sources import REPOSITORY
from hardware.model import GIB
from lab.guests import ADDRESSES, BOOT_SECONDS, MACS, Guest, write_machines
from operate.phases import SAYS

INVENTORY = "benchmarks/netboot_join_inventory.py"
CLUSTER = "netboot-join"
# The runtime has 2.7 GB, and `cluster up` wants 8 GiB free for one; the file is sparse.
DISK_BYTES = 12 * GIB
UPS = ("from nothing", "all up already", "after a power loss")


def main(arguments: list[str] | None = None) -> int:
    """Run `up` three times; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.netboot_join", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument(
        "--ups", type=int, default=len(UPS), choices=range(1, len(UPS) + 1), help="so many of the three"
    )
    parser.add_argument("--memory-mib", type=int, default=3072, help="memory of each machine")
    parser.add_argument("--limit-seconds", type=int, default=3600, help="give one `up` up after")
    add_argument(parser)
    options = parser.parse_args(arguments)
    if options.smoke:
        return report_kept("netboot_join", report)
    result = results.begun("netboot_join", guest_memory_bytes=options.memory_mib * MIB, ups=[])
    path = common.result_path("netboot_join")
    guests: list[Guest] = []
    try:
        server = boot_server()
        write_machines(server.home / CLUSTER)
        with tempfile.TemporaryDirectory() as directory:
            guests = [
                Guest(name, MACS[name], firmware, Path(directory), options.memory_mib, DISK_BYTES)
                for name, firmware in (("compute-bios", "bios"), ("compute-uefi", "uefi"))
            ]
            try:
                for which in UPS[: options.ups]:
                    _up(server, guests, which, options.limit_seconds, result)
                    results.write(path, result, report(result))
            finally:
                server.run("-c", INVENTORY, "down", seconds=600)
    except (ExperimentError, lab.LabError) as error:
        print(f"netboot_join: {error}", file=sys.stderr)
        return 2
    finally:
        for guest in guests:
            guest.power_off()
    print(report(result))
    print(f"written: {path.relative_to(REPOSITORY)}")
    return 1 if result["misses"] else 0


def _up(server: BootLab, guests: list[Guest], which: str, limit_seconds: int, result: dict[str, Any]) -> None:
    """One `cluster up`, the machines switched on when it asks for them; what it and `verify` said into the result."""
    load = machine.load_average()
    if which == "after a power loss":
        for guest in guests:
            guest.power_off()
    said: list[str] = []
    with server.started("-c", INVENTORY, "up", "--json", "--boot-seconds", str(BOOT_SECONDS)) as up:
        assert up.stderr is not None  # noqa: S101 (a pipe)
        for line in up.stderr:
            said.append(line)
            if "switch on" in line:
                break
        for guest in guests:
            if said and f"{guest.name} ({guest.mac})" in said[-1]:
                guest.power_on()
        try:
            stdout, rest = up.communicate(timeout=limit_seconds)
        except subprocess.TimeoutExpired:
            raise ExperimentError(f"up, {which}: no end after {limit_seconds} s; last: {''.join(said[-3:])}") from None
    run: dict[str, Any] = {"which": which, "status": up.returncode, "load_before": load}
    if up.returncode:
        last = " ".join("".join([*said, rest]).split())[-600:]
        result["misses"].append(f"up, {which}: exit {up.returncode}: {last}")
        result["ups"].append(run)
        return
    told = json.loads(stdout)
    run |= {key: told[key] for key in ("seconds", "phases", "changed", "checks", "node")}
    checked = server.run("-c", INVENTORY, "verify", "--json")
    checks = checked.json["checks"] if checked.stdout else []
    run["verified"] = checked.status == 0
    there = [check["detail"] for check in checks if check["name"] == "topology" and check["ok"]]
    run["topology"] = {name: any(detail.startswith(f"{name}:") for detail in there) for name in ADDRESSES}
    run["memory_used_bytes"] = {name: _memory_used(server, name) for name in ADDRESSES}
    result["ups"].append(run)
    absent = [name for name, there in run["topology"].items() if not there]
    if absent or not run["verified"]:
        wrong = [check["detail"] for check in checks if check["ok"] is not True]
        result["misses"].append(f"verify, {which}: exit {checked.status}, not in Ray: {absent}; {'; '.join(wrong[:5])}")


def _memory_used(server: BootLab, name: str) -> int | None:
    known = server.home / CLUSTER / "known_hosts"
    return memory(server.ssh_to(ADDRESSES[name], "cat /proc/meminfo", known).stdout).get("memory_used_bytes")


def report(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    done = [run for run in result["ups"] if not run["status"]]
    order = [phase for phase in SAYS if any(phase == entry["phase"] for run in done for entry in run["phases"])]
    rows = []
    for phase in order:
        taken = [{entry["phase"]: entry["seconds"] for entry in run["phases"]}.get(phase) for run in done]
        rows.append([f"{phase}: {SAYS[phase]}", *(markdown.shown(seconds) for seconds in taken)])
    rows.append(["all", *(markdown.shown(run["seconds"]) for run in done)])
    rows.append(["changes", *(str(run["changed"]) for run in done)])
    rows.append(["machines in Ray by `verify`", *(f"{sum(run['topology'].values())} of 2" for run in done)])
    for name in ADDRESSES:
        used = [run["memory_used_bytes"][name] for run in done]
        rows.append([f"{name}: memory used MiB", *(markdown.shown(size / MIB if size else None, 0) for size in used)])
    loads = ", ".join(str(run["load_before"]) for run in result["ups"])
    return "\n".join(
        [
            "# From power-on to the first token, two machines booted over the network",
            "",
            markdown.about(result["machine"], {"guests": "QEMU, TCG, Nehalem"}, result["started"]),
            f"Each guest has {result['guest_memory_bytes'] / GIB:.1f} GiB and a disk for the runtime. Seconds; load "
            f"average before each: {loads}.",
            "",
            markdown.table(["`cluster up`", *(run["which"] for run in done)], rows),
            "",
            markdown.listed_misses(result["misses"]),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
