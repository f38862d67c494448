"""A composed lab or laptop, and what its hosts would say if all were as declared: judgements get it with one change."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from deploys import hosts, runtime_lock
from deploys.compute_base import firewall, names
from deploys.compute_base.declared import secret_files
from deploys.gateway.configuration import digest
from deploys.gateway.declared import gateway_file
from deploys.roles import managed_files, services
from deploys.settings import Settings
from facts.parse.gpu import Gpu, GpuReport
from operate.clusters import ClusterInventory, Host
from operate.runner import Observation
from tests.conftest import Composed

GIB = 1024**3
ANSWER = {"correct": True, "answer": " Paris.", "seconds": 0.3, "detail": ""}


@dataclass
class Seen:
    """A cluster and what each of its hosts said; tests change `facts` in place."""

    cluster: ClusterInventory
    found: dict[str, Observation]

    def facts(self, host: str) -> dict[str, Any]:
        return self.found[host].facts  # type: ignore[return-value]  # made here, and a dict

    def set(self, host: str, path: str, value: Any) -> None:
        """Change one field: `services|cluster-depot|active`; an index is a number."""
        *way, last = path.split("|")
        place: Any = self.facts(host)
        for step in way:
            place = place[int(step) if isinstance(place, list) else step]
        place[int(last) if isinstance(place, list) else last] = value

    def lose(self, host: str, why: str) -> None:
        """The host does not answer."""
        self.found[host] = Observation(False, why, {}, {}, {})

    def unread(self, host: str, key: str, why: str = "no answer within 75 s") -> None:
        """One fact of it could not be read."""
        seen = self.found[host]
        facts = {name: value for name, value in seen.facts.items() if name != key}
        self.found[host] = replace(seen, facts=facts, errors={**seen.errors, key: why})


def _said(host: Host, everyone: list[Host]) -> dict[str, Any]:
    """Facts of one host of a cluster that runs as declared, as `operate.observer` hands them on."""
    settings = host.settings
    for name, local in settings.secrets.items():
        Path(local).parent.mkdir(parents=True, exist_ok=True)
        Path(local).write_text(f"the {name} of a test")
    files = {
        file.path: {"sha256": file.sha256, "mode": file.mode, "owner": file.owner} for file in managed_files(settings)
    }
    for name, path in secret_files(settings).items():
        content = Path(settings.secrets[name]).read_bytes()
        files[path] = {"sha256": hashlib.sha256(content).hexdigest(), "mode": "0400", "owner": "cluster"}
    lock = runtime_lock.load(settings.runtime)
    models = {
        app.model.directory: {"state": "whole", "bytes": 270_000_000, "problems": []} for app in _models(settings)
    }
    facts: dict[str, Any] = {
        "services": {
            service.name: {"active": True, "enabled": True, "configuration": service.digest}
            for service in services(settings)
        },
        "files": files,
        "runtime": {
            "complete": True,
            "name": lock.name,
            "ray_version": lock.ray_version,
            "python": f"{settings.runtime.python}.2",
        },
        "processes": {"engines": ["VLLM::EngineCore"] if settings.runs_engine else [], "total_bytes": GIB},
        "listening": {"sockets": []},
        "disk": {"mount_point": "/", "free_bytes": 40 * GIB},
        "memory": {
            "total_bytes": 64 * GIB,
            "available_bytes": 60 * GIB,
            "swap_total_bytes": 0,
            "swap_free_bytes": 0,
        },
        "shared_memory": {
            "mount_point": "/dev/shm",
            "source": "tmpfs",
            "filesystem_type": "tmpfs",
            "size_bytes": 32 * GIB,
            "used_bytes": 0,
            "free_bytes": 32 * GIB,
        },
        "host": {
            "python_version": f"{settings.runtime.python}.2",
            "os_id": "debian",
            "os_version": "12",
            "os_name": "Debian GNU/Linux 12 (bookworm)",
            "architecture": "x86_64",
            "init_is_systemd": True,
        },
        **{f"model {directory}": state for directory, state in models.items()},
    }
    if settings.mine:
        facts["model"] = next(iter(models.values()))
    if hosts.of(settings).has_own_system:
        facts["firewall"] = firewall.mark(settings)
        facts["interfaces"] = {
            "tool": "present",
            "interfaces": [
                {
                    "name": settings.network.interface,
                    "mac_address": "",
                    "mtu_bytes": 1500,
                    "state": "UP",
                    "addresses": [{"address": settings.network.address, "prefix_length": 24, "scope": "global"}],
                    "speed_bits_per_second": None,
                    "driver": "",
                }
            ],
        }
        facts["clock"] = {"epoch_seconds": 1000.5, "synchronised": "yes", "detail": ""}
        facts["way_in"] = {
            "address": settings.network.address,
            "port": 22,
            "interface": settings.network.interface,
            "listening": [22],
            "let_in": [],
        }
        own = names.merged("127.0.0.1 localhost\n", settings.node, settings)
        facts["names"] = {"host_name": settings.node, "hosts": own, "cloud_init": ""}
        facts["resolution"] = {
            "host_name": settings.node,
            "addresses": [settings.network.address],
            "resolves_to_loopback": False,
            "detail": "",
        }
        if settings.runtime.kind == "rocm":
            facts["apt_sources"] = ["bookworm main", "bookworm-backports non-free-firmware"]
        facts["own_resolution"] = dict(facts["resolution"])
        if not settings.is_control:
            facts["reach"] = "open"
    else:
        facts["numa"] = "/usr/lib/libnuma.so.1"
    if settings.accelerators.vendor:
        facts["gpus"] = gpus(settings)
    if settings.is_control:
        engines = [other for other in everyone if other.settings.runs_engine]
        facts |= {
            "nodes": {"unreachable": "", "nodes": [_ray_node(other) for other in everyone]},
            "serve": {
                "status": "RUNNING",
                "message": "",
                "applications": {application.name: "RUNNING" for application in settings.applications},
            },
            "proofs": {
                "unreachable": "",
                "proofs": [
                    {
                        **ANSWER,
                        "node": other.name,
                        "address": other.settings.network.address,
                        "model": other.settings.mine.model.name if other.settings.mine else "",
                    }
                    for other in engines
                ],
            },
            "gateway": digest(gateway_file(settings).content),
        }
    return copy.deepcopy(facts)


def gpus(settings: Settings) -> dict[str, Any]:
    """What the vendor's tool would say of the declared cards in good health; made here, no such card was at hand."""
    part = settings.accelerators
    target = part.architecture if part.vendor == "amd" else None
    cards = [
        Gpu(index, part.vendor, name, None, f"0000:0{index + 1}:00.0", part.memory_bytes or GIB, gfx_target=target)
        for index, name in enumerate(part.names)
        if part.vendor
    ]
    tool = "nvidia-smi" if part.vendor == "nvidia" else "amd-smi"
    report = GpuReport(
        part.vendor or "nvidia",
        "present",
        tool,
        "570.10",
        gpus=tuple(cards),
        devices_on_pci_bus=len(cards),
        bus_addresses=tuple(card.pci_address or "" for card in cards),
        bus_drivers=("nvidia" if part.vendor == "nvidia" else "amdgpu",) * len(cards),
    )
    found: dict[str, Any] = json.loads(json.dumps(report.to_json()))
    return found


def _models(settings: Settings) -> list[Any]:
    """The applications whose weights a host needs."""
    return list(settings.applications) if settings.is_control else [settings.mine] if settings.mine else []


def _ray_node(host: Host) -> dict[str, Any]:
    settings = host.settings
    return {
        "name": host.name,
        "address": settings.network.address,
        "alive": True,
        "head": settings.is_control,
        "why_dead": "",
        "cpus": float(settings.ray.cpus),
        "gpus": float(settings.ray.gpus),
        "engine_slots": float(settings.ray.engine_slots),
    }


Watched = Callable[..., Seen]


@pytest.fixture
def watched(composed: Composed) -> Watched:
    """watched(managed=False, ...) is a cluster of which everything is as declared; arguments are `composed`'s."""

    def make(**how: Any) -> Seen:
        settings = composed(**how)
        ssh = {"ssh_user": "admin", "ssh_key": "/a/key", "ssh_hostname": "192.0.2.99"}
        hosts = [Host(name, ssh, one) for name, one in settings.items()]
        cluster = ClusterInventory("mine", Path("mine.py"), tuple(hosts))
        times = {"clock": (1000.0, 1001.0)}
        return Seen(cluster, {host.name: Observation(True, "", _said(host, hosts), {}, times) for host in hosts})

    return make
