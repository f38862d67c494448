"""Write a set of managed files with one look at the host, however many they are."""

from __future__ import annotations

import hashlib
import io
import posixpath
from collections.abc import Generator, Mapping
from pathlib import Path

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import FileUploadCommand, StringCommand

from deploys import shell
from deploys.files import ManagedFile
from facts.files import Digests
from facts.parse.cluster_state import FileState

Commands = Generator[StringCommand | FileUploadCommand, None, None]


def differs(found: FileState | None, wanted: ManagedFile, *, by: str = "") -> bool:
    """Whether a file on a host is not the declared one: absent, other content, other mode or other owner."""
    if found is None or found.sha256 != wanted.sha256 or found.mode != wanted.mode:
        return True
    owner = wanted.owner or by
    return bool(owner) and found.owner != owner


@operation()
def write_files(
    files: tuple[ManagedFile, ...], directory: str = "", declared: frozenset[str] = frozenset()
) -> Commands:
    """Bring `files` to their declared content, mode and owner; below `directory` only the paths in `declared` stay.

    The content goes to a temporary name beside the target and is renamed, so that no reader sees half a file. Nothing
    is printed by --diff: these files are compared by digest.
    """
    paths = tuple(file.path for file in files)
    found = host.get_fact(Digests, paths=paths, directory=directory)
    stale = [file for file in files if differs(found.get(file.path), file)]
    left = sorted(set(found) - {*paths, *declared}) if directory else []
    if not stale and not left:
        host.noop(f"{len(files)} managed files are as declared")
        return
    if left:
        yield shell.command("rm", "-f", "--", values=tuple(left))
    if not stale:
        return
    directories = sorted({posixpath.dirname(file.path) for file in stale})
    yield shell.command("mkdir", "-p", "--", values=tuple(directories))
    for file in stale:
        yield from replace(file)


def replace(file: ManagedFile) -> Commands:
    """Write one file, whole or not at all."""
    staged = f"{file.path}.cluster-new"
    yield FileUploadCommand(io.BytesIO(file.content.encode()), staged, remote_temp_filename=_temporary(file.path))
    yield from _settle(staged, file.path, file.mode, file.owner)


@operation()
def write_secrets(secrets: Mapping[str, str], owner: str, group: str = "") -> Commands:
    """Copy secrets (local path -> path on the host), readable by `owner` alone.

    Compared by digest and uploaded as files: no secret is in a command, a diff or a log.
    """
    found = host.get_fact(Digests, paths=tuple(secrets.values()))
    stale = []
    for local, remote in secrets.items():
        state = found.get(remote)
        digest = hashlib.sha256(Path(local).read_bytes()).hexdigest()
        if state is None or state.sha256 != digest or state.mode != "0400" or (owner and state.owner != owner):
            stale.append((local, remote))
    if not stale:
        host.noop(f"{len(secrets)} secrets are in place")
        return
    yield shell.command("mkdir", "-p", "--", values=tuple(sorted({posixpath.dirname(path) for _, path in stale})))
    for local, remote in stale:
        staged = f"{remote}.cluster-new"
        # With sudo pyinfra uploads as the login user, to a file that others may read. So the secret passes through a
        # directory that only that user can enter, made before it and removed after it.
        closed = f"{_temporary(remote)}.d"
        yield StringCommand(f"rm -rf {shell.line(closed)}; mkdir -m 0700 {shell.line(closed)}", _sudo=False)
        passing = f"{closed}/secret"
        yield FileUploadCommand(local, passing, _sudo=False)
        yield StringCommand(f"umask 077; cat {shell.line(passing)} > {shell.line(staged)}; rm -rf {shell.line(closed)}")
        yield from _settle(staged, remote, "0400", owner)


def _settle(staged: str, path: str, mode: str, owner: str) -> Commands:
    if owner:
        yield shell.command("chown", "--", values=(owner, staged))
    yield shell.command("chmod", mode, "--", values=(staged,))
    # On a bind-mounted target, such as /etc/hosts in some containers, a rename is refused and the content is copied.
    yield StringCommand(f"mv -fT {shell.line(staged)} {shell.line(path)} || {{ cp {shell.line(staged, path)}; }}")


def _temporary(path: str) -> str:
    return f"/tmp/cluster-{hashlib.sha256(path.encode()).hexdigest()[:16]}"  # noqa: S108 (pyinfra moves it on)
