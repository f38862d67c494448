"""ssh as pyinfra would connect, for what is no deploy: commands on the control node, files to it, a question."""

from __future__ import annotations

from inventories.composition import ssh_files
from operate.clusters import Host
from operate.errors import OperatorError


def ssh_command(host: Host) -> list[str]:
    """The command line up to the host: same user, key, configuration and known hosts as in the inventory.

    OperatorError where the configuration cannot be written.
    """
    data = host.data
    try:
        ssh_files.make(data)
    except OSError as error:
        raise OperatorError(
            f"{error.filename}: {error.strerror}; set CLUSTER_HOME to a directory that you can write to"
        ) from None
    line = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=8"]
    if data.get("ssh_config_file"):
        line += ["-F", str(data["ssh_config_file"])]
    if data.get("ssh_key"):
        line += ["-i", str(data["ssh_key"]), "-o", "IdentitiesOnly=yes"]
    if data.get("ssh_known_hosts_file"):
        line += ["-o", f"UserKnownHostsFile={data['ssh_known_hosts_file']}"]
    if data.get("ssh_strict_host_key_checking"):
        line += ["-o", f"StrictHostKeyChecking={data['ssh_strict_host_key_checking']}"]
    if data.get("ssh_port"):
        line += ["-p", str(data["ssh_port"])]
    return [*line, f"{data['ssh_user']}@{data.get('ssh_hostname', host.name)}"]
