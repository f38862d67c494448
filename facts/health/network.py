"""Judgements over names, interfaces and ports. Pure; bits per second."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address, ip_network

from facts.health.result import PREPARE_AGAIN, CheckResult
from facts.parse.listening import ListeningReport
from facts.parse.network import THUNDERBOLT_DRIVER, Interface, InterfacesReport, ResolutionReport


def resolution_check(node: str, report: ResolutionReport, cluster_address: str) -> CheckResult:
    """Whether a node's own name resolves to its cluster address; loopback there breaks Gloo and NCCL."""
    name = report.host_name
    if not report.addresses:
        detail = f"{node}: {report.detail or f'{name} does not resolve'}"
        return CheckResult("own_name", False, detail, PREPARE_AGAIN)
    found = ", ".join(report.addresses)
    if report.resolves_to_loopback:
        detail = f"{node}: its own name {name} resolves to loopback ({found}), not to {cluster_address}"
        return CheckResult("own_name", False, detail, PREPARE_AGAIN)
    if cluster_address not in report.addresses:
        detail = f"{node}: its own name {name} resolves to {found}, not to {cluster_address}"
        return CheckResult("own_name", False, detail, PREPARE_AGAIN)
    return CheckResult("own_name", True, f"{node}: its own name {name} resolves to {cluster_address}")


def find_interface(report: InterfacesReport, cluster_address: str, declared: str = "") -> Interface | None:
    """The interface that carries `cluster_address`, None for none; of several the one that is `declared`."""
    wanted = ip_address(cluster_address)
    carriers = [
        interface
        for interface in report.interfaces
        if any(ip_address(address.address.partition("%")[0]) == wanted for address in interface.addresses)
    ]
    return next((one for one in carriers if one.name == declared), carriers[0] if carriers else None)


def interface_checks(
    node: str,
    report: InterfacesReport,
    cluster_address: str,
    *,
    declared: str = "",
    declared_in: str = "machines.yaml",
    minimum_speed_bits_per_second: int | None = None,
    expected_mtu_bytes: int | None = None,
) -> list[CheckResult]:
    """The interface with the cluster address: present, up, as fast and with the MTU that is expected.

    `declared` is the name that firewall and collectives go by, "" for any; `declared_in` the operator's file for it.
    """
    named = next((one for one in report.interfaces if one.name == declared), None)
    has = ", ".join(f"{one.name} ({_addresses(one)})" for one in report.interfaces if one.name != "lo") or "none"
    if report.tool != "present":
        if declared and report.interfaces and named is None:
            detail = f"{node}: it has no interface {declared}; it has {has}"
            return [CheckResult("cluster_interface", False, detail, f"name the right one in {declared_in}")]
        return [CheckResult("cluster_address", None, f"{node}: {report.detail}", PREPARE_AGAIN)]
    interface = find_interface(report, cluster_address, declared)
    if interface is None:
        there = (
            f"; {declared} has {_addresses(named)}" if named else f", and no interface is {declared}" * bool(declared)
        )
        detail = f"{node}: no interface has {cluster_address}{there}; it has {has}"
        return [CheckResult("cluster_address", False, detail, "correct the inventory or the network settings")]
    results = [CheckResult("cluster_address", True, f"{node}: {interface.name} has {cluster_address}")]
    if declared and interface.name != declared:
        results.append(_misnamed(node, interface, named, cluster_address, declared, declared_in))
    up = interface.state in (
        "UP",
        "UNKNOWN",
    )  # virtual and thunderbolt interfaces say UNKNOWN while they work
    detail = f"{node}: {interface.name} is {interface.state}"
    results.append(CheckResult("link_state", up, detail, "" if up else "check the cable and the other end"))
    if minimum_speed_bits_per_second is not None:
        results.append(speed_check(node, interface, minimum_speed_bits_per_second))
    if expected_mtu_bytes is not None:
        same = interface.mtu_bytes == expected_mtu_bytes
        detail = f"{node}: {interface.name} has MTU {interface.mtu_bytes}, {expected_mtu_bytes} expected"
        results.append(CheckResult("link_mtu", same, detail, "" if same else PREPARE_AGAIN))
    return results


def _misnamed(
    node: str, carrier: Interface, named: Interface | None, address: str, declared: str, declared_in: str
) -> CheckResult:
    if declared in carrier.other_names:
        why = f"{declared} is only another name of {carrier.name}"
    elif named is None:
        why = f"it has no interface {declared}"
    else:
        why = f"{declared} has {_addresses(named)}"
    effect = "the firewall would close Ray's ports to the peers"
    detail = f"{node}: {address} is on {carrier.name}, not on {declared}: {why}; {effect}"
    remedy = f"write `{node}: {{interface: {carrier.name}}}` into {declared_in}, or give {declared} the address"
    return CheckResult("cluster_interface", False, detail, remedy)


def _addresses(interface: Interface) -> str:
    return ", ".join(address.address for address in interface.addresses if address.scope != "link") or "no address"


def speed_check(node: str, interface: Interface, minimum_bits_per_second: int) -> CheckResult:
    """Whether the link runs at `minimum_bits_per_second`; None where the kernel does not know its speed."""
    wanted = f"{minimum_bits_per_second / 1e9:g} Gb/s"
    speed = interface.speed_bits_per_second
    if speed is None:
        kind = "a USB4 link" if interface.driver == THUNDERBOLT_DRIVER else interface.driver or "a virtual one"
        detail = f"{node}: {interface.name} ({kind}) does not say its speed; {wanted} expected"
        return CheckResult("link_speed", None, detail, "measure it")
    detail = f"{node}: {interface.name} runs at {speed / 1e9:g} Gb/s, {wanted} expected"
    if speed >= minimum_bits_per_second:
        return CheckResult("link_speed", True, detail)
    return CheckResult("link_speed", False, detail, "check the cable, the port and the switch")


def exposure_check(
    node: str, report: ListeningReport, ports: Collection[int], allowed_networks: Collection[str]
) -> CheckResult:
    """Whether `ports` listen only on loopback or on an address within `allowed_networks` ("10.0.0.0/24").

    A socket on all addresses counts as exposed: here is no knowledge of the firewall. Raises `ValueError` for
    a text that is no network.
    """
    networks = [ip_network(network) for network in allowed_networks]
    exposed = [
        f"{socket.address} port {socket.port}" + (f" ({socket.process})" if socket.process else "")
        for socket in report.sockets
        if socket.port in ports
        and socket.beyond_loopback
        and not any(ip_address(socket.address) in network for network in networks)
    ]
    if not exposed:
        return CheckResult("exposed_ports", True, f"{node}: none of {len(ports)} ports is open beyond the cluster")
    detail = f"{node}: open beyond the cluster: {', '.join(exposed)}"
    return CheckResult("exposed_ports", False, detail, "bind to the cluster address, or keep the firewall in front")
