"""A whole cluster on one machine with a GPU, from the declared files and services: for measurements, not for use.

What `cluster up` does with pyinfra is done here by hand: the managed files are written, the secret is made, and each
node's supervisor starts the declared services. So engine, Ray, Serve and gateway run as they do on a laptop cluster,
but on the GPU. Needs the locked runtime at its place, with its programs. Seconds.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from deploys import hosts, roles, runtime_lock, secrets
from deploys.compute_base.declared import secret_files
from deploys.gateway.declared import GATEWAY
from deploys.settings import Settings, parse
from experiments import servers
from experiments.errors import ExperimentError
from hardware.catalog.h200 import H200
from hardware.laptop import laptop
from hardware.model import Cluster
from inventories.composition.compose import Serving, Site, compose

ADDRESSES = {"head": "127.0.0.10", "worker1": "127.0.0.11"}
READY_SECONDS = 300.0
_CONTROL_SECONDS = 60


def settings_of(card: str, serving: Serving, runtime_kind: str = "cuda") -> tuple[Settings, Settings]:
    """Head and worker of the laptop's profile, with that card in the worker; kind `cpu`: without one, to try it out."""
    plain = laptop(1)
    parts = (replace(H200, name=card),) if runtime_kind == "cuda" else ()
    profile: Cluster = replace(plain, compute=(replace(plain.compute[0], accelerators=parts),))
    site = Site(
        login_user="root",
        service_user="root",
        service_manager="supervisor",
        shared_files=True,
        shared_processors=True,
    )
    control, compute = compose(profile, addresses=ADDRESSES, serving=serving, site=site, name="measured")
    head, worker = (parse(name, data["settings"]) for name, data in (*control, *compute))
    return head, worker


@contextlib.contextmanager
def running(nodes: tuple[Settings, ...]) -> Iterator[str]:
    """The cluster, once its engine says that it is ready; gives the engine's base address."""
    try:
        for node in nodes:
            _write(node)
            _program(node, "supervisord")
        yield _ready(nodes[-1])
    finally:
        for node in reversed(nodes):
            with contextlib.suppress(ExperimentError):
                _program(node, "supervisorctl", "shutdown")
        _gone(nodes)


def gateway(head: Settings) -> servers.Server:
    """The declared gateway that runs, with its process."""
    said = _program(head, "supervisorctl", "pid", GATEWAY).strip()
    if not said.isdigit() or said == "0":
        raise ExperimentError(f"{GATEWAY} does not run: {said or 'supervisor says nothing'}")
    return servers.Server(head.endpoint.removesuffix("/v1"), int(said))


def _write(node: Settings) -> None:
    places = node.directories
    for directory in (places.state, places.ray, hosts.of(node).manager.state_directory):
        Path(directory).mkdir(parents=True, exist_ok=True, mode=0o700)
    for file in roles.managed_files(node):
        path = Path(file.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.content)
        path.chmod(int(file.mode, 8))
    for secret, place in secret_files(node).items():
        target = Path(place)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch(mode=0o600)
        target.write_text(Path(secrets.ensure(node.secrets[secret])).read_text())


def _program(node: Settings, name: str, *arguments: str) -> str:
    """One of supervisor's programs on this node's configuration; its output, ExperimentError when it failed."""
    python = f"{runtime_lock.directory(node)}/bin/python"
    configuration = f"{hosts.of(node).manager.state_directory}/supervisord.conf"
    try:
        return subprocess.run(
            [python, "-m", f"supervisor.{name}", "-c", configuration, *arguments],
            capture_output=True,
            text=True,
            timeout=_CONTROL_SECONDS,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or getattr(error, "stdout", "") or error
        raise ExperimentError(f"{node.node}: {name}: {' '.join(str(said).split())[-300:]}") from None


def _ready(worker: Settings) -> str:
    deadline = time.monotonic() + READY_SECONDS
    ports = worker.gateway.engine_ports[worker.node]
    while time.monotonic() < deadline:
        for port in ports:
            url = f"http://{worker.network.address}:{port}"
            with contextlib.suppress(ExperimentError):
                servers.get_json(f"{url}/cluster/ready")
                return url
        time.sleep(0.5)
    raise ExperimentError(f"{worker.node}: no engine on ports {ports} ready after {READY_SECONDS:g} s; see Ray's logs")


def _gone(nodes: tuple[Settings, ...]) -> None:
    """Wait until the processes of the nodes have ended, so that the next cluster finds its memory free."""
    deadline = time.monotonic() + 60
    marks = [f"CLUSTER_NODE_NAME={node.node}".encode() for node in nodes]
    while time.monotonic() < deadline:
        alive = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and any(mark in (entry / "environ").read_bytes() for mark in marks):
                    alive.append(int(entry.name))
        if not [pid for pid in alive if pid != os.getpid()]:
            return
        time.sleep(0.5)
    raise ExperimentError(f"processes of the cluster are still there after 60 s: {alive}")
