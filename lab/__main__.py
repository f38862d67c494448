"""`python -m lab`: the lab without the rest of the project, for development.

Exit 0 done, 1 refused or failed, 2 bad usage.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import lab


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description="Real Debian hosts on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="bring up control and N compute hosts")
    up.add_argument("nodes", type=int, metavar="N")
    up.add_argument("image", type=Path, metavar="IMAGE", help="directory of an image")
    down = commands.add_parser("down", help="power all hosts off and remove them")
    down.add_argument("--keep-disks", action="store_true", help="keep what the hosts wrote for the next up")
    commands.add_parser("status", help="show each host's state")
    commands.add_parser("preflight", help="show what stands in the way of a lab here")
    fault = commands.add_parser("fault", help="break a host, or mend it")
    fault.add_argument("kind", metavar="KIND", help=", ".join(lab.KINDS))
    fault.add_argument("host", metavar="HOST")
    return parser


def _show(phase: str, detail: str) -> None:
    print(f"{phase:8} {detail}", flush=True)


def _run(options: argparse.Namespace) -> int:
    if options.command == "up":
        started = time.monotonic()
        state = lab.up(options.nodes, _show, options.image.absolute())
        _show("up", f"{len(state.hosts)} hosts in {time.monotonic() - started:.1f} s")
    elif options.command == "down":
        lab.down(_show, keep_disks=options.keep_disks)
    elif options.command == "fault":
        lab.fault(options.kind, options.host)
    elif options.command == "preflight":
        problems = lab.preflight()
        print("\n".join(problems) or "nothing stands in the way")
        return 1 if problems else 0
    else:
        state_now = lab.state()
        if state_now is None:
            print("no lab is up")
            return 1
        states = lab.host_states()
        for host in state_now.hosts:
            print(f"{host.name:12} {host.address:12} {states[host.name]}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except lab.LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("lab: interrupted; the next `up` or `down` mends what is left", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
