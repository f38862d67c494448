"""Network boot in figures: bytes and seconds to a login, memory of the root, many clients at once, Debian's live-boot.

`python -m benchmarks.netboot` as root, with a lab that is up (`cluster lab up --nodes 1`); its control host is made the
boot server of experiments/boot_lab/inventory.py. Guests are emulated (TCG). Parts: `boots` (ten in a row, BIOS and UEFI
in turns), `clients` (1 to 64 at once fetch the root from the control host), `live` (the same packages with Debian's
stock initrd and live-boot, in turns with ours), `secure` (UEFI with Secure Boot). Exit 0 measured, 1 a boot did not
come up, 2 could not measure.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import lab
from benchmarks import common
from benchmarks.netboot_boot import PHASES, boot_server, control, images_url, manifest_of, measured_boot
from benchmarks.netboot_live import LIVE_IMAGE, build_live_image
from benchmarks.smoke import add_argument, report_kept
from experiments import measures
from experiments.boot_lab.lab import BootLab, choose_image, serve
from experiments.errors import ExperimentError
from experiments.measures import MIB
from experiments.report import markdown, results
from facts.sources import REPOSITORY
from lab.guests import MACS, Guest, in_switch

CLIENTS = (1, 2, 4, 8, 16, 32, 64)


def main(arguments: list[str] | None = None) -> int:
    """Measure the chosen parts; returns the exit status."""
    options = _parser().parse_args(arguments)
    if options.smoke:
        return report_kept("netboot", report)
    result = results.begun("netboot")
    guests: dict[str, Guest] = {}
    try:
        path = common.result_path("netboot")
        server = boot_server()
        image = _chosen(server)
        result["image"] = _sizes(server, image)
        with tempfile.TemporaryDirectory() as directory:
            place = Path(directory)
            for name, firmware in (("compute-bios", "bios"), ("compute-uefi", "uefi")):
                guests[firmware] = Guest(name, MACS[name], firmware, place)
            if "boots" in options.parts:
                order = ["bios", "uefi"] * ((options.boots + 1) // 2)
                result["boots"] = [
                    measured_boot(server, guests[firmware], result["misses"]) for firmware in order[: options.boots]
                ]
                results.write(path, result, report(result))
            if "clients" in options.parts:
                result["clients"] = [_clients(image, number) for number in CLIENTS]
                results.write(path, result, report(result))
            if "secure" in options.parts:
                result["secure"] = _secure(server, place, options.boots, result["misses"])
                results.write(path, result, report(result))
            if "live" in options.parts:
                result["live"] = _live(server, guests["bios"], image, options, result["misses"])
                results.write(path, result, report(result))
    except (ExperimentError, lab.LabError) as error:
        print(f"netboot: {error}", file=sys.stderr)
        return 2
    finally:
        for guest in guests.values():
            guest.power_off()
    print(report(result))
    print(f"written: {path.relative_to(REPOSITORY)}")
    return 1 if result["misses"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.netboot", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--parts", nargs="+", default=["boots", "clients"], choices=["boots", "clients", "live", "secure"]
    )
    parser.add_argument("--boots", type=int, default=10, help="boots in a row")
    add_argument(parser)
    return parser


def _chosen(server: BootLab) -> str:
    """The name of the guests' image; the control host serves it, and it is chosen for all of them."""
    serve(server)
    return choose_image(server).name


def _sizes(server: BootLab, image: str) -> dict[str, Any]:
    manifest = manifest_of(server, image)
    return {"name": image, "files": {name: file["bytes"] for name, file in manifest["files"].items()}}


def _clients(image: str, number: int) -> dict[str, Any]:
    """So many at once fetch the root, from the switch's address: the firewall lets the cluster's network in."""
    url = f"{images_url(control())}/{image}/root.squashfs"
    command = (sys.executable, "-m", "benchmarks.netboot_clients", url, str(number))
    done = in_switch(*command, seconds=1800, check=False)
    if done.returncode:
        raise ExperimentError(f"{number} clients: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _secure(server: BootLab, place: Path, boots: int, misses: list[str]) -> list[dict[str, Any]]:
    """UEFI with Secure Boot: the node is said to have it, and the signed loaders are served."""
    machines = server.home / "netboot" / "machines.yaml"
    before = machines.read_text()
    machines.write_text(
        f"compute-bios: {MACS['compute-bios']}\n"
        f'compute-uefi: {{mac_address: "{MACS["compute-uefi"]}", secure_boot: true}}\n'
    )
    guest = Guest("compute-uefi", MACS["compute-uefi"], "secure", place)
    try:
        served = server.netboot("serve")
        if served.status:
            raise ExperimentError(f"the signed loaders cannot be served: {served.stderr[-300:]}")
        return [measured_boot(server, guest, misses) for _ in range(min(boots, 3))]
    finally:
        guest.power_off()
        machines.write_text(before)
        server.netboot("serve")


def _live(
    server: BootLab, guest: Guest, image: str, options: argparse.Namespace, misses: list[str]
) -> list[dict[str, Any]]:
    """Debian's live-boot with the same packages, in turns with ours, on the same guest."""
    with tempfile.TemporaryDirectory() as directory:
        built = build_live_image(server, image, Path(directory))
        sent = server.netboot("push", str(built))
        if sent.status:
            raise ExperimentError(f"the live image cannot be sent: {sent.stderr[-300:]}")
    runs = []
    try:
        for _ in range(min(options.boots, 5)):
            for which in (image, LIVE_IMAGE):
                server.netboot("use", which, "--node", guest.name)
                runs.append(
                    {"image": "live-boot" if which == LIVE_IMAGE else "ours", **measured_boot(server, guest, misses)}
                )
    finally:
        server.netboot("use", image, "--node", guest.name)
    return runs


def report(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    files = result["image"]["files"]
    lines = [
        "# Network boot",
        "",
        markdown.about(result["machine"], {"image": result["image"]["name"]}, result["started"]),
        f"Image: {', '.join(f'{name} {size / 1e6:.1f} MB' for name, size in files.items())}. Emulated guests (TCG).",
        "",
    ]
    rows, phases = [], []
    for name, runs in _groups(result):
        up = [run for run in runs if run["seconds"] is not None]
        taken = measures.spread([run["seconds"] for run in up])
        used = measures.spread([run["memory_used_bytes"] / MIB for run in up])
        sent = measures.spread([run["bytes"] / 1e6 for run in up])
        rows.append(
            (
                name,
                f"{len(up)} of {len(runs)}",
                *(markdown.shown(taken[which]) for which in ("median", "least", "most")),
                markdown.shown(sent["median"]),
                markdown.shown(used["median"], 0),
            )
        )
        told = [run["phases"] for run in up if run.get("phases")]
        medians = (measures.spread([each[phase] for each in told])["median"] for phase in PHASES)
        phases.append((name, *(markdown.shown(median) for median in medians)))
    if rows:
        head = ("boot", "came up", "median s", "least s", "most s", "MB over HTTP", "memory used MiB")
        lines += [markdown.table(head, rows), "", "Where the seconds went, medians:", ""]
        lines += [markdown.table(("boot", *PHASES), phases), ""]
    if "live" in result:
        lines += [_compared(result["live"]), ""]
    if "clients" in result:
        fetched = [
            (
                str(run["clients"]),
                markdown.shown(run["first_seconds"], 2),
                markdown.shown(run["last_seconds"], 2),
                markdown.shown(run["bytes_per_second"] / 1e6, 0),
            )
            for run in result["clients"]
        ]
        lines += [markdown.table(("clients", "first has it s", "last has it s", "MB/s together"), fetched), ""]
    lines.append(markdown.listed_misses(result["misses"]))
    return "\n".join(lines)


def _groups(result: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Boots of one part, image and firmware, under a name for the tables."""
    found = []
    for part in ("boots", "secure", "live"):
        runs = result.get(part, [])
        for image, firmware in dict.fromkeys((run.get("image", "ours"), run["firmware"]) for run in runs):
            mine = [run for run in runs if (run.get("image", "ours"), run["firmware"]) == (image, firmware)]
            found.append((f"{image}, {firmware} ({part})", mine))
    return found


def _compared(runs: list[dict[str, Any]]) -> str:
    """One line: our median over live-boot's, of the boots that took turns."""
    medians = [
        measures.spread([run["seconds"] for run in runs if run["image"] == image and run["seconds"]])["median"]
        for image in ("ours", "live-boot")
    ]
    ratio = markdown.shown(measures.ratio(*medians), 2)
    return f"Ours over live-boot, medians of the boots in turns: {ratio} (aim: 0.50)."


if __name__ == "__main__":
    sys.exit(main())
