"""What an image is made of, as data. Pure.

An image differs by variant (the accelerators' kind) and by what the request says; nothing in it differs between
hosts. Names, addresses, keys, secrets and the firewall are each host's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Variant = Literal["amd", "nvidia", "none"]
VARIANTS: tuple[Variant, ...] = ("amd", "nvidia", "none")
# Ray's and vLLM's name of a kind of accelerator -> the variant.
VARIANT_OF_RUNTIME: dict[str, Variant] = {"cpu": "none", "cuda": "nvidia", "rocm": "amd"}

SUITE, RELEASE = "bookworm", "12"
LOGIN_USER = "compute"
LOGIN_UID = 1000
INITRAMFS_DIRECTORY = Path(__file__).with_name("initramfs")

# The base tree: a Debian that boots, can be reached by SSH, and that pyinfra can configure.
BASE_PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "kmod",
    "openssh-server",
    "procps",
    "python3",
    "sudo",
    "systemd",
    "systemd-sysv",
    "systemd-timesyncd",
    "udev",
    "zstd",
)

# What makes the initrd, and what runs in it; see initramfs/.
BOOT_PACKAGES = ("busybox", "initramfs-tools")

# What no node reads. Copyright files stay: the licences ask for them, and their dates give the image its own.
# Nor the kernel hooks of newer suites (linux-base): they copy the kernel into /boot, and Debian 12's run-parts takes
# one directory of hooks only, so with two of them a newer kernel cannot be installed.
LEFT_OUT = ("/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/doc/*", "/usr/share/kernel/*")
KEPT = ("/usr/share/doc/*/copyright",)


@dataclass(frozen=True)
class Kernel:
    """Which kernel a variant has: package, and the suite and components where that and its firmware are."""

    package: str
    suite: str
    components: tuple[str, ...] = ("main",)


KERNELS: dict[Variant, Kernel] = {
    # Ryzen AI wants 6.15 or newer, which neither Debian 12 nor its backports have.
    "amd": Kernel("linux-image-amd64", "trixie-backports", ("main", "non-free-firmware")),
    "nvidia": Kernel("linux-image-amd64", SUITE),
    # For virtual machines and the lab: a third of the size, without drivers for hardware.
    "none": Kernel("linux-image-cloud-amd64", SUITE),
}

# The accelerator's kernel module, without which an image is not built. DKMS says nothing when it made none.
DRIVERS: dict[Variant, str] = {"amd": "amdgpu", "nvidia": "nvidia"}

# Of zstd, in the squashfs. 15, mksquashfs' own, takes a seventh less and half a minute more for each hundred megabytes.
COMPRESSION_LEVEL = 3

# Each of these only costs time, or writes, on a host whose root is in memory.
MASKED_UNITS = (
    "apt-daily.service",
    "apt-daily.timer",
    "apt-daily-upgrade.service",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-journal-flush.service",
    "systemd-networkd-wait-online.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-update-utmp.service",
)

SSHD = """\
# Managed by cluster. One host key, and logins by key only.
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin no
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowUsers {user}
# A name lookup or a Kerberos try on every login would cost more than the login.
UseDNS no
GSSAPIAuthentication no
X11Forwarding no
"""

SUDOERS = """\
# Managed by cluster.
{user} ALL=(ALL:ALL) NOPASSWD: ALL
# The deploys own /etc/hosts: until they ran, the host's name resolves nowhere and sudo must not wait for it.
Defaults !fqdn
"""

HOSTS = """\
127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
"""

JOURNAL = """\
# Managed by cluster. The root is in memory, and so is the journal.
[Journal]
Storage=volatile
RuntimeMaxUse=64M
"""

# DKMS makes a key of its own and signs with it. In an image the key would be everybody's, and every build another one;
# no firmware knows it. A file that is no program, named as the signing program, leaves modules unsigned.
UNSIGNED_MODULES_PATH = "/etc/dkms/framework.conf.d/cluster.conf"
UNSIGNED_MODULES = f"# Managed by cluster. No module is signed here.\nsign_file={UNSIGNED_MODULES_PATH}\n"

# A node has what its image has, whatever mirror that was made from.
APT_SOURCES = "# Managed by cluster. The image has what a node needs; for more, name a source of your own.\n"


def files(login_user: str) -> tuple[tuple[str, str, str], ...]:
    """(path, content, mode) of the image's own files; root owns them."""
    return (
        ("/etc/ssh/sshd_config.d/10-cluster.conf", SSHD.format(user=login_user), "0644"),
        ("/etc/sudoers.d/cluster", SUDOERS.format(user=login_user), "0440"),
        ("/etc/hosts", HOSTS, "0644"),
        ("/etc/systemd/journald.conf.d/10-cluster.conf", JOURNAL, "0644"),
        ("/etc/default/locale", "LANG=C.UTF-8\n", "0644"),
    )
