"""Delay, jitter, loss, rate and partition between a host and the cluster's other nodes: how each is done, undone, seen.

Standard library only. Addresses are the cluster's peers; packets of the ports that the operator comes through are left
alone in every rule, whoever sends them: a fault must not shut out who heals it. Where the kernel has netem it does
delay, jitter and loss; elsewhere a queue to a program of ours delays, and nftables drops by number. Both ways are told
apart in what is answered. With netem it is the packets that the host sends, without it those that arrive.
"""

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploys.faults.programs import delay_line, fault_record, host_tools
from deploys.faults.programs.host_tools import FaultError
from deploys.faults.programs.network_rules import (
    CHAIN,
    HANDLE,
    TABLE,
    delay_rules,
    drop_rules,
    has_no_rules,
    netem_words,
    shaped,
    shaping,
    tables_of,
)

NAMES = ("network-delay", "network-jitter", "network-loss", "network-rate", "network-partition")
_SHAPED = ("network-delay", "network-jitter", "network-loss", "network-rate")
_QUEUES = Path("/proc/net/netfilter/nfnetlink_queue")
Note = Callable[[dict[str, Any]], None]


def inject(directory: str, order: dict[str, Any], note: Note, program: str) -> dict[str, Any]:
    """Do it; what it is done with."""
    name, context = order["name"], order["context"]
    others = addresses(order)
    if name == "network-partition":
        return _drop(order, others, note)
    _check_root(context["interface"])
    if name == "network-rate" or _has_netem(context["interface"]):
        made = {"means": "tc htb" if name == "network-rate" else "tc netem", "shaped": True}
        note(made)
        _shape(directory, context, [*_shaped_orders(directory, name), order])
        return made
    if name == "network-loss":
        return _drop(order, others, note)
    return _delay(directory, order, others, note, program)


def heal(directory: str, record: dict[str, Any]) -> None:
    """Undo it, and leave the faults of other names as they are."""
    name, context = record["name"], record["order"]["context"]
    if name in ("network-delay", "network-jitter"):
        host_tools.stop(directory, name)
        _no_delay_rules(bool((record.get("made") or {}).get("made_table")))
    if name in ("network-loss", "network-partition") and TABLE + name.replace("-", "_") in _tables():
        host_tools.run("nft", "delete", "table", "inet", TABLE + name.replace("-", "_"))
    if name in shaped(*_shown(context["interface"])):
        _shape(directory, context, _shaped_orders(directory, name))


def traces(directory: str, name: str, _record: dict[str, Any] | None, context: dict[str, Any]) -> list[str]:
    """What the kernel has of it now."""
    if not shutil.which("nft", path=host_tools.environment()["PATH"]):
        return []
    found = [f"table inet {table}" for table in _tables() if table == TABLE + name.replace("-", "_")]
    if name in shaped(*_shown(context["interface"])):
        found.append(f"queueing discipline {HANDLE} on {context['interface']}")
    if name in ("network-delay", "network-jitter"):
        found += host_tools.running(directory, name)
        if not found and _delay_rules_there() and not host_tools.running(directory, _other(name)):
            found.append(f"chain {CHAIN} of iptables")
    return found


def addresses(order: dict[str, Any]) -> list[str]:
    """Addresses of the peers that the fault is about; FaultError where none is left."""
    context, wanted = order["context"], order["parameters"].get("peers") or []
    peers = {node: address for node, address in context["peers"].items() if node != context["node"]}
    if unknown := sorted(set(wanted) - set(peers)):
        raise FaultError(f"{order['name']}: {', '.join(unknown)}: no peer of {context['node']}; it has {sorted(peers)}")
    found = [address for node, address in peers.items() if not wanted or node in wanted]
    if not found:
        raise FaultError(f"{order['name']}: {context['node']} has no peers; there is no network between nodes to break")
    return found


def _drop(order: dict[str, Any], others: list[str], note: Note) -> dict[str, Any]:
    made = {"means": "nftables", "shaped": False}
    note(made)
    percent = float(order["parameters"].get("percent", 100.0))
    host_tools.run(
        "nft", "-f", "-", text=drop_rules(order["name"], others, order["context"]["operator_ports"], percent)
    )
    return made


def _delay(directory: str, order: dict[str, Any], others: list[str], note: Note, program: str) -> dict[str, Any]:
    """The queue is listened to before the rules come; without a listener its packets pass, which is a timer as well."""
    made = {"means": "a queue to our own program", "shaped": False, "made_table": "ip mangle" not in _all_tables()}
    note(made)
    parameters, name = order["parameters"], order["name"]
    words = [str(parameters[key]) for key in ("delay_milliseconds", "jitter_milliseconds")]
    listener = [sys.executable, program, "-", "delay-line", *words, f"{order['seconds']:g}"]
    host_tools.start(directory, name, listener, order["seconds"])
    if not host_tools.wait_until(_is_queued, 5):
        raise FaultError(f"{name}: nobody listens to the packet queue; is CONFIG_NETFILTER_NETLINK_QUEUE set?")
    rules = delay_rules(others, order["context"]["operator_ports"], delay_line.QUEUE)
    host_tools.run("iptables-restore", "--noflush", "--wait", "5", text=rules)
    return made


def _no_delay_rules(made_table: bool) -> None:
    if not _delay_rules_there():
        return
    for words in (["-D", "INPUT", "-j", CHAIN], ["-F", CHAIN], ["-X", CHAIN]):
        host_tools.run("iptables", "--wait", "5", "-t", "mangle", *words, check=False)
    # iptables made it for ours.
    mangle = made_table and "ip mangle" in _all_tables()
    if mangle and has_no_rules(host_tools.run("nft", "list", "table", "ip", "mangle", check=False)):
        host_tools.run("nft", "delete", "table", "ip", "mangle", check=False)


def _delay_rules_there() -> bool:
    if not shutil.which("iptables", path=host_tools.environment()["PATH"]):
        return False
    return CHAIN in host_tools.run("iptables", "--wait", "5", "-t", "mangle", "-S", check=False)


def _is_queued() -> bool:
    return _QUEUES.exists() and any(
        line.split()[:1] == [str(delay_line.QUEUE)] for line in _QUEUES.read_text().splitlines()
    )


def _other(name: str) -> str:
    return "network-jitter" if name == "network-delay" else "network-delay"


def _all_tables() -> list[str]:
    lines = host_tools.run("nft", "list", "tables", check=False).splitlines()
    return [line.removeprefix("table ").strip() for line in lines]


def _tables() -> list[str]:
    return tables_of("\n".join(_all_tables()))


def _shown(interface: str) -> tuple[str, str]:
    """tc's own words for the interface's queueing disciplines and classes."""
    show = ("show", "dev", interface)
    return host_tools.run("tc", "qdisc", *show, check=False), host_tools.run("tc", "class", *show, check=False)


def _check_root(interface: str) -> None:
    """A discipline that somebody chose would be lost; the kernel's own comes back by itself."""
    roots = [line for line in _shown(interface)[0].splitlines() if " root " in f"{line} "]
    chosen = [line for line in roots if line.split()[2] not in ("0:", HANDLE)]
    if chosen:
        raise FaultError(f"{interface} has a queueing discipline of its own ({chosen[0]}); a fault would lose it")


def _has_netem(interface: str) -> bool:
    """Whether this kernel has netem, tried on a cable that nobody uses."""
    if "netem" in _shown(interface)[0]:
        return True
    probe = f"clf{int(time.monotonic() * 1000) % 100000}"
    try:
        host_tools.run("ip", "link", "add", probe, "type", "veth", "peer", "name", f"{probe}p")
        host_tools.run("tc", "qdisc", "add", "dev", probe, "root", "netem", "delay", "1ms")
    except FaultError:
        return False
    finally:
        host_tools.run("ip", "link", "delete", probe, check=False)
    return True


def _shaped_orders(directory: str, but: str) -> list[dict[str, Any]]:
    """Orders that tc carries out now, but for one."""
    records = [record for record in fault_record.active(directory) if record["name"] in _SHAPED]
    return [one["order"] for one in records if one["name"] != but and (one.get("made") or {}).get("shaped")]


def _shape(directory: str, context: dict[str, Any], orders: list[dict[str, Any]]) -> None:
    """One discipline does what all these orders say together; none takes it away."""
    interface = context["interface"]
    if any(f" {HANDLE} " in line for line in _shown(interface)[0].splitlines()):
        host_tools.run("tc", "qdisc", "delete", "dev", interface, "root")
    if not orders:
        return
    others = sorted({address for order in orders for address in addresses(order)})
    parameters = {key: value for order in orders for key, value in order["parameters"].items()}
    lines = shaping(interface, others, context["operator_ports"], netem_words(parameters), parameters)
    try:
        host_tools.run("tc", "-batch", "-", text="\n".join(lines) + "\n")
    except FaultError:
        host_tools.run("tc", "qdisc", "delete", "dev", interface, "root", check=False)
        raise
