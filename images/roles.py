"""The roles that are applied to an image, in order: the one list of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pyinfra.operations import apt, server

from deploys import shell
from deploys.compute_base.shared import Shared, shared_base
from deploys.compute_base.system import limits_file
from deploys.compute_base.systems import SYSTEMS
from deploys.files import ManagedFile
from deploys.operations import managed
from images import contents


@dataclass(frozen=True)
class Tree:
    """What the roles need to know of the image that they are applied to."""

    variant: contents.Variant
    login_user: str
    service_user: str
    state_directory: str


def compute_base(tree: Tree) -> None:
    """The part of compute_base that all nodes share."""
    kind = {"amd": "rocm", "nvidia": "cuda", "none": "none"}[tree.variant]
    kernel = contents.KERNELS[tree.variant]
    if kind == "cuda":
        unsigned = ManagedFile(contents.UNSIGNED_MODULES_PATH, contents.UNSIGNED_MODULES, owner="root")
        managed.write_files(name="Let DKMS sign no module of the image", files=(unsigned,))
    system = replace(SYSTEMS["debian", contents.RELEASE], firmware_suite=kernel.suite)
    shared_base(Shared("the image", tree.service_user, tree.state_directory, kind, system))
    managed.write_files(name="Write limits on the image", files=(limits_file(),))


def login(tree: Tree) -> None:
    """The user that deploys log in as, without a password, and sshd; the authorized key comes with each boot."""
    server.user(  # noqa: S604 (the user's login shell; no subprocess)
        name=f"Create login user {tree.login_user} on the image",
        user=tree.login_user,
        uid=contents.LOGIN_UID,
        shell="/bin/bash",
        create_home=True,
        password="*",  # noqa: S106 (none that could be typed, and no locked account either: PAM lets keys in)
    )
    managed.write_files(
        name="Write the image's own files",
        files=tuple(
            ManagedFile(path, text, mode=mode, owner="root") for path, text, mode in contents.files(tree.login_user)
        ),
    )


def boot(tree: Tree) -> None:
    """Kernel and what makes its initrd, and no unit that wants a disk. Units by shell: no systemd runs in a tree."""
    kernel = contents.KERNELS[tree.variant]
    apt.packages(
        name="Install what makes the initrd",
        packages=list(contents.BOOT_PACKAGES),
        no_recommends=True,
        _timeout=900,
    )
    apt.packages(
        name=f"Install kernel {kernel.package}",
        packages=[kernel.package],
        no_recommends=True,
        extra_install_args=f"-t {kernel.suite}",
        # The initrd is made once, after everything that goes into it is there.
        _env={"INITRD": "No"},
        _timeout=900,
    )
    server.shell(
        name="Choose the image's units",
        commands=[
            shell.line("systemctl", "--quiet", "mask", *contents.MASKED_UNITS),
            "systemctl --quiet enable ssh.service",
            "systemctl --quiet set-default multi-user.target",
        ],
    )


ROLES: tuple[tuple[str, Callable[[Tree], None]], ...] = (
    ("compute_base", compute_base),
    ("login", login),
    ("boot", boot),
)
