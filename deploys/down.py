"""Stop the cluster's services, engines first; files, runtime and weights stay, Ray's sessions and their logs go."""

from pyinfra import host

from deploys import roles, settings
from deploys.operations import directories, service, stage

_here = settings.of(host)

# Compute nodes first: an engine that loses its head would be restarted only to be stopped.
if "compute" in host.groups:
    service.ensure_stopped(
        name=f"Stop services on {_here.node}", settings=_here, services=tuple(reversed(roles.services(_here)))
    )
stage.meet(name="Every compute node has stopped", reached="stopped")
if "control" in host.groups:
    service.ensure_stopped(
        name=f"Stop services on {_here.node}", settings=_here, services=tuple(reversed(roles.services(_here)))
    )

# What the engines proved and were asked is the operator's; the rest is remade by the next start, and grows with each.
directories.empty(
    name=f"Remove Ray's sessions on {_here.node}",
    path=_here.directories.ray,
    keep=("*.jsonl", "*.node-manager-port"),
)
