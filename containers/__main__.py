"""Write what Docker or Podman needs to run the cluster: python -m containers [--workers N] [--into DIR] [--check]

Beside this file: the compose files, and, not in the repository, the build's context, mounted files and .env. The
secrets are made where those of every cluster are. Exit 1 when --check finds a compose file that is not as declared.
"""

from __future__ import annotations

import argparse
import contextlib
import grp
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from containers import document
from containers.declared import Declared, load
from containers.files import (
    PREPARED,
    configuration_directory,
    context_directory,
    image_context,
    mounted_files,
)
from deploys import secrets
from deploys.compute_base.declared import secret_files
from deploys.settings import SettingsError
from hardware.model import ProfileError
from inventories.composition.operator import package_sources

HERE = Path(__file__).resolve().parent
WORKERS = 2
BASE = "containers"
# Override file -> the inventory that it makes of the base.
VARIANTS = {"compose.nvidia.yaml": "containers_nvidia", "compose.amd.yaml": "containers_amd"}
# The image's user where root prepares: a container never runs as root.
IMAGE_USER = 10001


def compose_files(workers: int) -> dict[str, str]:
    """Text of every compose file, by its name."""
    base = document.compose(load(BASE, workers))
    about = f"A Ray head and {workers} workers in containers, without GPUs: docs/clusters/containers.md"
    texts = {"compose.yaml": document.to_text(base, about)}
    for name, inventory in VARIANTS.items():
        declared = load(inventory, workers)
        parts = declared.members[-1].settings.accelerators.names
        added = document.override(base, document.compose(declared))
        about = f"Added to compose.yaml: one {', '.join(parts)} for each worker, and what is served on it"
        texts[name] = document.to_text(added, about)
    return texts


def prepare(directory: Path, workers: int) -> None:
    """Write compose files, contexts, mounted files, secrets and .env below `directory`."""
    for name, text in compose_files(workers).items():
        _write(directory / name, text)
    shutil.rmtree(directory / PREPARED, ignore_errors=True)
    for inventory in (BASE, *VARIANTS.values()):
        declared = load(inventory, workers)
        for path, file in image_context(declared).items():
            _write(directory / context_directory(declared) / path, file.content, int(file.mode, 8))
        for path, file in mounted_files(declared).items():
            _write(directory / path, file.content, int(file.mode, 8))
        front = document.front_configuration(declared.control)
        _write(directory / configuration_directory(declared) / "front.cfg", front)
    base = load(BASE, workers)
    _write(directory / ".env", "".join(f"{key}={value}\n" for key, value in environment(base).items()), 0o600)


def environment(declared: Declared) -> dict[str, str]:
    """What differs between machines; makes the secrets that are not there yet."""
    here = declared.control
    user, group = os.getuid() or IMAGE_USER, os.getgid() or IMAGE_USER
    files = [Path(secrets.ensure(here.secrets[name])) for name in secret_files(here)]
    if os.getuid() == 0:
        for file in files:
            os.chown(file, user, group)
    found = {"CLUSTER_SECRETS": str(files[0].parent), "CLUSTER_UID": str(user), "CLUSTER_GID": str(group)}
    for name in ("video", "render"):
        with contextlib.suppress(KeyError):
            found[f"CLUSTER_{name.upper()}_GID"] = str(grp.getgrnam(name).gr_gid)
    sources = package_sources()
    found |= {name: sources[name] for name in document.SOURCES if name in sources}
    return found


def stale(directory: Path, texts: Mapping[str, str]) -> list[str]:
    """Names of compose files that are missing or not as declared."""
    return [n for n, text in texts.items() if not (directory / n).is_file() or (directory / n).read_text() != text]


def main() -> int:
    """Exit 0 when all is written or holds, 1 when --check finds a difference, 2 when the cluster cannot be."""
    parser = argparse.ArgumentParser(prog="python -m containers", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", type=int, default=WORKERS, help="number of workers (default %(default)s)")
    parser.add_argument("--into", type=Path, default=HERE, help="directory to write to (default %(default)s)")
    parser.add_argument("--check", action="store_true", help="write nothing; say which compose file is not as declared")
    given = parser.parse_args()
    try:
        if given.check:
            wrong = stale(given.into, compose_files(given.workers))
            for name in wrong:
                print(f"{given.into / name} is not as declared; run: python -m containers", file=sys.stderr)
            return 1 if wrong else 0
        prepare(given.into, given.workers)
    except (ProfileError, SettingsError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"written to {given.into}; next: docker compose -f {given.into / 'compose.yaml'} up --build --wait")
    return 0


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o755)  # the image's directories get these modes, whatever the umask here is
    path.write_text(text)
    path.chmod(mode)


if __name__ == "__main__":
    sys.exit(main())
