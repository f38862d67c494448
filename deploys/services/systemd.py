"""Services as systemd units. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deploys import shell
from deploys.services.description import OPEN_FILES, ROOT, STOP_SECONDS, Service


@dataclass(frozen=True)
class Systemd:
    """A host's systemd, its first process. `service_user`: whom a service runs as that names nobody."""

    service_user: str
    state_directory = ""

    def path(self, service: Service) -> str:
        """See ServiceManager."""
        return f"/etc/systemd/system/{service.name}.service"

    def text(self, service: Service) -> str:
        """See ServiceManager."""
        after = " ".join(("network-online.target", *(f"{name}.service" for name in service.after)))
        user = service.user or self.service_user
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
            *([] if user == ROOT else [f"User={user}"]),
            *(f"Environment={_quote(f'{key}={value}')}" for key, value in service.whole_environment.items()),
            f"ExecStart={' '.join(_quote(part).replace('$', '$$') for part in service.command)}",
            *([f"ExecReload=/bin/kill -{service.reload_signal} $MAINPID"] if service.reload_signal else []),
            "Restart=always",
            "RestartSec=2",
            "KillMode=control-group",
            f"TimeoutStopSec={STOP_SECONDS}",
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

    def start(self, names: Sequence[str]) -> Iterator[str]:
        """See ServiceManager."""
        yield shell.line("systemctl", "daemon-reload")
        for name in names:
            yield shell.line("systemctl", "enable", "--quiet", "--", values=(name,))
            yield shell.line("systemctl", "reset-failed", "--", values=(name,))
            yield shell.line("systemctl", "restart", "--", values=(name,))

    def stop(self, names: Sequence[str]) -> Iterator[str]:
        """See ServiceManager."""
        for name in names:
            yield shell.line("systemctl", "disable", "--now", "--quiet", "--", values=(name,))

    def restart(self, name: str) -> Iterator[str]:
        """See ServiceManager."""
        yield shell.line("systemctl", "restart", "--", values=(name,))

    def reload(self, service: Service) -> Iterator[str]:
        """See ServiceManager."""
        yield shell.line("systemctl", "reload-or-restart", "--", values=(service.name,))

    def restart_remedy(self, name: str, node: str, command: str) -> str:
        """See ServiceManager."""
        return f"systemctl restart {name} on {node}"


def _quote(text: str) -> str:
    # systemd.syntax(7): double quotes, backslash escapes; % is expanded, and doubled to stay itself. $ is expanded in
    # ExecStart= alone (systemd.service(5)) and has no meaning in Environment= (systemd.exec(5)).
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
