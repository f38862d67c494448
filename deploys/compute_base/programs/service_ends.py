"""Whether a service of this host has ended, and what it wrote last.

For whoever waits for what a service brings: the service manager starts it anew and calls it running, for ever. Standard
library only; asks systemd, or a supervisor on its own socket.
"""

import re
import subprocess

from facts.programs import supervised

SYSTEMD = "systemd"
WORDS_LINES = 4
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Watched:
    """A service; `manager` is "systemd" or the directory of the supervisor that keeps it."""

    def __init__(self, manager: str, name: str) -> None:
        self.manager, self.name = manager, name
        self._last = ""

    def ended(self) -> str:
        """Its last words when it has ended since it was asked for last, else empty."""
        now = self._systemd() if self.manager == SYSTEMD else self._supervisor()
        before, self._last = self._last, now
        return (self._last_words() or "it wrote nothing") if before and now and before != now else ""

    def _systemd(self) -> str:
        """What is another after each end, as the service manager has it; empty where it says nothing."""
        return _output("systemctl", "show", "--property=NRestarts", "--value", "--", self.name).strip()

    def _supervisor(self) -> str:
        values = supervised.programs(self.manager).get(self.name)
        if not values:
            return ""
        # One that could not even be started never stops.
        return f"stopped {values.get('stop')}, {values.get('start') if values.get('spawnerr') else ''}"

    def _last_words(self) -> str:
        if self.manager != SYSTEMD:
            return "; ".join(supervised.last_lines(self.manager, self.name, WORDS_LINES))
        lines = _output("journalctl", "--quiet", "--output=cat", "--lines=20", f"--unit={self.name}").splitlines()
        said = [text for line in lines if (text := _COLOUR.sub("", line).strip())]
        return "; ".join(said[-WORDS_LINES:])


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=20, check=False)
    return done.stdout
