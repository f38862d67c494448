"""One experiment at a time on a cluster: a second one would be the first one's other tenant."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from experiments.runs.errors import RunError
from inventories.composition import lock_file
from operate.clusters import ClusterInventory

FILE = "experiment.lock"


@contextlib.contextmanager
def exclusive(cluster: ClusterInventory, what: str) -> Iterator[None]:
    """Hold the cluster for an experiment; RunError names the process that has it, and its experiment.

    The kernel lets go of it when the holder ends, however that happens.
    """

    def refuse(holder: str) -> None:
        raise RunError(f"{what}: {holder} runs on {cluster.name}; wait for it to end, or stop that process")

    with contextlib.ExitStack() as stack:
        try:
            cluster.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            stack.enter_context(lock_file.held(cluster.directory / FILE, what, refuse))
        except OSError as error:
            raise RunError(
                f"{cluster.directory}: {error.strerror}; state is kept there, set CLUSTER_HOME to another place"
            ) from None
        yield
