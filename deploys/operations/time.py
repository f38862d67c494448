"""Keep the clock synchronised: Ray and certificates dislike clocks that disagree."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import StringCommand

from deploys import shell
from facts.clock import TimeService

Commands = Generator[StringCommand, None, None]


@operation()
def synchronise() -> Commands:
    """Leave the host's time service as it is when it has one enabled; else install systemd's."""
    found = host.get_fact(TimeService)
    if found:
        host.noop(f"{found} keeps the clock")
        return
    yield StringCommand(
        "[ -e /usr/lib/systemd/systemd-timesyncd ] || apt-get install -y --no-install-recommends systemd-timesyncd"
    )
    yield shell.command("systemctl", "enable", "--now", "--quiet", "systemd-timesyncd")
