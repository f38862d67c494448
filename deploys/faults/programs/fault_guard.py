"""Do a fault to this host, undo it, and say what is there: GUARD DIRECTORY inject ORDER | heal NAME | look CONTEXT

Runs as the host's administrator with the system's Python; standard library only. The file stays in DIRECTORY, where
the dead man's timer starts it: DIRECTORY expire NAME. Before anything is done the record is written and the timer runs;
whatever kills the one who asked, the host heals itself. `wait`, `pressure`, `delay-line`, `gpu-load` and `freeze` are
what it starts itself. ORDER and CONTEXT are JSON:

    {"name", "seconds", "parameters": {...}, "context": {"node", "interface", "peers", "operator_ports", "controller"}}

Prints one line of JSON; all times in it are seconds since boot, `now` among them. Exit 0; 1 with a line on standard
error where the fault is not done, or not undone.
"""

import json
import os
import sys
import time
from typing import Any

from deploys.faults.programs import (
    clock_fault,
    delay_line,
    fault_record,
    gpu_fault,
    gpu_load,
    host_fault,
    host_tools,
    network_fault,
    pressure,
    pressure_fault,
    process_fault,
)
from deploys.faults.programs.host_tools import FaultError, boot_seconds

_MODULES: tuple[Any, ...] = (pressure_fault, network_fault, process_fault, clock_fault, host_fault, gpu_fault)
_KINDS: dict[str, Any] = {name: module for module in _MODULES for name in module.NAMES}
# They take more of the machine than one node's part of it.
_WHOLE_MACHINE = (*network_fault.NAMES, *host_fault.NAMES, *clock_fault.NAMES)
_SETTLE_SECONDS = 10.0
_TIMER_TRIES, _TIMER_PAUSE_SECONDS = 60, 1.0


def identity() -> str:
    """This system's own: what a controller says of itself, and a host of a lab or another machine differs in."""
    with open("/proc/sys/kernel/random/boot_id") as stream:
        boot = stream.read().strip()
    return f"{boot} {os.readlink('/proc/self/ns/net')}"  # noqa: PTH115


def inject(directory: str, order: dict[str, Any]) -> dict[str, Any]:
    """Do it; FaultError, and nothing left behind, where it cannot be done or is not seen afterwards."""
    name = order["name"]
    module = _KINDS.get(name)
    if module is None:
        raise FaultError(f"{name!r} is no fault; choose from {', '.join(_KINDS)}")
    if name in _WHOLE_MACHINE and order["context"].get("controller") == identity():
        raise FaultError(f"{name}: this is the controller's own system, which it would hit; choose another node")
    program = os.path.realpath(sys.argv[0])
    with fault_record.locked(directory):
        found = fault_record.read(directory, name)
        if found and host_tools.is_armed(directory, name):
            raise FaultError(
                f"{name} is there already, for {found['until'] - boot_seconds():.0f} s more; heal it first"
            )
        if found:
            # Somebody was killed before it was armed, or its timer gave up.
            module.heal(directory, found)
        asked = boot_seconds()
        record = {"name": name, "order": order, "asked": asked, "until": asked + order["seconds"], "made": None}
        fault_record.write(directory, record)

        def note(made: dict[str, Any]) -> None:
            record["made"] = made
            fault_record.write(directory, record)

        try:
            host_tools.arm(directory, name, order["seconds"], program)
            note(module.inject(directory, order, note, program))
            seen = _seen(module, directory, record)
        except (FaultError, OSError, ValueError, KeyError) as error:
            module.heal(directory, record)
            host_tools.disarm(directory, name)
            fault_record.remove(directory, name)
            raise FaultError(str(error) if isinstance(error, FaultError) else f"{name}: {error!r}") from None
        record["took_effect"] = boot_seconds() + float((record["made"] or {}).get("after_seconds", 0.0))
        fault_record.write(directory, record)
    return {**_short(record), "seen": seen, "armed": host_tools.is_armed(directory, name)}


def _seen(module: Any, directory: str, record: dict[str, Any]) -> list[str]:
    """What the host shows of it; FaultError where it should and does not."""
    name, context = record["name"], record["order"]["context"]
    if name == "process-kill":
        gone = record["made"]["processes"]
        if not host_tools.wait_until(
            lambda: all(host_tools.process_state(number)[0] in ("", "Z", "X") for number, _ in gone), _SETTLE_SECONDS
        ):
            raise FaultError(f"{name}: processes {gone} are still there")
        return [f"process {number} is gone" for number, _ in gone]
    if name in host_fault.NAMES:
        return ["it begins when this program has ended"]
    found: list[str] = []

    def look() -> bool:
        found[:] = module.traces(directory, name, record, context)
        return bool(found)

    if not host_tools.wait_until(look, _SETTLE_SECONDS):
        raise FaultError(f"{name}: it was done and nothing of it is to be seen; it took no effect")
    return found


def heal(directory: str, name: str, by: str) -> dict[str, Any]:
    """Undo it and read back; what the history says of one that is over. FaultError where something of it stays."""
    if name not in _KINDS:
        raise FaultError(f"{name!r} is no fault; choose from {', '.join(_KINDS)}")
    with fault_record.locked(directory):
        record = fault_record.read(directory, name)
        if record is None:
            over = [entry for entry in fault_record.history(directory) if entry["name"] == name]
            return {"now": boot_seconds(), **(over[-1] if over else {"name": name, "by": "", "left": []})}
        module, asked = _KINDS[name], boot_seconds()
        context = record["order"]["context"]
        module.heal(directory, record)
        left: list[str] = []

        def look() -> bool:
            left[:] = module.traces(directory, name, record, context)
            return not left

        host_tools.wait_until(look, _SETTLE_SECONDS)
        entry = {**_short(record), "healed_asked": asked, "healed": boot_seconds(), "by": by, "left": left}
        if left:
            raise FaultError(f"{name}: still there after it was healed: {'; '.join(left)}")
        fault_record.remember(directory, entry)
        fault_record.remove(directory, name)
        if by != "timer":
            host_tools.disarm(directory, name)
    return {**entry, "now": boot_seconds()}


def expire(directory: str, name: str) -> int:
    """The dead man's hand: undo it, again and again while something of it stays."""
    for _ in range(_TIMER_TRIES):
        try:
            heal(directory, name, "timer")
        except (FaultError, OSError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            time.sleep(_TIMER_PAUSE_SECONDS)
        else:
            return 0
    return 1


def look(directory: str, context: dict[str, Any]) -> dict[str, Any]:
    """What is to be seen of every fault, whether or not a record says that it is there; records; the history."""
    records = {record["name"]: record for record in fault_record.active(directory)}
    left: dict[str, list[str]] = {}
    for name, module in _KINDS.items():
        if found := module.traces(directory, name, records.get(name), context):
            left[name] = found
    return {
        "now": boot_seconds(),
        "identity": identity(),
        "active": [{**_short(one), "armed": host_tools.is_armed(directory, one["name"])} for one in records.values()],
        "left": left,
        "history": fault_record.history(directory),
    }


def _short(record: dict[str, Any]) -> dict[str, Any]:
    kept = {key: record.get(key) for key in ("name", "asked", "until", "took_effect", "made")}
    return {**kept, "parameters": record["order"]["parameters"], "now": boot_seconds()}


def main(words: list[str]) -> int:
    """One of the verbs above."""
    directory, verb, *rest = words
    if verb == "expire":
        return expire(directory, rest[0])
    if verb == "wait":
        time.sleep(float(rest[1]))
        return expire(directory, rest[0])
    children = {"pressure": pressure.main, "delay-line": delay_line.main, "gpu-load": gpu_load.main}
    if verb in children:
        return children[verb](rest)
    if verb == "freeze":
        return host_fault.freeze(float(rest[0]))
    try:
        if verb == "inject":
            said = inject(directory, json.loads(rest[0]))
        elif verb == "heal":
            said = heal(directory, rest[0], "controller")
        else:
            said = look(directory, json.loads(rest[0]))
    except FaultError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
