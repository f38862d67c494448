"""State of services under systemd or supervisor, with the configuration they were started with. Reads only."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pyinfra.api.facts import FactBase

from facts import script
from facts.base import fails_alone
from facts.parse.cluster_state import ServiceState, parse_services

# Seconds in which a service that was started anew says what it wrote last.
_NEW = 60
# The environment of a running process tells which configuration it was started with, however it was started.
_DIGEST = "tr '\\0' '\\n' < /proc/$pid/environ 2>/dev/null | sed -n 's/^CLUSTER_CONFIGURATION=//p' | head -n 1"


_PROPERTIES = ("ActiveState", "SubState", "UnitFileState", "MainPID", "NRestarts", "ActiveEnterTimestampMonotonic")
# The last words are asked for only where they tell something: a journal takes its time. The service's own come first,
# then what systemd says of it.
_LOOK = f"""
active=none sub=- enabled=none pid=0 restarts=- since=0
for pair in $(systemctl show {" ".join(f"-p {name}" for name in _PROPERTIES)} $name); do
  value=${{pair#*=}}
  case $pair in
    ActiveState=*) active=$value;; SubState=*) sub=$value;; UnitFileState=*) enabled=$value;; MainPID=*) pid=$value;;
    NRestarts=*) restarts=$value;; ActiveEnterTimestampMonotonic=*) since=$value;;
  esac
done
read -r now rest < /proc/uptime
up=$((${{now%.*}} - ${{since:-0}} / 1000000))
digest=$({_DIGEST})
echo "service $name $active ${{enabled:-none}} ${{digest:--}} ${{sub:--}} ${{restarts:--}} $up"
case $active/$restarts in active/0|active/-|inactive/*|none/*) continue;; esac
[ "$active" != active ] || [ $up -lt {_NEW} ] || continue
for only in _SYSTEMD_UNIT=$name.service UNIT=$name.service; do
  words=$(timeout 5 journalctl -q --no-pager -o cat -n 5 $only 2>/dev/null | grep -v '^[[:space:]]*$' | tail -n 1)
  [ -z "$words" ] || {{ echo "said $name $words"; break; }}
done
""".strip()


class Services(FactBase[dict[str, ServiceState]]):
    """Name -> ServiceState. `supervisor` is the supervisor's directory, or empty for systemd."""

    def command(self, names: Sequence[str], supervisor: str = "") -> str:
        if supervisor:
            return f"echo services; {script.command('supervised', supervisor, *names)}"
        listed = " ".join(shlex.quote(name) for name in names)
        return f"echo services; for name in {listed}; do\n{_LOOK}\ndone; true"

    @fails_alone
    def process(self, output: list[str]) -> dict[str, ServiceState]:
        return parse_services(output)


class FirewallRules(FactBase[str]):
    """Name of the chain that marks which rules of ours are loaded; empty when none are, or other ones at every boot.

    `proven`: the file with the rules that are loaded at boot.
    """

    def command(self, proven: str) -> str:
        chain = "sed -n 's/^[[:space:]]*chain \\(rules_[0-9a-f]*\\) .*/\\1/p'"
        return (
            "echo firewall; systemctl is-enabled -q cluster-firewall 2>/dev/null && { "
            f"PATH=$PATH:/usr/sbin nft list table inet cluster 2>/dev/null | {chain}; "
            f"{chain} {shlex.quote(proven)} 2>/dev/null; }}; true"
        )

    def process(self, output: list[str]) -> str:
        found = [line for line in output if line.startswith("rules_")]
        return found[0] if len(found) == 2 and found[0] == found[1] else ""
