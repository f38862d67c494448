"""Install the locked runtime: built once on the control node, copied from there by the compute nodes."""

from __future__ import annotations

from collections.abc import Generator
from importlib.metadata import version

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import StringCommand

from deploys import hosts, runtime_lock, shell
from deploys.compute_base.declared import BUILD_RUNTIME, FETCH_FROM_DEPOT
from deploys.library import script_path
from deploys.settings import Settings
from facts.ray import Runtime

Commands = Generator[StringCommand, None, None]


def _sources(settings: Settings) -> str:
    variables = {"UV_CACHE_DIR": settings.directories.package_cache, **settings.system.package_sources}
    if uv := hosts.of(settings).tool_uv():
        variables["CLUSTER_UV"] = uv
    return "env " + " ".join(shell.line(f"{key}={value}") for key, value in sorted(variables.items()))


@operation()
def build(settings: Settings) -> Commands:
    """Build the runtime from its lock; nothing to do when the directory is whole."""
    directory = runtime_lock.directory(settings)
    if host.get_fact(Runtime, directory=directory).complete:
        host.noop(f"{directory} is whole")
        return
    lock = runtime_lock.load(settings.runtime)
    script = script_path(settings, BUILD_RUNTIME)
    arguments = shell.line(
        script, directory, settings.runtime.python, f"{settings.directories.library}/{lock.name}.lock", version("uv")
    )
    yield StringCommand(f"{_sources(settings)} {arguments}")


@operation()
def copy_from_depot(settings: Settings) -> Commands:
    """Copy the runtime from the control node; nothing to do when the directory is whole."""
    directory = runtime_lock.directory(settings)
    if host.get_fact(Runtime, directory=directory).complete:
        host.noop(f"{directory} is whole")
        return
    yield _copy(settings, "runtime", runtime_lock.load(settings.runtime).name, directory, "complete.json")
    # A Python that uv brought along lies beside the runtime; with one of the system there is nothing to copy.
    pythons = f"{settings.directories.runtime}/python"
    yield StringCommand(
        f"[ -x {shell.line(f'{directory}/bin/python')} ] || rsync --archive --timeout=60 "
        f"--port={settings.depot.port} {shell.line(f'rsync://{settings.head_address}/runtime/python/', f'{pythons}/')}"
    )


def _copy(settings: Settings, module: str, name: str, directory: str, marker: str) -> StringCommand:
    script = script_path(settings, FETCH_FROM_DEPOT)
    return shell.command(
        script, settings.head_address, str(settings.depot.port), values=(module, name, directory, marker)
    )
