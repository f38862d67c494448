"""`@jump/NAME`: a host over SSH, by the cluster's own SSH configuration, which is written when it connects.

pyinfra knows a jump host from an OpenSSH configuration file only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyinfra.api.exceptions import ConnectError, InventoryError
from pyinfra.connectors.ssh import SSHConnector

from inventories.composition import ssh_files


class JumpConnector(SSHConnector):
    """pyinfra's own SSH, with the files made that it reads."""

    @staticmethod
    def make_names_data(name: str | None = None) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        """Yield (name, data, groups); InventoryError when no name is given."""
        if not name:
            raise InventoryError("@jump needs a name, as in @jump/compute0")
        yield name, {}, ["@jump"]

    def connect(self) -> None:
        """Connect; ConnectError where the files cannot be written, and where SSH fails."""
        try:
            ssh_files.make({**self.data, ssh_files.CONFIGURATION: self.host.data.get(ssh_files.CONFIGURATION)})
        except OSError as error:
            raise ConnectError(
                f"{error.filename}: {error.strerror}; set CLUSTER_HOME to a directory that you can write to"
            ) from None
        super().connect()
