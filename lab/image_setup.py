"""What is done inside a fresh Debian to make it the lab's image: one shell script, pure text.

The script gets the image's root as its first argument and runs outside of it, as mmdebstrap calls its hooks.
It holds nothing that differs between hosts: host names, machine ids, host keys and the login key are each
host's own.
"""

from __future__ import annotations

import shlex

from lab.plan import LOGIN_USER

LOGIN_UID = 1000

# Each of these only costs time in a host that lives for hours and has neither a console, a disk nor a lease
# of its own.
MASKED_UNITS = (
    "apt-daily.service",
    "apt-daily.timer",
    "apt-daily-upgrade.service",
    "apt-daily-upgrade.timer",
    "console-getty.service",
    "container-getty@.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "getty@.service",
    "systemd-networkd-wait-online.service",
    "systemd-resolved.service",
)

SSHD_CONFIGURATION = f"""\
# One key a host, made for that host.
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin no
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowUsers {LOGIN_USER}
# A name lookup or a Kerberos try on every login would cost more than the login.
UseDNS no
GSSAPIAuthentication no
# A deploy logs in from one address to many hosts, and load tests to one host many times.
MaxStartups 100:30:200
MaxSessions 50
PerSourceMaxStartups none
X11Forwarding no
"""

SUDOERS = f"""\
{LOGIN_USER} ALL=(ALL:ALL) NOPASSWD: ALL
# The deploys own /etc/hosts: until they ran, the host's name resolves nowhere and sudo must not wait for it.
Defaults !fqdn
"""

HOSTS = """\
127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
"""

JOURNAL = """\
[Journal]
Storage=volatile
RuntimeMaxUse=64M
"""

FILES = (
    ("etc/ssh/sshd_config.d/10-cluster-lab.conf", SSHD_CONFIGURATION, "0644"),
    ("etc/sudoers.d/cluster-lab", SUDOERS, "0440"),
    ("etc/hosts", HOSTS, "0644"),
    ("etc/systemd/journald.conf.d/10-cluster-lab.conf", JOURNAL, "0644"),
    ("etc/default/locale", "LANG=C.UTF-8\n", "0644"),
)


def setup_script(masked_units: tuple[str, ...] = MASKED_UNITS, files: tuple[tuple[str, str, str], ...] = FILES) -> str:
    """The setup steps as a POSIX shell script that stops at the first error."""
    user = f"--uid {LOGIN_UID} --user-group --create-home --shell /bin/bash --password '*' {LOGIN_USER}"
    lines = ["#!/bin/sh", "set -eu", 'root="$1"', f'chroot "$root" useradd {user}']
    for path, text, mode in files:
        target = f'"$root"/{shlex.quote(path)}'
        lines += [
            f'mkdir -p "$(dirname {target})"',
            f"printf %s {shlex.quote(text)} > {target}",
            f"chmod {mode} {target}",
        ]
    lines += [
        # A key or an id in the image would be every host's.
        'rm -f "$root"/etc/ssh/ssh_host_*',
        ': > "$root"/etc/machine-id',
        'rm -f "$root"/var/lib/dbus/machine-id "$root"/etc/hostname "$root"/etc/resolv.conf',
        'chroot "$root" visudo --check --quiet',
        f'chroot "$root" systemctl --quiet mask {" ".join(shlex.quote(unit) for unit in masked_units)}',
        'chroot "$root" systemctl --quiet enable ssh.service',
        'chroot "$root" systemctl --quiet set-default multi-user.target',
        # Mount points of the shared directories, there before the first host is.
        'mkdir -p "$root"/opt/cluster "$root"/var/lib/cluster/models',
    ]
    return "\n".join(lines) + "\n"
