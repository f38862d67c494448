"""Ray's own command on a node that may be slow: patient_ray.py SECONDS ARGUMENTS...

Runs on the cluster's nodes inside the locked runtime. Two of Ray's waits are numbers that no option and no variable
changes. A raylet ends when its agents, Pythons that import for long, have not written their ports after 15 s; and
`ray start` ends when its raylet is not known to the head after 30 s. The service manager begins anew, and a slow board,
or one that reads its runtime for the first time, never joins. The ports are declared here, so they are written down
before the raylet asks, and the head is asked for `SECONDS`: but only as long as the raylet lives. Ray itself asks on
about one that is dead.
"""

import os
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploys.compute_base.programs import control_store
from deploys.programs import private_names

PERIOD_SECONDS = 0.5
LOOK_SECONDS = 0.2
# Ray's log: `[2026-01-01 00:00:00,000 C 123 123] (raylet) file.cc:1: words`; C and E are its fatal and its error.
_FATAL = re.compile(r"^\[[^\]]* [CE] \d+ \d+\] (?:\(\w+\) )?(?P<words>.*)")
# Ray's sentence before the cause, the same for each.
_BOILERPLATE = re.compile(r"\S+: +An unexpected system state has occurred\. .*? to fix it\. ")
WORDS = 3


def last_words(logs: list[Path]) -> str:
    """The last errors in Ray's logs, and where there are none their last lines; one line of text."""
    lines = [line for path in logs if path.is_file() for line in path.read_text(errors="replace").splitlines()]
    fatal = [_BOILERPLATE.sub("", found["words"]).strip() for line in lines if (found := _FATAL.match(line))]
    said = list(dict.fromkeys(fatal or [line.strip() for line in lines if line.strip()]))
    return "; ".join(said[-WORDS:])


def look_after(node: Any, known: threading.Event) -> None:
    """End this command with the raylet's last words when it ends before Ray knows it.

    In a thread of its own: Ray asks in a call that takes 30 s and that no signal ends.
    """
    while not known.wait(LOOK_SECONDS):
        status = private_names.raylet_status(node)
        if status is None:
            continue
        said = last_words(private_names.raylet_logs(node)) or "it said nothing"
        print(f"the raylet ended with status {status}: {said}", file=sys.stderr, flush=True)
        private_names.kill_all(node)
        os._exit(1)  # as Ray itself does when one of its processes has ended


def patient(ask: Callable[..., Any], seconds: float, known: threading.Event) -> Callable[..., Any]:
    """`ask` that is asked again while it raises RuntimeError, which is Ray's word for a node that is not known yet."""

    def asked(*arguments: Any, **named: Any) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            try:
                found = ask(*arguments, **named)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(PERIOD_SECONDS)
            else:
                known.set()
                return found

    return asked


def after_ports(
    start: Callable[..., Any],
    persist: Callable[..., Any],
    names: dict[str, str],
    started: Callable[[Any], None],
) -> Callable[..., Any]:
    """`Node.start_raylet` after the declared ports were written: `names` are Ray's names by its parameters'.

    `started` is told of the node when its raylet runs.
    """

    def start_raylet(node: Any, *arguments: Any, **named: Any) -> Any:
        for parameter, name in names.items():
            if port := private_names.declared_port(node, parameter):
                persist(*private_names.place_of(node), name, port)
        result = start(node, *arguments, **named)
        started(node)
        return result

    return start_raylet


def main() -> None:
    """Ray's command; ends as it does."""
    seconds, *arguments = sys.argv[1:]
    known = threading.Event()
    store = control_store.declared()
    if store and (said := store.begin()):
        print(said, file=sys.stderr, flush=True)

    def look(node: Any) -> None:
        look_after(node, known)
        if store:
            store.started()

    def started(node: Any) -> None:
        threading.Thread(target=look, args=(node,), daemon=True).start()

    ray = private_names.change_start(
        lambda ask: patient(ask, float(seconds), known),
        lambda start, persist, names: after_ports(start, persist, names, started),
    )
    sys.argv = ["ray", *arguments]
    ray()


if __name__ == "__main__":
    main()
