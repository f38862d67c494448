"""Write what the playbook needs from the project's own declaration: `python -m benchmarks.ansible.export DIRECTORY`

DIRECTORY gets inventory.json, host_vars/ and content/. Contents, modes, owners and commands come from the functions
that the deploys use, so that both tools have the same bytes to write. Secrets are not copied: their paths are named.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from deploys import hosts, library, roles, runtime_lock, secrets
from deploys.compute_base import declared as compute_base
from deploys.compute_base import firewall, names
from deploys.compute_base.shared import PACKAGES
from deploys.depot import declared as depot
from deploys.environment import ray_client
from deploys.files import ManagedFile
from deploys.gateway import configuration as gateway_configuration
from deploys.gateway import declared as gateway
from deploys.operations import ready
from deploys.ray_head import declared as ray_head
from deploys.ray_worker import declared as ray_worker
from deploys.settings import Settings
from deploys.vllm import declared as vllm
from deploys.watch import declared as watch
from facts import gateway as gateway_facts
from facts import sources
from operate import clusters
from operate.errors import OperatorError

Directory = dict[str, str]

# The playbook's stages are the roles that it covers, by the names of their folders; deploys/all.py has their order.
ROLES = {
    "compute_base": compute_base.ROLE,
    "depot": depot.ROLE,
    "watch": watch.ROLE,
    "ray_head": ray_head.ROLE,
    "ray_worker": ray_worker.ROLE,
    "gateway": gateway.ROLE,
    "vllm": vllm.ROLE,
}


class ExportError(Exception):
    """An inventory that the playbook does not cover; the message says what it has that the playbook has not."""


def main() -> int:
    """Export the inventory named by the second argument (default: lab); 1 when the playbook does not cover it."""
    if len(sys.argv) not in (2, 3):
        print("usage: python -m benchmarks.ansible.export DIRECTORY [INVENTORY]", file=sys.stderr)
        return 2
    try:
        export(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) == 3 else "lab")
    except (ExportError, OperatorError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def export(directory: Path, inventory: str) -> None:
    """Replace what `directory` holds of an earlier export by that of `inventory`."""
    cluster = clusters.read(inventory)
    content, variables = directory / "content", directory / "host_vars"
    for folder in (content, variables):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    # Not `control` alone: a group may not have a host's name.
    groups: dict[str, dict[str, dict[str, Any]]] = {name: {"hosts": {}} for name in ("control_nodes", "compute_nodes")}
    for host in cluster.hosts:
        check_covered(host.settings)
        groups[f"{host.settings.role}_nodes"]["hosts"][host.name] = connection(host.name, host.data)
        values = {**host_variables(host.settings, content), "content_directory": str(content.resolve())}
        (variables / f"{host.name}.json").write_text(json.dumps(values, indent=1) + "\n")
    (directory / "inventory.json").write_text(json.dumps({"all": {"children": groups}}, indent=1) + "\n")


def check_covered(settings: Settings) -> None:
    """ExportError for what deploys/all.py would do and the playbook would not."""
    if not hosts.of(settings).has_own_system or settings.system.shared_files:
        raise ExportError(f"{settings.node}: the playbook covers hosts with systemd that are managed whole")
    if settings.accelerators.names or settings.accelerators.kernel_arguments:
        raise ExportError(f"{settings.node}: the playbook installs no drivers and sets no kernel arguments")
    if len(settings.applications) != 1 or "reference" in settings.model.golden:
        raise ExportError(f"{settings.node}: the playbook brings one model, whose golden answer is published")
    if uncovered := [role for role in roles.roles(settings) if role not in ROLES.values()]:
        raise ExportError(f"{settings.node}: {len(uncovered)} roles are in no stage of the playbook")


def connection(name: str, data: Mapping[str, Any]) -> dict[str, str]:
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
    return {
        "system_packages": list(PACKAGES),
        "service_user": settings.system.service_user,
        "state_directory": places.state,
        "names_block": names.block(settings),
        "firewall_chain": firewall.mark(settings),
        "firewall_guard": library.script_path(settings, compute_base.FIREWALL_GUARD),
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
        "nodes_command": ready.waiting_for_nodes(settings),
        "engines_command": ready.waiting_for_engines(settings),
        "gateway_commands": ready.waiting_for_gateway(settings),
        **(loaded_gateway(settings) if settings.is_control else {}),
        **bringing_commands(settings),
    }


def loaded_gateway(settings: Settings) -> dict[str, Any]:
    """How the gateway is asked for the mark of its configuration, which one it should have, and how it is checked."""
    written = gateway.gateway_file(settings)
    return {
        "gateway_mark_command": gateway_facts.Loaded().command(gateway_configuration.gateway_socket(settings)),
        "gateway_mark": gateway_configuration.digest(written.content),
        "gateway_check_command": [gateway.haproxy(settings), "-c", "-q", "-f", written.path],
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
            *library.start(f"{runtime}/bin/python", vllm.FETCH_MODEL),
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
    of_host = roles.roles(settings)
    found: dict[str, tuple[list[Directory], tuple[ManagedFile, ...], str]] = {}
    for name, role in ROLES.items():
        if role not in of_host:
            continue
        services = role.services(settings)
        if len(services) > 1:
            raise ExportError(f"{settings.node}: {name} has {len(services)} services; a stage of the playbook has one")
        files = (*role.files(settings), *hosts.of(settings).service_files(*services))
        if role is compute_base.ROLE:
            # It brings the programs of all roles.
            found[name] = (base_directories(settings), (*roles.programs(settings), *files), "")
        elif files:
            found[name] = ([], files, "".join(service.name for service in services))
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
