"""Long-running processes of a node, written as systemd units or as supervisor programs from one description.

Pure. Every service carries the digest of its whole configuration in its environment, so that a running process tells
which configuration it was started with: a restart that was missed is seen by the next run, however it was missed.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploys.files import ManagedFile
from deploys.settings import Settings

DIGEST_VARIABLE = "CLUSTER_CONFIGURATION"
OPEN_FILES = 65535
# supervisor runs on the machine of the tool, from the tool's own environment.
_PROGRAMS = Path(sys.executable).parent


@dataclass(frozen=True)
class Service:
    """A daemon. `inputs` are digests of files that it reads: when one changes, the service must be restarted.

    `user` instead of the cluster's service user; `confinement` are more lines of its systemd unit.
    """

    name: str
    description: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    as_root: bool = False
    reload_signal: str = ""
    user: str = ""
    confinement: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Digest of all that decides how this service runs."""
        more = [self.user, self.confinement] if self.user or self.confinement else []
        text = json.dumps([self.command, sorted(self.environment.items()), self.inputs, self.as_root, *more])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def service_path(settings: Settings, service: Service) -> str:
    """Where the service manager looks for the description of a service."""
    if settings.system.service_manager == "systemd":
        return f"/etc/systemd/system/{service.name}.service"
    return f"{supervisor_directory(settings)}/conf.d/{service.name}.conf"


def supervisor_directory(settings: Settings) -> str:
    """State of this node's supervisor: configuration, control socket, log."""
    return f"{settings.directories.state}/supervisor"


def service_file(settings: Settings, service: Service) -> ManagedFile:
    """The description of a service as a managed file."""
    text = _unit(settings, service) if settings.system.service_manager == "systemd" else _program(settings, service)
    return ManagedFile(service_path(settings, service), text, owner="root" if settings.system.managed else "")


def _unit(settings: Settings, service: Service) -> str:
    environment = {**service.environment, DIGEST_VARIABLE: service.digest}
    after = " ".join(("network-online.target", *service.after))
    lines = [
        "# Managed by cluster: changes by hand are reported by `cluster verify` and undone by the next deploy.",
        "[Unit]",
        f"Description={service.description}",
        f"After={after}",
        "Wants=network-online.target",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=exec",
        *([] if service.as_root else [f"User={service.user or settings.system.service_user}"]),
        *(f"Environment={_systemd_quote(f'{key}={value}')}" for key, value in sorted(environment.items())),
        f"ExecStart={' '.join(_systemd_quote(part).replace('$', '$$') for part in service.command)}",
        *([f"ExecReload=/bin/kill -{service.reload_signal} $MAINPID"] if service.reload_signal else []),
        "Restart=always",
        "RestartSec=2",
        "KillMode=control-group",
        "TimeoutStopSec=20",
        f"LimitNOFILE={OPEN_FILES}",
        "LimitMEMLOCK=infinity",
        "TasksMax=infinity",
        "NoNewPrivileges=yes",
        *(service.confinement or ("ProtectSystem=full",)),
        "",
        "[Install]",
        "WantedBy=multi-user.target",
        "",
    ]
    return "\n".join(lines)


def _systemd_quote(text: str) -> str:
    # systemd.syntax(7): double quotes, backslash escapes; % is expanded, and doubled to stay itself. $ is expanded in
    # ExecStart= alone (systemd.service(5)) and has no meaning in Environment= (systemd.exec(5)).
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _program(settings: Settings, service: Service) -> str:
    environment = {**service.environment, DIGEST_VARIABLE: service.digest}
    quoted = {key: _supervisor_quote(value) for key, value in sorted(environment.items())}
    joined = ",".join(f"{key}={value}" for key, value in quoted.items() if value)
    others = [f"{key}={environment[key]}" for key, value in quoted.items() if not value]
    command = shlex.join([*(["/usr/bin/env", *others] if others else []), *service.command])
    # Supervisor takes " ;" and " #" for the start of a comment, in quotes too: an empty pair of quotes parts them.
    command = re.sub(r"(\s)([;#])", r"\1''\2", command)
    log = f"{supervisor_directory(settings)}/{service.name}.log"
    return "\n".join(
        [
            f"; {service.description}. Managed by cluster.",
            f"[program:{service.name}]",
            f"command={_percent(command)}",
            f"environment={joined}",
            f"directory={_percent(settings.directories.state)}",
            "autostart=true",
            "autorestart=true",
            "startsecs=3",
            "startretries=100",
            "stopasgroup=false",
            "killasgroup=true",
            "stopwaitsecs=25",
            "redirect_stderr=true",
            f"stdout_logfile={_percent(log)}",
            "stdout_logfile_maxbytes=10MB",
            "stdout_logfile_backups=2",
            "",
        ]
    )


def _supervisor_quote(value: str) -> str:
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


def supervisor_file(settings: Settings) -> ManagedFile:
    """Configuration of this node's supervisor; its socket is for the owner only and it listens on no port."""
    directory = supervisor_directory(settings)
    text = "\n".join(
        [
            f"; supervisor of {settings.node}. Managed by cluster.",
            "[supervisord]",
            f"logfile={_percent(directory)}/supervisord.log",
            f"pidfile={_percent(directory)}/supervisord.pid",
            f"childlogdir={_percent(directory)}",
            "logfile_maxbytes=5MB",
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
    return ManagedFile(f"{directory}/supervisord.conf", text, mode="0600")


def supervisorctl() -> str:
    """The program that talks to a node's supervisor."""
    return str(_PROGRAMS / "supervisorctl")


def states(settings: Settings, services: tuple[Service, ...]) -> dict[str, object]:
    """Arguments for the Services fact."""
    names: dict[str, object] = {"names": tuple(service.name for service in services)}
    return (
        names
        if settings.system.service_manager == "systemd"
        else {**names, "supervisor": supervisor_directory(settings)}
    )
