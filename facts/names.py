"""/etc/hosts as it is, what the host calls itself, and who else writes that file. Reads only; all of it with root."""

from __future__ import annotations

from pyinfra.api.facts import FactBase

from facts.base import fails_alone
from facts.commands import join, section
from facts.parse.names import NamesReport, parse_names

# cloud-init's files in the order in which it reads them; what the machine's creator said is merged in the last.
_CLOUD_FILES = "/etc/cloud/cloud.cfg /etc/cloud/cloud.cfg.d/*.cfg /var/lib/cloud/instance/cloud-config.txt"


class Names(FactBase[NamesReport]):
    """`NamesReport` of the host."""

    def command(self) -> str:
        return join(
            section("uname", "uname -n"),
            section("hosts", "cat /etc/hosts 2>/dev/null"),
            # Switched off by one of these, it writes nothing.
            section("disabled", "test -e /etc/cloud/cloud-init.disabled || grep -qw cloud-init=disabled /proc/cmdline"),
            section("cloud-init", f"grep -sH manage_etc_hosts {_CLOUD_FILES}", only_with="cloud-init"),
        )

    @fails_alone
    def process(self, output: list[str]) -> NamesReport:
        return parse_names(output)
