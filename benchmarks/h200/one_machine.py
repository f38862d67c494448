"""A whole cluster on one machine with GPUs, from the declared files and services: for measurements, not for use.

What `cluster up` does with pyinfra is done here by hand: the managed files are written, the secret is made, and each
node's supervisor starts the declared services. So engine, Ray, Serve and gateway run as they do on a laptop cluster,
but on the GPU: with several workers each is a Ray node of its own with one card, by its environment. Needs the locked
runtime at its place, with its programs. Seconds.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
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
from hardware.model import Accelerator, Cluster
from inventories.composition.compose import Serving, Site, compose

HEAD_ADDRESS, WORKER_ADDRESS = "127.0.0.10", "127.0.0.1{}"
READY_SECONDS = 300.0
# Where the logs of the last cluster are after it: one that did not start tells there why.
LOGS, LOG_END_BYTES, LOG_KINDS = Path(tempfile.gettempdir()) / "measured-logs", 300_000, (".log", ".out", ".err")
_CONTROL_SECONDS = 60
# What a machine with several GPUs says of multicast between them (a program that uses it can put its server's GPUs out
# of service) holds for every engine on it, whoever starts it.
MACHINE_SETTINGS = ("NCCL_NVLS_ENABLE", "TORCH_SYMM_MEM_DISABLE_MULTICAST", "NVSHMEM_DISABLE_NVLS")


def settings_of(
    card: str,
    serving: Serving,
    runtime_kind: str = "cuda",
    environments: Sequence[Mapping[str, str]] = ({},),
) -> tuple[Settings, ...]:
    """The head, and a worker with that card for each of `environments`, which its engine's processes get beside theirs.

    Kind `cpu`: workers without a card, to try it out.
    """
    plain = laptop(len(environments))
    machine = {name: os.environ[name] for name in MACHINE_SETTINGS if name in os.environ}

    def parts(more: Mapping[str, str]) -> tuple[Accelerator, ...]:
        if runtime_kind != "cuda":
            return ()
        return (replace(H200, name=card, environment=tuple({**machine, **more}.items())),)

    compute = tuple(
        replace(node, accelerators=parts(more)) for node, more in zip(plain.compute, environments, strict=True)
    )
    profile: Cluster = replace(plain, compute=compute)
    addresses = {"head": HEAD_ADDRESS}
    addresses |= {node.name: WORKER_ADDRESS.format(number) for number, node in enumerate(compute, 1)}
    site = Site(
        login_user="root",
        service_user="root",
        service_manager="supervisor",
        shared_files=True,
        shared_processors=True,
    )
    control, workers = compose(profile, addresses=addresses, serving=serving, site=site, name="measured")
    return tuple(parse(name, data["settings"]) for name, data in (*control, *workers))


@contextlib.contextmanager
def running(nodes: tuple[Settings, ...]) -> Iterator[str]:
    """The cluster, once its engine says that it is ready; gives the engine's base address. At the end it is killed."""
    with started(nodes):
        yield ready(nodes)


@contextlib.contextmanager
def started(nodes: tuple[Settings, ...]) -> Iterator[None]:
    """The cluster from the start of its services on, ready or not. At the end it is killed: nothing is waited for."""
    try:
        for node in nodes:
            _write(node)
            _program(node, "supervisord")
        yield
    finally:
        for node in reversed(nodes):
            _kill(node)
        for node in nodes:
            keep_logs(node, LOGS)
        _gone(nodes)
        for node in nodes:  # nothing of Ray's is found by the next one
            shutil.rmtree(node.directories.ray, ignore_errors=True)


def keep_logs(node: Settings, place: Path) -> None:
    """The ends of what the node's services, Ray and engines wrote, as NODE-FILE in `place`; else it goes with Ray's."""
    place.mkdir(parents=True, exist_ok=True)
    directories = {Path(hosts.of(node).manager.state_directory), Path(node.directories.ray)}
    written = [file for directory in directories for file in directory.rglob("*.*") if file.suffix in LOG_KINDS]
    for file in sorted(written):
        with contextlib.suppress(OSError):
            if file.is_file() and not file.is_symlink() and file.stat().st_size:
                with file.open("rb") as stream:
                    stream.seek(max(0, file.stat().st_size - LOG_END_BYTES))
                    (place / f"{node.node}-{file.name}").write_bytes(stream.read())


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


def ready(nodes: tuple[Settings, ...], seconds: float = READY_SECONDS) -> str:
    """Wait until an engine of the cluster is ready; its base address."""
    deadline = time.monotonic() + seconds
    places = engine_places(nodes)
    while time.monotonic() < deadline:
        for url in places:
            with contextlib.suppress(ExperimentError):
                servers.get_json(f"{url}/cluster/ready")
                return url
        time.sleep(0.1)
    raise ExperimentError(f"no engine on {', '.join(places)} ready after {seconds:g} s; see Ray's logs")


def engine_places(nodes: tuple[Settings, ...]) -> tuple[str, ...]:
    """Base addresses at which an engine of these nodes may listen: of one over several nodes, any of them."""
    return tuple(
        f"http://{node.network.address}:{port}"
        for node in nodes
        for port in node.gateway.engine_ports.get(node.node, ())
    )


def processes(nodes: tuple[Settings, ...]) -> dict[int, str]:
    """pid -> node of everything that carries the cluster's name and a node's."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                variables = set((entry / "environ").read_bytes().split(b"\0"))
                found |= {
                    int(entry.name): node.node
                    for node in nodes
                    if {f"CLUSTER_NAME={node.cluster}".encode(), f"CLUSTER_NODE_NAME={node.node}".encode()} <= variables
                }
    return found


def _kill(node: Settings) -> None:
    """End the supervisor and all that it started, at once."""
    doomed: list[int] = []
    with contextlib.suppress(OSError, ValueError):
        supervisor = int((Path(hosts.of(node).manager.state_directory) / "supervisord.pid").read_text())
        doomed += [supervisor, *servers.with_children(supervisor)]
    for pid in [*doomed, *processes((node,))]:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _gone(nodes: tuple[Settings, ...]) -> None:
    """Wait until the processes of the nodes have ended, so that the next cluster finds its memory free."""
    deadline = time.monotonic() + 60
    while alive := processes(nodes):
        if time.monotonic() > deadline:
            raise ExperimentError(f"processes of the cluster are still there after 60 s: {sorted(alive)}")
        time.sleep(0.2)
