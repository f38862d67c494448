"""The phase deploy: the cluster as an experiment wants it, which may be another model than its inventory says.

What an experiment chose is taken back when it is over: `restore`.
"""

from __future__ import annotations

from experiments.configuration.parameters import Parameters
from experiments.runs import against
from experiments.runs.errors import RunError
from experiments.runs.sitting import Sitting
from inventories.composition import chosen
from operate import clusters, ownership
from operate.clusters import ClusterInventory
from operate.progress import Progress
from operate.up import up


def deploy(given: str, parameters: Parameters, sitting: Sitting) -> ClusterInventory:
    """Bring the cluster up with what the experiment asks for; the cluster as it is then. OperatorError from `up`."""
    name = clusters.read(given).name
    try:
        chosen.forget(name)
        wanted = against.choice(parameters, clusters.read(given))
        if wanted is not None:
            chosen.write(name, wanted)
            sitting.note(f"{name} serves {wanted.model or 'its model'} for this experiment, not as its inventory says")
    except OSError as error:
        raise RunError(f"{chosen.path(name)}: {error.strerror}; the choice of a model is kept there") from None
    cluster = ownership.load(given)
    done = up(cluster, sitting.progress)
    sitting.journal.add("deployed", changed=done.changed, seconds=done.record["seconds"], phases=done.record["phases"])
    return cluster


def restore(given: str, progress: Progress) -> bool:
    """What the inventory says again, deployed; whether anything was to be taken back."""
    name = clusters.read(given).name
    if not chosen.forget(name):
        return False
    progress.phase(f"{name}: what its inventory says again")
    up(ownership.load(given), progress)
    return True


def forget(given: str) -> bool:
    """Take the choice back without deploying: what a run does that was interrupted. The next `up` applies it."""
    return chosen.forget(clusters.read(given).name)
