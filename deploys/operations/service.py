"""Start a service, or restart it when it runs with another configuration than the declared one."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import StringCommand

from deploys import shell
from deploys.services import Service, states, supervisor_directory, supervisorctl
from deploys.settings import Settings
from facts.services import FirewallRules, Services

Commands = Generator[StringCommand, None, None]


@operation()
def ensure_running(settings: Settings, services: tuple[Service, ...]) -> Commands:
    """Bring `services` to running, started at boot, and started with their declared configuration."""
    found = host.get_fact(Services, **states(settings, services))
    stale = []
    for service in services:
        state = found.get(service.name)
        if not (state and state.active and state.enabled and state.configuration == service.digest):
            stale.append(service.name)
    if not stale:
        host.noop(f"{', '.join(service.name for service in services)} running as declared")
        return
    if settings.system.service_manager == "systemd":
        yield shell.command("systemctl", "daemon-reload")
        for name in stale:
            yield shell.command("systemctl", "enable", "--quiet", "--", values=(name,))
            yield shell.command("systemctl", "reset-failed", "--", values=(name,))
            yield shell.command("systemctl", "restart", "--", values=(name,))
        return
    directory = supervisor_directory(settings)
    configuration = f"{directory}/supervisord.conf"
    control = shell.line(supervisorctl(), "-c", configuration)
    daemon = shell.line(str(Path(supervisorctl()).with_name("supervisord")), "-c", configuration)
    # It inherits the open-file limit; Ray wants more than the usual 1024, as far as the hard limit lets us.
    yield StringCommand(
        f"ulimit -n 65535 2>/dev/null || ulimit -n $(ulimit -Hn); {control} pid >/dev/null 2>&1 || {daemon}"
    )
    yield StringCommand(f"{control} reread >/dev/null && {control} update >/dev/null")
    for name in stale:
        yield StringCommand(_restart_where_stale(control, name))


def _restart_where_stale(control: str, name: str) -> str:
    # `update` has already started what is new or changed; only what it left running untouched is restarted.
    return (
        f"pid=$({control} pid {name}); case $pid in ''|0|*[!0-9]*) {control} start {name} ;; "
        f"*) [ $(ps -o etimes= -p $pid) -lt 30 ] || {control} restart {name} ;; esac"
    )


def restart(settings: Settings, name: str) -> Commands:
    """Commands that restart one service."""
    if settings.system.service_manager == "systemd":
        yield shell.command("systemctl", "restart", "--", values=(name,))
    else:
        yield shell.command(
            supervisorctl(), "-c", f"{supervisor_directory(settings)}/supervisord.conf", "restart", name
        )


@operation()
def ensure_stopped(settings: Settings, services: tuple[Service, ...]) -> Commands:
    """Stop `services` and take them out of the boot; on a supervisor, end it when it has nothing left."""
    found = host.get_fact(Services, **states(settings, services))
    running = [service.name for service in services if (s := found.get(service.name)) and (s.active or s.enabled)]
    if not running:
        host.noop("nothing is running")
        return
    if settings.system.service_manager == "systemd":
        for name in running:
            yield shell.command("systemctl", "disable", "--now", "--quiet", "--", values=(name,))
        return
    directory = supervisor_directory(settings)
    control = shell.line(supervisorctl(), "-c", f"{directory}/supervisord.conf")
    for name in running:
        yield StringCommand(
            f"{control} stop {name} >/dev/null 2>&1; rm -f {shell.line(f'{directory}/conf.d/{name}.conf')}"
        )
    # Ends when its socket is gone; a deadline, because a daemon that will not die must not hang the run.
    yield StringCommand(
        f"{control} shutdown >/dev/null 2>&1; "
        f"for i in $(seq 100); do [ -S {shell.line(f'{directory}/control.sock')} ] || break; sleep 0.2; done"
    )


@operation()
def load_firewall(chain: str, unit: str) -> Commands:
    """Load the declared rules unless the loaded ones carry their mark, and at every boot."""
    if host.get_fact(FirewallRules) == chain:
        host.noop("the declared rules are loaded")
        return
    yield shell.command("systemctl", "daemon-reload")
    yield shell.command("systemctl", "enable", "--quiet", "--", values=(unit,))
    yield shell.command("systemctl", "restart", "--", values=(unit,))
