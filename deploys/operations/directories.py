"""Make the directories that the project's services use, with their owners, and empty one."""

from __future__ import annotations

import posixpath
from collections.abc import Generator
from fnmatch import fnmatch

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import StringCommand

from deploys import hosts, shell
from deploys.settings import Settings
from facts.directories import Contents, Directories

Commands = Generator[StringCommand, None, None]


@operation()
def make(settings: Settings) -> Commands:
    """Bring the declared directories to their owner and mode; what is in them is left alone."""
    kind = hosts.of(settings)
    user, root = kind.service_user, kind.administrator
    places = settings.directories
    wanted = {
        places.library: (root, "0755"),
        places.configuration: (root, "0755"),
        places.state: (user, kind.private_mode),
        # Ray opens its own directory to everyone, so its parent is what keeps others out.
        posixpath.dirname(places.ray): (user, kind.private_mode),
    }
    if settings.is_control:
        wanted[places.models] = (root, "0755")
        wanted[places.runtime] = (root, "0755")
    found = host.get_fact(Directories, paths=tuple(wanted))
    stale = {path: state for path, state in wanted.items() if found.get(path) != state}
    if not stale:
        host.noop(f"{len(wanted)} directories are as declared")
        return
    for path, (owner, mode) in stale.items():
        yield shell.command("mkdir", "-p", "--", values=(path,))
        if kind.owner:
            yield shell.command("chown", "--", values=(owner, path))
        yield shell.command("chmod", mode, "--", values=(path,))


@operation()
def empty(path: str, keep: tuple[str, ...]) -> Commands:
    """Remove what is in the directory `path`, but for names that one of the patterns in `keep` fits."""
    going = [name for name in host.get_fact(Contents, path=path) if not any(fnmatch(name, one) for one in keep)]
    if not going:
        host.noop(f"nothing to remove in {path}")
        return
    yield shell.command("rm", "-rf", "--", values=tuple(posixpath.join(path, name) for name in going))
