"""The lab's wires: a switch in its own namespace, a cable to each host's, and one to this machine.

A host's namespace is made, addressed and routed before the host starts, and outlives its reboots. Each
function brings its part to the wanted end from whatever an interrupted command left.
"""

from __future__ import annotations

import json
from pathlib import Path

from lab.plan import GATEWAY, HOST_NETWORK, INTERFACE, LabHost
from lab.rules import (
    MACHINE_ADDRESS,
    MACHINE_INTERFACE,
    SWITCH_ADDRESS,
    TABLE,
    default_route_interface,
    name_servers,
    nat_rules,
)
from lab.system import LabError, last_line, run

SWITCH_NAMESPACE = "cluster-lab"
SWITCH_INTERFACE = "br0"
UPLINK_INTERFACE = "up0"
# Below 1500, as on a cloud's overlay network: what assumes 1500 fails here first.
MTU_BYTES = 1400
NAMESPACES = Path("/run/netns")
IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
RESOLVER_FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))


def host_namespace(name: str) -> str:
    """The network namespace of the host of that name."""
    return f"{SWITCH_NAMESPACE}-{name}"


def cable(name: str) -> str:
    """The switch's end of a host's cable; short, for the kernel takes 15 characters."""
    return f"v-{name}"


def namespaces() -> tuple[str, ...]:
    """The lab's network namespaces that exist now."""
    if not NAMESPACES.is_dir():
        return ()
    names = (path.name for path in NAMESPACES.iterdir())
    return tuple(sorted(n for n in names if n == SWITCH_NAMESPACE or n.startswith(f"{SWITCH_NAMESPACE}-")))


def cabled_hosts() -> tuple[str, ...]:
    """Names of the hosts that have a namespace now, whichever command made it."""
    return tuple(n.removeprefix(f"{SWITCH_NAMESPACE}-") for n in namespaces() if n != SWITCH_NAMESPACE)


def _batch(lines: list[str], namespace: str | None = None) -> None:
    inside = ["-n", namespace] if namespace else []
    run(["ip", *inside, "-batch", "-"], input_text="\n".join(lines) + "\n")


def build_switch() -> None:
    """Make the switch, unless a whole one is there."""
    shown = run(
        ["ip", "-n", SWITCH_NAMESPACE, "-brief", "address", "show", "dev", SWITCH_INTERFACE], check=False
    ).stdout
    if GATEWAY in shown:
        return
    remove_namespace(SWITCH_NAMESPACE)
    run(["ip", "netns", "add", SWITCH_NAMESPACE])
    run(["ip", "netns", "exec", SWITCH_NAMESPACE, "sh", "-c", f"echo 1 > {IP_FORWARD}"])
    # The address comes last: it is what says "whole" above.
    _batch(
        [
            "link set lo up",
            f"link add {SWITCH_INTERFACE} mtu {MTU_BYTES} type bridge",
            f"link set {SWITCH_INTERFACE} up",
            f"address add {GATEWAY}/24 dev {SWITCH_INTERFACE}",
        ],
        SWITCH_NAMESPACE,
    )


def connect_machine() -> None:
    """Give this machine a route to the hosts, and the hosts their narrow way out."""
    route = run(["ip", "-json", "route", "show", HOST_NETWORK]).stdout
    if f'"{MACHINE_INTERFACE}"' not in route or SWITCH_ADDRESS not in route:
        run(["ip", "link", "delete", MACHINE_INTERFACE], check=False)
        _batch(
            [
                f"link add {MACHINE_INTERFACE} mtu {MTU_BYTES} type veth"
                f" peer name {UPLINK_INTERFACE} mtu {MTU_BYTES} netns {SWITCH_NAMESPACE}",
                f"address add {MACHINE_ADDRESS}/30 dev {MACHINE_INTERFACE}",
                f"link set {MACHINE_INTERFACE} up",
            ]
        )
        _batch(
            [
                f"address add {SWITCH_ADDRESS}/30 dev {UPLINK_INTERFACE}",
                f"link set {UPLINK_INTERFACE} up",
                f"route add default via {MACHINE_ADDRESS}",
            ],
            SWITCH_NAMESPACE,
        )
        run(["ip", "route", "add", HOST_NETWORK, "via", SWITCH_ADDRESS, "dev", MACHINE_INTERFACE])
    outside = default_route_interface(run(["ip", "-json", "-4", "route", "show", "default"]).stdout)
    run(["nft", "-f", "-"], input_text=nat_rules(outside, name_servers(resolver_text())))


def disconnect_machine() -> None:
    """Undo connect_machine, as far as it went."""
    run(["nft", "delete", "table", "ip", TABLE], check=False)
    run(["ip", "link", "delete", MACHINE_INTERFACE], check=False)


def resolver_text() -> str:
    """This machine's resolv.conf; the upstream one when the first only names a resolver on loopback."""
    texts = [path.read_text(errors="replace") for path in RESOLVER_FILES if path.is_file()]
    for text in texts:
        if name_servers(text):
            return text
    return texts[0] if texts else ""


def hardware_address(address: str) -> str:
    """The locally administered MAC of the host with this IPv4 address.

    It is the same after every boot, as a real card's: with a new one each time, the others' neighbour tables would
    lead astray for seconds after a power loss.
    """
    return "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def addressing(host: LabHost) -> list[str]:
    """The `ip -batch` lines that give a host its address, safe to apply again after the host changed them."""
    return [
        "link set lo up",
        f"link set {INTERFACE} up",
        f"address flush dev {INTERFACE} scope global",
        f"address add {host.address}/24 dev {INTERFACE}",
        f"route replace default via {GATEWAY}",
    ]


def plug_in(host: LabHost) -> None:
    """Give the host a fresh namespace and cable.

    After a power loss no address, rule or setting of before is left.
    """
    unplug(host.name)
    namespace = host_namespace(host.name)
    run(["ip", "netns", "add", namespace])
    card = f"{INTERFACE} mtu {MTU_BYTES} address {hardware_address(host.address)}"
    _batch(
        [
            f"link add {cable(host.name)} mtu {MTU_BYTES} type veth peer name {card} netns {namespace}",
            f"link set {cable(host.name)} master {SWITCH_INTERFACE} up",
        ],
        SWITCH_NAMESPACE,
    )
    _batch(addressing(host), namespace)


def unplug(name: str) -> None:
    """Remove the host's cable and namespace."""
    # The cable first, by name: left to the namespace's end it would go some time later, and block a new one
    # of that name.
    run(["ip", "-n", SWITCH_NAMESPACE, "link", "delete", cable(name)], check=False)
    remove_namespace(host_namespace(name))


def remove_namespace(name: str) -> None:
    """Remove one network namespace, if it is there."""
    if (NAMESPACES / name).exists():
        run(["ip", "netns", "delete", name], check=False)
        (NAMESPACES / name).unlink(missing_ok=True)


def set_cable(name: str, up: bool) -> None:
    """Cut or join the host's cable at the switch; the host itself sees its carrier go and come."""
    run(["ip", "-n", SWITCH_NAMESPACE, "link", "set", cable(name), "up" if up else "down"])


def cables_up() -> frozenset[str]:
    """Names of the hosts whose cable is up at the switch."""
    done = run(["ip", "-n", SWITCH_NAMESPACE, "-json", "link", "show", "type", "veth"], check=False)
    if done.returncode != 0:
        if (NAMESPACES / SWITCH_NAMESPACE).exists():
            raise LabError(f"the lab's switch cannot be read: {last_line(done.stderr)}; run the command with sudo")
        return frozenset()
    try:
        links = json.loads(done.stdout or "[]")
    except ValueError as error:
        raise LabError(f"ip -json link show: {error}") from error
    return frozenset(link["ifname"].removeprefix("v-") for link in links if "UP" in link.get("flags", ()))
