"""Wait for a state of the cluster, with a deadline: MANAGER SERVICE DASHBOARD WHAT SECONDS ARGUMENT...

WHAT is head, joined, nodes, engines or gateway; SERVICE is the service of this host that is to bring it, kept by
MANAGER ("systemd", or a supervisor's directory). Standard library only. Says so when the service ends, with its last
words, and exits 1 when it does so again and again, or with one line that says what is missing when the time is up.
"""

import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from deploys.compute_base.programs.service_ends import Watched
from facts.programs import direct, ray_rest
from facts.programs.engines import running, standing

PERIOD_SECONDS = 0.5
# A failure from before this run is still told for a moment, until cluster_serve.py has taken the application down.
FAILED_SECONDS = 20.0
# Its manager starts a service anew; one that ends this often while it is waited for will not come by waiting.
ENDS = 3
LOOK_SECONDS = 1.0


class FailedError(Exception):
    """The application has failed; it will not come by waiting."""


def head(_base: str, address: str) -> str:
    """Empty when the head's control store accepts connections."""
    name, _, port = address.rpartition(":")
    socket.create_connection((name, int(port)), 3).close()
    return ""


def joined(base: str, declared: str) -> str:
    """Empty when Ray has this one node (NAME=ADDRESS), whatever else it has."""
    rows = ray_rest.nodes(ray_rest.request(f"{base}{ray_rest.NODES}"))
    alive = [f"{row['node_name']}={row['node_ip']}" for row in rows if row["state"] == "ALIVE"]
    return "" if declared in alive else f"{declared.partition('=')[0]} has not joined"


def nodes(base: str, *declared: str) -> str:
    """Empty when exactly the declared nodes are alive; else what is missing, extra or at another address."""
    wanted = dict(pair.split("=", 1) for pair in declared)
    rows = ray_rest.nodes(ray_rest.request(f"{base}{ray_rest.NODES}"))
    alive = {row["node_name"]: row["node_ip"] for row in rows if row["state"] == "ALIVE"}
    said = [f"{name} has not joined" for name in wanted if name not in alive]
    said += [f"{name} is not declared" for name in alive if name not in wanted]
    said += [
        f"{name} joined as {alive[name]} instead of {address}"
        for name, address in wanted.items()
        if name in alive and alive[name] != address
    ]
    return ", ".join(said)


def engines(base: str, *declared: str) -> str:
    """Empty when every application (NAME=ENGINES) runs with all its engines; FailedError when one has failed."""
    applications = ray_rest.request(f"{base}{ray_rest.APPLICATIONS}").get("applications", {})
    wanted = [entry.rpartition("=") for entry in declared]
    said = [_engines(name, applications.get(name), int(count)) for name, _, count in wanted]
    return "; ".join(missing for missing in said if missing)


def _engines(name: str, state: Any, wanted: int) -> str:
    """What one application still lacks."""
    if state is None:
        return f"application {name} is not deployed yet"
    if state["status"] == "DEPLOY_FAILED":
        raise FailedError(f"application {name} failed: {' '.join(state.get('message', '').split())[-600:]}")
    found = running(state)
    status = standing(state)
    if status == "RUNNING" and found == wanted:
        return ""
    return f"{found} of {wanted} engines of {name} have answered, application {status}"


def gateway(_base: str, url: str) -> str:
    """Empty when the gateway has an engine that it would send a request to."""
    status = direct.status(url, 5.0, judge_certificate=False)
    return "" if status == 200 else f"the gateway says {status}: no engine serves yet"


class Ends:
    """Counts how often the service that is waited for ends."""

    def __init__(self, service: Watched) -> None:
        self.service, self.count, self.looked = service, 0, 0.0

    def look(self) -> None:
        """Say when it has ended; SystemExit when it has done so too often."""
        if time.monotonic() - self.looked < LOOK_SECONDS:
            return
        self.looked = time.monotonic()
        if not (words := self.service.ended()):
            return
        self.count += 1
        if self.count >= ENDS:
            raise SystemExit(f"{self.service.name} ended {self.count} times: {words}")
        print(f"{self.service.name} ended and begins anew: {words}", flush=True)


CHECKS: dict[str, Callable[..., str]] = {
    "head": head,
    "joined": joined,
    "nodes": nodes,
    "engines": engines,
    "gateway": gateway,
}


def main() -> None:
    """Poll until the state holds, the service is given up, or the time is up."""
    manager, service, base, what, seconds, *arguments = sys.argv[1:]
    deadline = time.monotonic() + float(seconds)
    check, ends = CHECKS[what], Ends(Watched(manager, service))
    said, failed_since = "", None
    while True:
        failed = False
        try:
            now = check(base, *arguments)
        except FailedError as error:
            now, failed = str(error), True
        except (OSError, ValueError, KeyError, TypeError) as error:
            now = f"{base} does not answer: {error}"
        if not now:
            return
        if now != said:
            print(now, flush=True)
            said = now
        failed_since = (failed_since or time.monotonic()) if failed else None
        if failed_since and time.monotonic() - failed_since > FAILED_SECONDS:
            raise SystemExit(now)
        ends.look()
        if time.monotonic() > deadline:
            raise SystemExit(f"gave up after {seconds} s: {now}")
        time.sleep(PERIOD_SECONDS)


if __name__ == "__main__":
    main()
