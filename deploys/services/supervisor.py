"""Services as programs of a supervisor of the node's own, in the operator's account. Pure.

It runs on the machine of the tool, from the tool's own environment.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploys import shell
from deploys.files import ManagedFile
from deploys.services.description import LOG_BYTES, OPEN_FILES, STOP_SECONDS, Service

_PROGRAMS = Path(sys.executable).parent
# What it starts has nothing of the operator's shell, whose secrets and proxies are not the engines': these variables,
# and what a service declares.
_CLEAN = (
    'env -i HOME="$HOME" USER="$(id -un)" LANG=C.UTF-8 '
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)
# Longer than what it stops takes: keep_together.py waits for the processes that it looks after.
_STOP_SECONDS = STOP_SECONDS + 5


@dataclass(frozen=True)
class Supervisor:
    """The supervisor of one node. `directory` is the node's state, below which it keeps its own."""

    node: str
    directory: str

    @property
    def state_directory(self) -> str:
        """Configuration, control socket, logs."""
        return f"{self.directory}/supervisor"

    def path(self, service: Service) -> str:
        """See ServiceManager."""
        return self._path(service.name)

    def text(self, service: Service) -> str:
        """See ServiceManager."""
        environment = service.whole_environment
        quoted = {key: _quote(value) for key, value in environment.items()}
        joined = ",".join(f"{key}={value}" for key, value in quoted.items() if value)
        others = [f"{key}={environment[key]}" for key, value in quoted.items() if not value]
        command = shlex.join([*(["/usr/bin/env", *others] if others else []), *service.command])
        # Supervisor takes " ;" and " #" for the start of a comment, in quotes too: an empty pair of quotes parts them.
        command = re.sub(r"(\s)([;#])", r"\1''\2", command)
        log = self.log(service.name)
        return "\n".join(
            [
                f"; {service.description}. Managed by cluster.",
                f"[program:{service.name}]",
                f"command={_percent(command)}",
                f"environment={joined}",
                f"directory={_percent(self.directory)}",
                "autostart=true",
                "autorestart=true",
                "startsecs=3",
                "startretries=100",
                "stopasgroup=false",
                "killasgroup=true",
                f"stopwaitsecs={_STOP_SECONDS}",
                "redirect_stderr=true",
                f"stdout_logfile={_percent(log)}",
                f"stdout_logfile_maxbytes={LOG_BYTES}",
                "stdout_logfile_backups=1",
                "",
            ]
        )

    def file(self) -> ManagedFile:
        """Its own configuration; its socket is for the owner only and it listens on no port."""
        directory = self.state_directory
        text = "\n".join(
            [
                f"; supervisor of {self.node}. Managed by cluster.",
                "[supervisord]",
                f"logfile={_percent(directory)}/supervisord.log",
                f"pidfile={_percent(directory)}/supervisord.pid",
                f"childlogdir={_percent(directory)}",
                f"logfile_maxbytes={LOG_BYTES}",
                "logfile_backups=1",
                f"minfds={OPEN_FILES // 16}",
                "umask=077",
                "",
                "[unix_http_server]",
                f"file={_percent(directory)}/control.sock",
                "chmod=0600",
                "",
                "[rpcinterface:supervisor]",
                "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
                "",
                "[supervisorctl]",
                f"serverurl=unix://{_percent(directory)}/control.sock",
                "",
                "[include]",
                f"files = {_percent(directory)}/conf.d/*.conf",
                "",
            ]
        )
        return ManagedFile(self._configuration, text, mode="0600")

    def start(self, names: Sequence[str]) -> Iterator[str]:
        """See ServiceManager."""
        daemon = f"{_CLEAN} {shell.line(str(_PROGRAMS / 'supervisord'), '-c', self._configuration)}"
        # It inherits the open-file limit; Ray wants more than the usual 1024, as far as the hard limit lets us.
        yield (
            f"ulimit -n {OPEN_FILES} 2>/dev/null || ulimit -n $(ulimit -Hn); "
            f"{self._control} pid >/dev/null 2>&1 || {daemon}"
        )
        yield f"{self._control} reread >/dev/null && {self._control} update >/dev/null"
        for name in names:
            yield self._restart_where_stale(name)

    def stop(self, names: Sequence[str]) -> Iterator[str]:
        """Ends the supervisor too: all that it has is what is stopped."""
        # Its programs end side by side, each within its own time.
        yield shell.line("rm", "-f", "--", values=tuple(self._path(name) for name in names))
        # It has ended when its socket is gone; a deadline, because one that will not must not hang the run.
        socket = shell.line(f"{self.state_directory}/control.sock")
        yield (
            f"{self._control} shutdown >/dev/null 2>&1; "
            f"for i in $(seq 200); do [ -S {socket} ] || break; sleep 0.1; done"
        )

    def restart(self, name: str) -> Iterator[str]:
        """See ServiceManager."""
        yield f"{self._control} restart {shell.line(name)}"

    def reload(self, service: Service) -> Iterator[str]:
        """See ServiceManager."""
        signal = f"{self._control} signal {service.reload_signal} {service.name}"
        yield f"{signal} >/dev/null || {self._control} start {service.name}"

    def log(self, name: str) -> str:
        """See ServiceManager."""
        return f"{self.state_directory}/{name}.log"

    def restart_remedy(self, name: str, node: str, command: str) -> str:
        """See ServiceManager."""
        return f"`{command} down`, then `{command} up`"

    @property
    def _configuration(self) -> str:
        return f"{self.state_directory}/supervisord.conf"

    @property
    def _control(self) -> str:
        return shell.line(str(_PROGRAMS / "supervisorctl"), "-c", self._configuration)

    def _path(self, name: str) -> str:
        return f"{self.state_directory}/conf.d/{name}.conf"

    def _restart_where_stale(self, name: str) -> str:
        # `update` has already started what is new or changed; only what it left running untouched is restarted.
        control = self._control
        return (
            f"pid=$({control} pid {name}); case $pid in ''|0|*[!0-9]*) {control} start {name} ;; "
            f"*) [ $(ps -o etimes= -p $pid) -lt 30 ] || {control} restart {name} ;; esac"
        )


def _quote(value: str) -> str:
    """A value for supervisor's `environment`, or "" for one that it cannot hold: env(1) has to set that.

    Supervisor knows no escapes there: a value ends at the next quote of the kind that it began with, loses quotes of
    both kinds at its ends, and ends at a comment.
    """
    mark = "'" if '"' in value else '"'
    if mark in value or value != value.strip("'\"") or re.search(r"\s[;#]", value):
        return ""
    return f"{mark}{_percent(value)}{mark}"


def _percent(text: str) -> str:
    return text.replace("%", "%%")
