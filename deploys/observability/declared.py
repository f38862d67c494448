"""What observability declares, where an inventory asks for it: nothing by itself. Pure, but for the programs' files.

On hosts with systemd, Prometheus and node exporters of the distribution, run as this project's own services: on the
cluster's address, closed by its firewall, with digests like the rest. The distribution's own units, which listen on
every address, are masked before they are installed. Where there is no package (the laptop) an experiment's observer
asks the same places (experiments/telemetry/observers.py), and nothing runs between experiments.
"""

from __future__ import annotations

import json
from typing import Any

from deploys import hosts, library, runtime_lock
from deploys.declaration import Role
from deploys.files import ManagedFile
from deploys.observability.choice import wants_traces
from deploys.services.description import Limits, Service
from deploys.settings import Settings

PROMETHEUS, NODE_EXPORTER = "cluster-prometheus", "cluster-node-exporter"
GPU_READER, TRACES = "cluster-gpu-reader", "cluster-traces"
NAMES = (PROMETHEUS, NODE_EXPORTER, GPU_READER, TRACES)
# Debian's, by the package that brings them.
PACKAGES = {"prometheus": "prometheus.service", "prometheus-node-exporter": "prometheus-node-exporter.service"}
RECEIVER = "deploys.observability.programs.otlp_receiver"
GPU_PROGRAM = "deploys.observability.programs.gpu_reader"
GPU_SECONDS = 10
SCRAPE_SECONDS = 5
# Collectors of the node exporter that cost a look at much, or say what no one here asks.
_LEFT_OUT = (
    *("arp", "bcache", "bonding", "btrfs", "dmi", "fibrechannel", "infiniband", "ipvs", "mdadm", "nfs", "nfsd"),
    *("rapl", "selinux", "tapestats", "xfs", "zfs"),
)


def wants_metrics(settings: Settings) -> bool:
    """Whether Prometheus and its exporters run on this host."""
    return settings.observability.kind != "none" and hosts.of(settings).has_own_system


def packages(settings: Settings) -> tuple[str, ...]:
    """The distribution's packages that this host needs."""
    if not wants_metrics(settings):
        return ()
    return tuple(PACKAGES) if settings.is_control else ("prometheus-node-exporter",)


def _directory(settings: Settings) -> str:
    return f"{settings.directories.state}/observability"


def gpu_file(settings: Settings) -> str:
    """What the host's own reader of GPUs writes; "" where none runs."""
    wanted = wants_metrics(settings) and settings.accelerators.names
    return f"{_directory(settings)}/textfile/gpu.prom" if wanted else ""


def spans_file(settings: Settings) -> str:
    """Where the control node keeps the engines' spans; "" where they send none."""
    return f"{_directory(settings)}/spans.jsonl" if wants_traces(settings) and settings.is_control else ""


def directories(settings: Settings) -> tuple[str, ...]:
    """What has to be there before the services start; the service user's."""
    if not services(settings):
        return ()
    place = _directory(settings)
    return place, f"{place}/textfile", f"{place}/prometheus"


def prometheus_configuration(settings: Settings) -> dict[str, Any]:
    """Prometheus' configuration, which is YAML and so takes JSON: every engine's place, every node."""
    peers, port = settings.network.peers, settings.observability.node_exporter_port
    engines = [
        {"targets": [f"{peers[node]}:{number}" for number in ports], "labels": {"node": node}}
        for node, ports in settings.gateway.engine_ports.items()
    ]
    exporters = [{"targets": [f"{address}:{port}"], "labels": {"node": node}} for node, address in peers.items()]
    return {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "scrape_timeout": "2s"},
        "scrape_configs": [
            {"job_name": "node", "static_configs": exporters},
            # A port where no engine listens is a target that is down, and costs a refused connection.
            {"job_name": "vllm", "static_configs": engines},
        ],
    }


def prometheus_file(settings: Settings) -> ManagedFile:
    """The same as the file that it reads."""
    text = json.dumps(prometheus_configuration(settings), indent=1, sort_keys=True) + "\n"
    return ManagedFile(f"{settings.directories.configuration}/prometheus.yml", text, owner=hosts.of(settings).owner)


def _prometheus(settings: Settings) -> Service:
    wanted, ports = prometheus_file(settings), settings.observability
    return Service(
        name=PROMETHEUS,
        description=f"Metrics of cluster {settings.cluster}",
        command=(
            "/usr/bin/prometheus",
            f"--config.file={wanted.path}",
            f"--storage.tsdb.path={_directory(settings)}/prometheus",
            f"--storage.tsdb.retention.time={ports.retention_days}d",
            f"--web.listen-address={settings.network.address}:{ports.prometheus_port}",
        ),
        inputs=(wanted.sha256,),
        ports={ports.prometheus_port: "Prometheus"},
        limits=Limits(memory_bytes=1024**3),
    )


def _node_exporter(settings: Settings) -> Service:
    port = settings.observability.node_exporter_port
    return Service(
        name=NODE_EXPORTER,
        description=f"Metrics of {settings.node}'s system",
        command=(
            "/usr/bin/prometheus-node-exporter",
            f"--web.listen-address={settings.network.address}:{port}",
            f"--collector.textfile.directory={_directory(settings)}/textfile",
            *(f"--no-collector.{name}" for name in _LEFT_OUT),
        ),
        ports={port: "the node exporter"},
    )


def _gpu_reader(settings: Settings) -> Service:
    return Service(
        name=GPU_READER,
        description=f"Reads the GPUs of {settings.node} every {GPU_SECONDS} s",
        command=(*library.start("/usr/bin/python3", GPU_PROGRAM), gpu_file(settings), str(GPU_SECONDS)),
        environment=library.search_path(settings),
        inputs=tuple(file.sha256 for file in library.programs(settings, GPU_PROGRAM)),
    )


def _traces(settings: Settings) -> Service:
    port = settings.observability.traces_port
    return Service(
        name=TRACES,
        description=f"Takes traces of cluster {settings.cluster}",
        command=(
            *library.start(f"{runtime_lock.directory(settings)}/bin/python", RECEIVER),
            *(settings.network.address, str(port), spans_file(settings)),
        ),
        environment=library.search_path(settings),
        inputs=tuple(file.sha256 for file in library.programs(settings, RECEIVER)),
        ports={port: "traces"},
    )


def services(settings: Settings) -> tuple[Service, ...]:
    """What runs on this host; nothing unless the inventory asks for it."""
    found = []
    if wants_metrics(settings):
        found.append(_node_exporter(settings))
        if gpu_file(settings):
            found.append(_gpu_reader(settings))
        if settings.is_control:
            found.append(_prometheus(settings))
    if spans_file(settings):
        found.append(_traces(settings))
    return tuple(found)


def programs(settings: Settings) -> tuple[ManagedFile, ...]:
    """The receiver and the reader of GPUs, where they run."""
    wanted = [*((RECEIVER,) if spans_file(settings) else ()), *((GPU_PROGRAM,) if gpu_file(settings) else ())]
    return library.programs(settings, *wanted) if wanted else ()


def files(settings: Settings) -> tuple[ManagedFile, ...]:
    """Prometheus' configuration, on the control node."""
    return (prometheus_file(settings),) if wants_metrics(settings) and settings.is_control else ()


ROLE = Role(services=services, programs=programs, files=files)
