"""Look at one node for as long as somebody listens: observe_node.py ORDER-JSON

Standard library only; it installs nothing and leaves nothing behind. Prints lines of JSON: samples of the kernel, the
node's processes, its engines' own metrics, its GPUs; flows to its peers; on the control node what the watch and Ray
say. On standard input it is asked for its clock (a line, which comes back with the host's time); the end of that input,
and `limit_seconds`, are the end of it. Order: see `Order`.
"""

import contextlib
import http.client
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from deploys.observability.programs import gpu_reader, node_files, own_state, socket_flows
from deploys.observability.programs.node_processes import NodeProcesses
from deploys.observability.programs.prometheus_text import Sample, samples

PAGE_SECONDS = 2.0
PAGE_BYTES = 4 * 1024**2
SEARCH_ROUNDS = 3  # a port where nobody listened is asked again in every third round
PREFIXES = ("vllm:", "ray_", "cluster_", "node_")
SUMMARY = "/nodes?view=summary"
APPLICATIONS = "/api/serve/applications/"
STATE = "/cluster/state"


@dataclass(frozen=True)
class Order:
    """What to look at.

    `engine_ports`: where engines of this node may listen, at `address`. `names`: the nodes' names by address.
    `machine`: this node tells of the machine's kernel, which others may share. `ray`, `watch`: base addresses, "" on
    compute nodes; `token_file` and `key_file` what they want. `gpu_seconds`: how often the GPUs are read; 0 where there
    are none, or `gpu_file` is written by somebody else.
    """

    node: str
    cluster: str
    address: str
    period_seconds: float
    limit_seconds: float
    engine_ports: list[int] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    machine: bool = True
    ray: str = ""
    token_file: str = ""
    watch: str = ""
    key_file: str = ""
    gpu_seconds: float = 0.0
    gpu_file: str = ""


def page(url: str, token_file: str = "") -> tuple[str, str]:
    """Body of a GET, and the replica that its headers name. OSError, ValueError, HTTPException without a good one."""
    place = urlsplit(url)
    headers = {"Host": place.hostname or ""}
    if token_file:
        headers["Authorization"] = f"Bearer {Path(token_file).read_text().strip()}"
    connection = http.client.HTTPConnection(place.hostname or "", place.port or 80, timeout=PAGE_SECONDS)
    try:
        connection.request("GET", f"{place.path}{f'?{place.query}' if place.query else ''}", headers=headers)
        answer = connection.getresponse()
        body = answer.read(PAGE_BYTES)
        if answer.status != 200:
            raise ValueError(f"{url} answers {answer.status}")
        return body.decode(errors="replace"), answer.headers.get("x-cluster-replica", "")
    finally:
        connection.close()


class Looker:
    """The looks of one node, and what is printed of them."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self._lock = threading.Lock()
        self._processes = NodeProcesses(order.node, order.cluster)
        self._heard: set[int] = set()
        self._said: set[str] = set()
        self._rounds = 0

    def tell(self, **line: Any) -> None:
        """One line; nobody listening any more is the end."""
        with self._lock:
            try:
                sys.stdout.write(json.dumps(line) + "\n")
                sys.stdout.flush()
            except OSError:
                os._exit(0)

    def note(self, text: str) -> None:
        """Something that cannot be seen; said once."""
        if text not in self._said:
            self._said.add(text)
            self.tell(at=time.time(), note=text)

    def look(self) -> None:
        """One round."""
        began = time.monotonic()
        self._node()
        for port in self.order.engine_ports:
            if port in self._heard or self._rounds % SEARCH_ROUNDS == 0:
                self._engine(port)
        if self.order.watch:
            self._own(f"{self.order.watch}{STATE}", self.order.key_file, own_state.watch)
        if self.order.ray:
            names, token = self.order.names, self.order.token_file
            self._own(f"{self.order.ray}{SUMMARY}", token, lambda said: own_state.ray_nodes(said, names))
            self._own(f"{self.order.ray}{APPLICATIONS}", token, lambda said: own_state.ray_replicas(said, names))
        self._flows()
        self._metrics(self.order.node, [("cluster_look_seconds", {}, round(time.monotonic() - began, 4))])
        self._rounds += 1

    def _metrics(self, node: str, found: list[Sample]) -> None:
        if found:
            self.tell(at=round(time.time(), 4), node=node, metrics=found)

    def _node(self) -> None:
        found = [*(node_files.read_node() if self.order.machine else ()), *self._processes.samples()]
        if self.order.gpu_file:
            with contextlib.suppress(OSError):
                found += samples(Path(self.order.gpu_file).read_text(errors="replace"))
        self._metrics(self.order.node, found)

    def _engine(self, port: int) -> None:
        """An engine's own metrics; a port without one is asked again later."""
        try:
            text, replica = page(f"http://{self.order.address}:{port}/metrics")
        except ConnectionRefusedError:
            self._heard.discard(port)
            return
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.note(f"{self.order.address}:{port}/metrics: {str(error) or type(error).__name__}")
            return
        self._heard.add(port)
        found = samples(text, lambda name: name.startswith(PREFIXES) and not name.endswith("_created"))
        own = {"replica": replica, "port": str(port)}
        self._metrics(self.order.node, [(name, {**labels, **own}, value) for name, labels, value in found])

    def _own(self, url: str, token_file: str, read: Any) -> None:
        try:
            said = json.loads(page(url, token_file)[0])
        except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
            self.note(f"{url}: {str(error) or type(error).__name__}")
            return
        by_node: dict[str, list[Sample]] = {}
        for node, sample in read(said):
            by_node.setdefault(node or self.order.node, []).append(sample)
        for node, found in by_node.items():
            self._metrics(node, found)

    def _flows(self) -> None:
        said, tracked, missing = socket_flows.read()
        for text in missing:
            self.note(text)
        found = socket_flows.flows(
            socket_flows.sockets(said), socket_flows.connections(tracked), self.order.address, self.order.names
        )
        if found:
            self.tell(at=round(time.time(), 4), node=self.order.node, flows=[flow.row() for flow in found])


def answer_clock(looker: Looker, stop: threading.Event) -> None:
    """Each line of standard input comes back with the time at which it was read."""
    while line := sys.stdin.readline():
        looker.tell(clock=line.strip()[:100], at=time.time())
    stop.set()


def main() -> int:
    """Look until the input ends or the time is over."""
    order = Order(**json.loads(sys.argv[1]))
    stop = threading.Event()
    place = ""
    if order.gpu_seconds and not order.gpu_file:
        place = tempfile.mkdtemp(prefix="cluster-gpu-")
        order = Order(**{**order.__dict__, "gpu_file": f"{place}/gpu.prom"})
        gpu_reader.beside(Path(order.gpu_file), order.gpu_seconds)
    looker = Looker(order)
    threading.Thread(target=answer_clock, args=(looker, stop), daemon=True).start()
    looker.tell(hello=order.node, at=time.time(), process=os.getpid())
    ends, due = time.monotonic() + order.limit_seconds, time.monotonic()
    while not stop.is_set() and time.monotonic() < ends:
        looker.look()
        due = max(due + order.period_seconds, time.monotonic())
        stop.wait(min(due, ends) - time.monotonic())
    if place:
        shutil.rmtree(place, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
