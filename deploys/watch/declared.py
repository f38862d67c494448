"""What watch declares: the service of the web page and its files as the control node has them.

Pure, but for this project's own files that are copied to the host. The page is read once when the service starts, and
the configuration too, so the digests of all of them decide whether it has to be restarted.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deploys import hosts, library, runtime_lock
from deploys.declaration import Role
from deploys.environment import api_key_path, token_path
from deploys.files import ManagedFile
from deploys.services.description import Service
from deploys.settings import Settings

WATCH = "cluster-watch"
PROGRAM = "deploys.watch.programs.cluster_watch"
PERIOD_SECONDS = 2.0
RETENTION_SECONDS = 900

_HERE = Path(__file__).parent
_PAGE_KINDS = (".html", ".css", ".js", ".svg")


def node_label(settings: Settings, node: str) -> str:
    """What people call a node: "Head Node", or "Worker Node #2" in the inventory's order."""
    if node == settings.control_node:
        return "Head Node"
    workers = [name for name in settings.network.peers if name != settings.control_node]
    return f"Worker Node #{workers.index(node) + 1}"


def verify_path(settings: Settings) -> str:
    """Where `cluster verify` leaves what it found, for the page to show. Settings of the control node."""
    return f"{settings.directories.state}/verify.json"


def watch_configuration(settings: Settings) -> dict[str, Any]:
    """What cluster_watch.py is told. Settings of the control node."""
    ports = settings.ray.ports
    return {
        "cluster": settings.cluster,
        "address": settings.network.address,
        "port": ports.watch,
        "endpoint": settings.endpoint,
        "models": [application.model.name for application in settings.applications],
        "span": any(application.serving.mode == "span" for application in settings.applications),
        "dashboard": f"http://{settings.head_address}:{ports.dashboard}",
        "token_file": token_path(settings),
        "key_file": api_key_path(settings) if settings.api_key_required else "",
        "verify_file": verify_path(settings),
        "page": f"{settings.directories.library}/page",
        "period_seconds": PERIOD_SECONDS,
        "retention_seconds": RETENTION_SECONDS,
        "nodes": [
            {
                "name": node,
                "role": "control" if node == settings.control_node else "compute",
                "label": node_label(settings, node),
                "address": address,
                "accelerators": list(settings.watch.accelerators[node]),
                "engine_ports": list(settings.gateway.engine_ports.get(node, ())),
                "model": _model_of(settings, node),
            }
            for node, address in settings.network.peers.items()
        ],
        "links": [dict(link) for link in settings.network.links],
    }


def _model_of(settings: Settings, node: str) -> str:
    application = settings.application_of(node)
    return application.model.name if application else ""


def files(settings: Settings) -> tuple[ManagedFile, ...]:
    """Configuration, programs and page of the control node."""
    owner = hosts.of(settings).owner
    text = json.dumps(watch_configuration(settings), indent=1, sort_keys=True) + "\n"
    return (
        ManagedFile(f"{settings.directories.configuration}/watch.json", text, owner=owner),
        *library.programs(settings, PROGRAM),
        *(
            ManagedFile(f"{settings.directories.library}/page/{path.name}", path.read_text(), owner=owner)
            for path in sorted((_HERE / "page").iterdir())
            if path.suffix in _PAGE_KINDS
        ),
    )


def watch_service(settings: Settings) -> Service:
    """Serves the page and what it shows; it needs nothing else to be up."""
    configuration, *_ = declared = files(settings)
    return Service(
        name=WATCH,
        description=f"Web page of cluster {settings.cluster}",
        command=(
            *library.start(f"{runtime_lock.directory(settings)}/bin/python", PROGRAM),
            configuration.path,
        ),
        environment=library.search_path(settings),
        ports={settings.ray.ports.watch: "the web page"},
        inputs=tuple(file.sha256 for file in declared),
    )


def services(settings: Settings) -> tuple[Service, ...]:
    """The page's."""
    return (watch_service(settings),)


ROLE = Role(services=services, files=files)
