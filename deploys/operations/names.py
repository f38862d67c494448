"""Keep the cluster's names in /etc/hosts, and the operator's entries beside them."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import operation

from deploys.compute_base import names
from deploys.files import ManagedFile
from deploys.operations import managed
from deploys.settings import Settings
from facts.names import Names


@operation()
def keep(settings: Settings) -> managed.Commands:
    """Write /etc/hosts where the cluster's part is not the declared one, or a line leads one of its names elsewhere."""
    found = host.get_fact(Names)
    wanted = names.merged(found.hosts, found.host_name, settings)
    if found.hosts == wanted:
        host.noop("the cluster's names are as declared")
        return
    yield from managed.replace(ManagedFile(names.PATH, wanted, owner="root"))
