"""By which names a keyless service on loopback or behind the gateway may be called. Pure; standard library only.

A page of a stranger's site can have its own name lead to our address (DNS rebinding), and the browser of whoever visits
it then reads our answers for it. Such a call has the stranger's name in its Host header. An address, as people and
programs use it, cannot be the stranger's.
"""

import ipaddress

# What the gateway calls an engine and the page.
GATEWAY_SAYS = "engine"


def is_own(host: str) -> bool:
    """Whether a Host header, with or without a port, is an address, localhost or the gateway's word; none at all is."""
    if not host:
        return True
    name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
    if name.lower() in ("localhost", GATEWAY_SAYS):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
