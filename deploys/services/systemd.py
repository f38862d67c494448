"""Services as systemd units. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deploys import shell, templates
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
        return templates.render(
            __file__,
            "unit.service.j2",
            service=service,
            user=service.user or self.service_user,
            root=ROOT,
            environment=[_quote(f"{key}={value}") for key, value in service.whole_environment.items()],
            command=[_quote(part).replace("$", "$$") for part in service.command],
            stop_seconds=STOP_SECONDS,
            open_files=OPEN_FILES,
        )

    def start(self, names: Sequence[str]) -> Iterator[str]:
        """See ServiceManager."""
        yield shell.line("systemctl", "daemon-reload")
        for name in names:
            yield shell.line("systemctl", "enable", "--quiet", "--", values=(name,))
            yield shell.line("systemctl", "reset-failed", "--", values=(name,))
            yield shell.line("systemctl", "restart", "--", values=(name,))

    def stop(self, names: Sequence[str]) -> Iterator[str]:
        """See ServiceManager."""
        # Side by side.
        yield shell.line("systemctl", "disable", "--now", "--quiet", "--", values=tuple(names))

    def restart(self, name: str) -> Iterator[str]:
        """See ServiceManager."""
        yield shell.line("systemctl", "restart", "--", values=(name,))

    def reload(self, service: Service) -> Iterator[str]:
        """See ServiceManager."""
        yield shell.line("systemctl", "reload-or-restart", "--", values=(service.name,))

    def log(self, name: str) -> str:
        """See ServiceManager."""
        return f"journalctl -u {name}"

    def restart_remedy(self, name: str, node: str, command: str) -> str:
        """See ServiceManager."""
        return f"systemctl restart {name} on {node}"


def _quote(text: str) -> str:
    # systemd.syntax(7): double quotes, backslash escapes; % is expanded, and doubled to stay itself. $ is expanded in
    # ExecStart= alone (systemd.service(5)) and has no meaning in Environment= (systemd.exec(5)).
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
