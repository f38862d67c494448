"""Which inventory a cluster is: the one file whose state directory it has. Another one is refused while it runs.

The path of that file is in the state directory, written by the first command that changes the cluster. Where that file
is gone, has another state directory now, or nothing of its cluster runs, the next command that changes something takes
the directory over: a moved checkout and a second one go on without a question.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path

from deploys import hosts
from deploys.roles import services
from deploys.settings import Settings
from inventories.composition import lock_file, reading
from inventories.composition.operator import write_whole
from operate import clusters, runner
from operate.clusters import ClusterInventory
from operate.errors import OperatorError
from operate.runner import FactRequest

FILE = "inventory"


def load(given: str) -> ClusterInventory:
    """Read an inventory and refuse it where its state is another one's: for every command that touches a cluster."""
    cluster = clusters.read(given)
    refuse_another(cluster)
    return cluster


@contextlib.contextmanager
def exclusive(cluster: ClusterInventory, what: str) -> Iterator[None]:
    """One changing command at a time for a cluster on this machine, and its inventory's from now on.

    OperatorError names the process that is at work, or the inventory to which the state belongs.
    """
    with _locked(cluster.directory, what):
        refuse_another(cluster)
        _take(cluster)
        yield


def owner(cluster: ClusterInventory) -> Path | None:
    """The inventory to which the state directory belongs; None where it is nobody's yet.

    State without a record is a deploy's by pyinfra alone, or an earlier version's: it is the project's own inventory's.
    """
    try:
        return Path(_file(cluster).read_text().strip())
    except OSError:
        own = reading.INVENTORIES / f"{cluster.name}.py"
        return own if own.is_file() and (cluster.directory / "secrets").is_dir() else None


def refuse_another(cluster: ClusterInventory) -> None:
    """OperatorError where the state directory is another inventory's, unless nothing of that one's cluster runs."""
    path = owner(cluster)
    if path is None or path == cluster.path or not path.is_file():
        return
    running = _runs(path, cluster.directory)
    if running:
        raise OperatorError(
            f"{cluster.given}: cluster {cluster.name} is {path}'s, {running}; stop it first, "
            f"`cluster -c {shlex.quote(str(path))} down`, or give this inventory a name of its own: "
            f"compose(..., name={cluster.path.stem!r}); if it is the same cluster, hand it over: "
            f"echo {shlex.quote(str(cluster.path))} > {shlex.quote(str(_file(cluster)))}"
        )


def _file(cluster: ClusterInventory) -> Path:
    return cluster.directory / FILE


def _take(cluster: ClusterInventory) -> None:
    if _file(cluster).is_file() and owner(cluster) == cluster.path:
        return
    try:
        write_whole(_file(cluster), f"{cluster.path}\n")
    except OSError as error:
        raise OperatorError(f"{_file(cluster)}: {error.strerror}; state is kept there, make room for it") from None


def _runs(path: Path, directory: Path) -> str:
    """What runs of an inventory's cluster, or why that cannot be told; empty where nothing runs."""
    try:
        other = clusters.read(str(path))
    except OperatorError as error:
        return f"which cannot be asked whether it runs ({error})"
    if other.directory != directory:
        return ""
    asked = {host.name: [_services(host.settings)] for host in other.hosts}
    found = runner.observe(other, asked)
    running = [
        name for name, seen in found.items() if any(s["active"] for s in seen.facts.get("services", {}).values())
    ]
    if running:
        return f"and runs on {', '.join(running)}"
    silent = [name for name, seen in found.items() if "services" not in seen.facts]
    return f"and {', '.join(silent)} cannot be asked whether it runs" if silent else ""


def _services(settings: Settings) -> FactRequest:
    return FactRequest("services", "facts.services.Services", hosts.of(settings).states(services(settings)))


@contextlib.contextmanager
def _locked(directory: Path, what: str) -> Iterator[None]:
    def refuse(holder: str) -> None:
        raise OperatorError(f"{what}: {holder} is at work on this cluster; wait for it to end")

    with contextlib.ExitStack() as stack:
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            stack.enter_context(lock_file.held(directory / "lock", what, refuse))
        except OSError as error:
            raise OperatorError(
                f"{directory}: {error.strerror}; state is kept there, set CLUSTER_HOME to another place"
            ) from None
        yield
