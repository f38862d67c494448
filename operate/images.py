"""Which image a cluster's compute nodes need."""

from __future__ import annotations

from typing import cast

from deploys import hosts
from hardware.planner.catalogue import ACCELERATORS
from images.contents import VARIANT_OF_RUNTIME, Variant
from images.request import Request, newest
from operate import clusters
from operate.errors import NoHostsError, OperatorError


def request_of(name: str, variant: str | None) -> Request:
    """What the image of a cluster's compute nodes has to be; OperatorError when they cannot share one.

    A cluster of the operator's own processes has no image of its own, and hosts that are made on this machine start
    from the plain one: for both the answer is that, or the plain one of the variant.
    """
    try:
        inventory = clusters.read(name)
    except NoHostsError:  # they start from this image
        return Request(cast(Variant, variant or "none"))
    first = inventory.compute[0].settings
    if first.system.new_nodes != "none" or not hosts.of(first).has_own_system:
        return Request(cast(Variant, variant or "none"))
    kind = VARIANT_OF_RUNTIME[first.runtime.kind]
    if variant not in (None, kind):
        raise OperatorError(
            f"{name}: its nodes have {first.runtime.kind} accelerators, so their image is {kind}, not {variant}; "
            "leave --variant out"
        )
    accelerators = [host.settings.accelerators for host in inventory.compute]
    arguments = {argument: None for entry in accelerators for argument in entry.kernel_arguments}
    parts = {part for entry in accelerators for part in entry.names}
    return Request(
        kind,
        login_user=first.system.login_user,
        service_user=first.system.service_user,
        state_directory=first.directories.state,
        kernel_arguments=tuple(arguments),
        network_drivers=first.netboot.network_drivers if first.netboot else (),
        minimum_kernel=newest(ACCELERATORS[part].minimum_kernel for part in parts if part in ACCELERATORS),
    )
