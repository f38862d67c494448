"""Write what the playbook needs from the project's own declaration: `python -m benchmarks.ansible.export DIRECTORY`

DIRECTORY gets inventory.json, host_vars/ and content/. Contents, modes, owners and commands come from the functions
that the deploys use, so that both tools have the same bytes to write. Secrets are not copied: their paths are named.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import shlex
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from deploys import library, roles, runtime_lock, secrets
from deploys.compute_base import declared as compute_base
from deploys.compute_base.deploy import PACKAGES
from deploys.compute_base.system import firewall_chain
from deploys.depot.declared import depot_file, depot_service
from deploys.environment import ray_client
from deploys.files import ManagedFile
from deploys.operations.ready import ENGINES_SECONDS, NODES_SECONDS
from deploys.ray_head.declared import head_service
from deploys.ray_worker.declared import worker_service
from deploys.services import service_file
from deploys.settings import Settings, parse
from deploys.vllm.declared import FETCH_MODEL, serve_file, serve_service
from facts import sources

PROJECT = Path(__file__).resolve().parents[2]

Directory = dict[str, str]


class ExportError(Exception):
    """An inventory that the playbook does not cover; the message says what it has that the playbook has not."""


def main() -> int:
    """Export the inventory named by the second argument (default: lab); 1 when the playbook does not cover it."""
    if len(sys.argv) not in (2, 3):
        print("usage: python -m benchmarks.ansible.export DIRECTORY [INVENTORY]", file=sys.stderr)
        return 2
    try:
        export(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) == 3 else "lab")
    except ExportError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def export(directory: Path, inventory: str) -> None:
    """Replace what `directory` holds of an earlier export by that of `inventory`."""
    module = importlib.import_module(f"inventories.{inventory}")
    content, variables = directory / "content", directory / "host_vars"
    for folder in (content, variables):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    groups: dict[str, Any] = {}
    for group in ("control", "compute"):
        # Not `control` alone: a group may not have a host's name.
        hosts: dict[str, Any] = {}
        groups[f"{group}_nodes"] = {"hosts": hosts}
        for name, data in getattr(module, group):
            settings = parse(name, data["settings"])
            check_covered(settings)
            hosts[name] = connection(name, data)
            values = {**host_variables(settings, content), "content_directory": str(content.resolve())}
            (variables / f"{name}.json").write_text(json.dumps(values, indent=1) + "\n")
    (directory / "inventory.json").write_text(json.dumps({"all": {"children": groups}}, indent=1) + "\n")


def check_covered(settings: Settings) -> None:
    """ExportError for what deploys/all.py would do and the playbook would not."""
    if settings.system.service_manager != "systemd" or not settings.system.managed or settings.system.shared_files:
        raise ExportError(f"{settings.node}: the playbook covers hosts with systemd that are managed whole")
    if settings.accelerators.names or settings.accelerators.kernel_arguments:
        raise ExportError(f"{settings.node}: the playbook installs no drivers and sets no kernel arguments")


def connection(name: str, data: dict[str, Any]) -> dict[str, str]:
    """How Ansible reaches a host: the same user, key and known hosts as pyinfra, and nobody's own ssh settings."""
    options = {
        "UserKnownHostsFile": data["ssh_known_hosts_file"],
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
    }
    return {
        "ansible_host": data.get("ssh_hostname", name),
        "ansible_user": data["ssh_user"],
        "ansible_ssh_private_key_file": data["ssh_key"],
        "ansible_ssh_common_args": "-F none " + " ".join(f"-o {shlex.quote(f'{k}={v}')}" for k, v in options.items()),
    }


def host_variables(settings: Settings, content: Path) -> dict[str, Any]:
    """Everything that the playbook's tasks name, for one host; writes the files' contents below `content`."""
    places = settings.directories
    dashboard = f"http://{settings.head_address}:{settings.ray.ports.dashboard}"
    wait = [*library.start("python3", compute_base.CLUSTER_WAIT), dashboard]
    peers = [f"{name}={address}" for name, address in settings.network.peers.items()]
    return {
        "system_packages": list(PACKAGES),
        "service_user": settings.system.service_user,
        "state_directory": places.state,
        "firewall_chain": firewall_chain(settings),
        "stages": stages(settings, content),
        "secret_files": [
            {"source": secrets.ensure(settings.secrets[secret]), "path": path}
            for secret, path in compute_base.secret_files(settings).items()
        ],
        "runtime_directory": runtime_lock.directory(settings),
        "runs_engine": settings.runs_engine,
        "model_directory": settings.model.directory,
        "model_check_script": sources.text("facts.programs.model_state"),
        "head_address": settings.head_address,
        "head_port": settings.ray.ports.gcs,
        "ray_environment": ray_client(settings),
        "shared_memory_bytes": 2 * settings.ray.object_store_bytes,
        "nodes_command": [*wait, "nodes", str(NODES_SECONDS), *peers],
        "engines_command": [
            *wait,
            "engines",
            str(ENGINES_SECONDS),
            *(f"{application.name}={application.serving.replicas}" for application in settings.applications),
        ],
        **bringing_commands(settings),
    }


def bringing_commands(settings: Settings) -> dict[str, Any]:
    """Commands that bring runtime and model: built and fetched on the control node, copied on the others."""
    places, uv = settings.directories, version("uv")
    runtime, lock = runtime_lock.directory(settings), runtime_lock.load(settings.runtime)
    if not settings.is_control:
        fetch = [
            library.script_path(settings, compute_base.FETCH_FROM_DEPOT),
            settings.head_address,
            str(settings.depot.port),
        ]
        return {
            "runtime_command": [*fetch, "runtime", lock.name, runtime, "complete.json"],
            "runtime_environment": {},
            "model_command": [*fetch, "models", settings.model.name, settings.model.directory, "manifest.json"],
            "model_environment": {},
        }
    environment = {"UV_CACHE_DIR": places.package_cache, **settings.system.package_sources}
    locked = f"{places.library}/{lock.name}.lock"
    source = json.dumps(dict(settings.model.source), sort_keys=True)
    return {
        "runtime_command": [
            library.script_path(settings, compute_base.BUILD_RUNTIME),
            runtime,
            settings.runtime.python,
            locked,
            uv,
        ],
        "runtime_environment": environment,
        "model_command": [
            *library.start(f"{runtime}/bin/python", FETCH_MODEL),
            settings.model.directory,
            source,
        ],
        "model_environment": {
            **environment,
            **library.search_path(settings),
            "CLUSTER_UV": f"{places.runtime}/uv-{uv}/bin/uv",
        },
    }


def stages(settings: Settings, content: Path) -> dict[str, Any]:
    """Stage -> its directories, files, service and batched check; together exactly the declared managed files."""
    found: dict[str, tuple[list[Directory], tuple[ManagedFile, ...], str]] = {
        "base": (base_directories(settings), (*roles.programs(settings), *compute_base.files(settings)), "")
    }
    if settings.is_control:
        depot, head, serve = (build(settings) for build in (depot_service, head_service, serve_service))
        found["depot"] = ([], (depot_file(settings), service_file(settings, depot)), depot.name)
        found["head"] = ([], (service_file(settings, head),), head.name)
        found["serve"] = ([], (serve_file(settings), service_file(settings, serve)), serve.name)
    else:
        worker = worker_service(settings)
        found["worker"] = ([], (service_file(settings, worker),), worker.name)
    exported = {file.path for _, files, _ in found.values() for file in files}
    declared = {file.path for file in roles.managed_files(settings)}
    if exported != declared:
        raise ExportError(f"{settings.node}: stages and managed files differ: {sorted(exported ^ declared)}")
    return {name: stage(directories, files, service, content) for name, (directories, files, service) in found.items()}


def stage(directories: list[Directory], files: tuple[ManagedFile, ...], service: str, content: Path) -> dict[str, Any]:
    """One stage as plain values."""
    paths = " ".join(shlex.quote(file.path) for file in files)
    all_paths = " ".join([*(shlex.quote(entry["path"]) for entry in directories), paths])
    expected = [f"{entry['mode'].lstrip('0')} {entry['owner']} {entry['path']}" for entry in directories]
    expected += [f"{file.mode.lstrip('0')} {file.owner} {file.path}" for file in files]
    expected += [f"{file.sha256}  {file.path}" for file in files]
    return {
        "directories": directories,
        "files": [
            {"path": file.path, "owner": file.owner, "mode": file.mode, "source": write_content(file, content)}
            for file in files
        ],
        "service": service,
        "check_command": f"stat -c '%a %U %n' -- {all_paths}; sha256sum -- {paths}",
        "check_expected": "\n".join(expected),
    }


def write_content(file: ManagedFile, content: Path) -> str:
    """Name below `content` of the file's bytes; equal bytes are written once."""
    name = hashlib.sha256(file.content.encode()).hexdigest()[:16]
    (content / name).write_bytes(file.content.encode())
    return name


def base_directories(settings: Settings) -> list[Directory]:
    """As deploys/operations/directories.py makes them; where the two differ, one tool undoes the other's work and the
    benchmark refuses its own run.
    """
    places = settings.directories
    wanted = {
        places.library: ("root", "0755"),
        places.configuration: ("root", "0755"),
        places.state: (settings.system.service_user, "0750"),
        str(Path(places.ray).parent): (settings.system.service_user, "0750"),
    }
    if settings.is_control:
        wanted |= {places.models: ("root", "0755"), places.runtime: ("root", "0755")}
    return [{"path": path, "owner": owner, "mode": mode} for path, (owner, mode) in wanted.items()]


if __name__ == "__main__":
    sys.exit(main())
