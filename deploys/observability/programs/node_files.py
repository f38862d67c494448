"""What the kernel says of a node, in /proc and /sys, under the names that Prometheus' node exporter gives it.

Standard library only. Parsers are pure: a text in, samples out; a file that is not there gives none. Seconds, bytes.
"""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from deploys.observability.programs.prometheus_text import Sample

TICKS = os.sysconf("SC_CLK_TCK")
SECTOR_BYTES = 512  # in diskstats whatever the disk's own is
# Columns of a processor's line in /proc/stat (proc_stat(5)).
_MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_MEMORY = ("MemTotal", "MemFree", "MemAvailable", "SwapTotal", "SwapFree", "Dirty", "Writeback", "Shmem")
_VMSTAT = ("oom_kill", "pgmajfault", "pswpin", "pswpout")
_PARTS_OF_DISKS = ("loop", "ram", "zram", "sr", "fd")


def read_node(root: Path = Path("/")) -> list[Sample]:
    """All of it, as it stands now."""
    proc, found = root / "proc", list[Sample]()
    found += stat(_text(proc / "stat"))
    found += meminfo(_text(proc / "meminfo"))
    found += loadavg(_text(proc / "loadavg"))
    found += net_dev(_text(proc / "net" / "dev"))
    found += diskstats(_text(proc / "diskstats"))
    found += vmstat(_text(proc / "vmstat"))
    found += netstat(_text(proc / "net" / "snmp") + _text(proc / "net" / "netstat"))
    for kind in ("cpu", "memory", "io"):
        found += pressure(kind, _text(proc / "pressure" / kind))
    found += frequencies(root / "sys" / "devices" / "system" / "cpu")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def stat(text: str) -> Iterator[Sample]:
    """/proc/stat: seconds of each processor in each mode, and what happened since the boot."""
    single = {"ctxt": "node_context_switches_total", "processes": "node_forks_total", "btime": "node_boot_time_seconds"}
    single |= {"procs_running": "node_procs_running", "procs_blocked": "node_procs_blocked"}
    for line in text.splitlines():
        name, *values = line.split() or [""]
        if name in single and values and values[0].isdigit():
            yield single[name], {}, float(values[0])
        elif name.startswith("cpu") and name[3:].isdigit():
            for mode, ticks in zip(_MODES, values, strict=False):
                if ticks.isdigit():
                    yield "node_cpu_seconds_total", {"cpu": name[3:], "mode": mode}, int(ticks) / TICKS


def meminfo(text: str) -> Iterator[Sample]:
    """/proc/meminfo, in bytes."""
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        value = rest.split()
        if name in _MEMORY and value and value[0].isdigit():
            yield f"node_memory_{name}_bytes", {}, int(value[0]) * 1024.0


def loadavg(text: str) -> Iterator[Sample]:
    """/proc/loadavg."""
    for name, value in zip(("node_load1", "node_load5", "node_load15"), text.split(), strict=False):
        try:
            yield name, {}, float(value)
        except ValueError:
            return


def net_dev(text: str) -> Iterator[Sample]:
    """/proc/net/dev: bytes, packets, errors and drops of each interface."""
    kinds = ("bytes", "packets", "errs", "drop")
    for line in text.splitlines():
        device, separator, rest = line.partition(":")
        values = rest.split()
        if not separator or len(values) < 12 or not all(value.isdigit() for value in values):
            continue
        for way, first in (("receive", 0), ("transmit", 8)):
            for kind, value in zip(kinds, values[first : first + 4], strict=True):
                yield f"node_network_{way}_{kind}_total", {"device": device.strip()}, float(value)


def diskstats(text: str) -> Iterator[Sample]:
    """/proc/diskstats: bytes and seconds of each block device."""
    for line in text.splitlines():
        words = line.split()
        if len(words) < 14 or words[2].startswith(_PARTS_OF_DISKS) or not all(word.isdigit() for word in words[3:14]):
            continue
        where, values = {"device": words[2]}, [int(word) for word in words[3:14]]
        yield "node_disk_read_bytes_total", where, float(values[2] * SECTOR_BYTES)
        yield "node_disk_written_bytes_total", where, float(values[6] * SECTOR_BYTES)
        yield "node_disk_read_time_seconds_total", where, values[3] / 1000
        yield "node_disk_write_time_seconds_total", where, values[7] / 1000
        yield "node_disk_io_time_seconds_total", where, values[9] / 1000


def vmstat(text: str) -> Iterator[Sample]:
    """/proc/vmstat: kills for want of memory, page faults that read, swapping."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name in _VMSTAT and value.strip().isdigit():
            yield f"node_vmstat_{name}", {}, float(value)


def netstat(text: str) -> Iterator[Sample]:
    """/proc/net/snmp and netstat: TCP's retransmissions, timeouts and resets, of the whole host."""
    wanted = {
        "Tcp": ("RetransSegs", "InErrs", "OutRsts"),
        "TcpExt": ("TCPTimeouts", "ListenDrops", "TCPLostRetransmit"),
    }
    lines = text.splitlines()
    for names, values in itertools.pairwise(lines):
        group = names.partition(":")[0]
        if group in wanted and values.startswith(f"{group}:"):
            found = dict(zip(names.split()[1:], values.split()[1:], strict=False))
            for name in wanted[group]:
                if found.get(name, "").isdigit():
                    yield f"node_netstat_{group}_{name}", {}, float(found[name])


def pressure(kind: str, text: str) -> Iterator[Sample]:
    """/proc/pressure/KIND: seconds in which some, or all, waited for it."""
    for line in text.splitlines():
        who, *values = line.split() or [""]
        said = dict(value.partition("=")[::2] for value in values)
        if who in ("some", "full") and said.get("total", "").isdigit():
            name = "waiting" if who == "some" else "stalled"
            yield f"node_pressure_{kind}_{name}_seconds_total", {}, int(said["total"]) / 1e6


def frequencies(directory: Path) -> Iterator[Sample]:
    """The clock of each processor, and by whose rule it is set."""
    for place in sorted(directory.glob("cpu[0-9]*/cpufreq")):
        cpu, now, governor = place.parent.name[3:], _text(place / "scaling_cur_freq").strip(), ""
        if now.isdigit():
            yield "node_cpu_scaling_frequency_hertz", {"cpu": cpu}, int(now) * 1000.0
        governor = _text(place / "scaling_governor").strip()
        if governor:
            yield "node_cpu_scaling_governor", {"cpu": cpu, "governor": governor}, 1.0
