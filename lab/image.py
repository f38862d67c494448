"""The image that the hosts boot: the compute nodes' own, of the variant without accelerators; and what the lab adds.

The lab builds none: it is given the directory of one (vmlinuz, initrd.img, root.squashfs, manifest.json), reads its
manifest and mounts its root read-only. The additions are files of each host's own layer; they hold what only hosts
need that are containers of one machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab.apt import host_apt_options, host_mirrors
from lab.plan import LOGIN_USER
from lab.system import LabError, read_json

# Each of these only costs time in a host that has neither a console nor a resolver of its own.
MASKED_UNITS = (
    "console-getty.service",
    "container-getty@.service",
    "getty.target",
    "getty@.service",
    "systemd-resolved.service",
)

SSHD_CONFIGURATION = """\
# A deploy logs in from one address to many hosts, and load tests to one host many times.
MaxStartups 100:30:200
MaxSessions 50
PerSourceMaxStartups none
"""


@dataclass(frozen=True)
class LabImage:
    """An image as far as the lab needs to know it."""

    directory: Path
    suite: str
    login_uid: int

    @property
    def name(self) -> str:
        """Its name, which is its directory's."""
        return self.directory.name

    @property
    def root(self) -> Path:
        """The packed root; hosts mount it read-only, as their overlay's lower layer."""
        return self.directory / "root.squashfs"


def read_image(directory: Path) -> LabImage:
    """The image in that directory; LabError when the lab cannot boot it."""
    manifest = read_json(directory / "manifest.json") or {}
    suite, login = manifest.get("suite"), manifest.get("login")
    if not isinstance(suite, str) or not isinstance(login, dict) or not (directory / "root.squashfs").is_file():
        raise LabError(f"{directory}: no image; run `cluster image build --variant none`, then `cluster lab up`")
    if login.get("user") != LOGIN_USER:
        raise LabError(f"{directory}: an image for the login user {login.get('user')!r}, the lab's is {LOGIN_USER!r}")
    return LabImage(directory, suite, int(login["uid"]))


def additions(image: LabImage) -> dict[str, str]:
    """Path -> text of the files that a host has beside the image's: logins in bulk, and the way to packages.

    The image itself names Debian's own archive; hosts take packages where this machine does.
    """
    files = {"etc/ssh/sshd_config.d/20-cluster-lab.conf": SSHD_CONFIGURATION}
    mirrors, options = host_mirrors(image.suite), host_apt_options()
    if mirrors:
        files["etc/apt/sources.list"] = "".join(f"{line}\n" for line in mirrors)
    if options:
        files["etc/apt/apt.conf.d/90cluster-lab"] = "".join(f"{option};\n" for option in options)
    return files
