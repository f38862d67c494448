"""The texts of network faults: nftables, iptables and tc, and what their listings say. Pure; standard library only."""

from typing import Any

# Names that nobody else uses, by which a fault is found again, whoever made it.
TABLE, CHAIN, HANDLE = "cluster_fault_", "CLUSTER-FAULT-DELAY", "1fa:"
_CLASS, _LEAF = "1fa:20", "1fb:"
_UNLIMITED = "100Gbit"
_QUEUE_PACKETS = 100_000


def drop_rules(name: str, others: list[str], operator_ports: list[int], percent: float) -> str:
    """nftables: drop packets from these addresses, and at 100 % those to them, but for the operator's ports."""
    table = TABLE + name.replace("-", "_")
    ports = ", ".join(map(str, operator_ports))
    spare = [f"tcp {side} {{ {ports} }} accept" for side in ("dport", "sport")]
    which = "" if percent >= 100 else f" numgen random mod 100000 < {round(percent * 1000)}"
    chains = [("arriving", "input", f"ip saddr @others{which} drop")]
    if percent >= 100:
        # The other ends need no rule then: nothing comes to them.
        chains.append(("leaving", "output", "ip daddr @others drop"))
    lines = [f"table inet {table}", f"delete table inet {table}", f"table inet {table} {{"]
    lines.append(f"  set others {{ type ipv4_addr; elements = {{ {', '.join(others)} }} }}")
    for chain, hook, rule in chains:
        lines += [f"  chain {chain} {{", f"    type filter hook {hook} priority -300; policy accept;"]
        lines += [f"    {line}" for line in (*spare, rule)] + ["  }"]
    return "\n".join([*lines, "}"]) + "\n"


def delay_rules(others: list[str], operator_ports: list[int], queue: int) -> str:
    """iptables-restore: what comes from these addresses goes through a queue, as long as a program listens to it.

    What is sent could be held back too; but the kernel counts that as not yet sent, and lets a stream have but two
    packets in such a queue.
    """
    lines = ["*mangle", f":{CHAIN} - [0:0]"]
    for port in operator_ports:
        lines += [f"-A {CHAIN} -p tcp -m tcp --{side} {port} -j RETURN" for side in ("sport", "dport")]
    lines += [f"-A {CHAIN} -s {address}/32 -j NFQUEUE --queue-num {queue} --queue-bypass" for address in others]
    return "\n".join([*lines, f"-I INPUT -j {CHAIN}", "COMMIT"]) + "\n"


def netem_words(parameters: dict[str, Any]) -> list[str]:
    """netem's words for delay, jitter and loss; empty where none is wanted."""
    words: list[str] = []
    if "delay_milliseconds" in parameters:
        words += ["delay", f"{parameters['delay_milliseconds']:g}ms"]
        if parameters.get("jitter_milliseconds"):
            words.append(f"{parameters['jitter_milliseconds']:g}ms")
    if "percent" in parameters:
        words += ["loss", f"{parameters['percent']:g}%"]
    return words


def shaping(
    interface: str, others: list[str], operator_ports: list[int], netem: list[str], parameters: dict[str, Any]
) -> list[str]:
    """Lines of `tc -batch`: packets to these addresses in a class of their own, all others past it at full speed."""
    megabits = parameters.get("megabits_per_second")
    rate = f"{megabits:g}mbit burst 32k cburst 32k" if megabits else _UNLIMITED.lower()
    device = f"dev {interface}"
    lines = [
        f"qdisc add {device} root handle {HANDLE} htb default 0",
        f"class add {device} parent {HANDLE} classid {_CLASS} htb rate {rate} quantum 60000",
    ]
    if netem:
        lines.append(
            f"qdisc add {device} parent {_CLASS} handle {_LEAF} netem limit {_QUEUE_PACKETS} {' '.join(netem)}"
        )
    match = f"filter add {device} parent {HANDLE} protocol ip"
    for port in operator_ports:
        lines += [
            f"{match} prio 1 u32 match ip protocol 6 0xff match ip {side} {port} 0xffff flowid {HANDLE}0"
            for side in ("sport", "dport")
        ]
    return lines + [f"{match} prio 2 u32 match ip dst {address}/32 flowid {_CLASS}" for address in others]


def shaped(disciplines: str, classes: str) -> set[str]:
    """Names of the faults that our own discipline does, from what tc shows of the interface."""
    found: set[str] = set()
    for line in disciplines.splitlines():
        if line.startswith(f"qdisc netem {_LEAF} "):
            words = line.split()
            if "delay" in words:
                found |= {"network-delay", "network-jitter"}
            if "loss" in words:
                found.add("network-loss")
    for line in classes.splitlines():
        words = line.split()
        if words[:3] == ["class", "htb", _CLASS] and words[words.index("rate") + 1].lower() != _UNLIMITED.lower():
            found.add("network-rate")
    return found


def tables_of(listing: str) -> list[str]:
    """Names of a fault's tables among lines such as `inet NAME`."""
    names = (line.split()[-1] for line in listing.splitlines() if line.split())
    return [name for name in names if name.startswith(TABLE)]


def has_no_rules(table: str) -> bool:
    """Whether what nft lists of a table is nothing but chains without rules."""
    lines = (line.strip() for line in table.splitlines())
    return all(line.startswith(("table ", "chain ", "type ")) or line in ("", "}") for line in lines)
