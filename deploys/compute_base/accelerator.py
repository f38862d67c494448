"""Driver and access for the profile's accelerators.

Not run on an AMD or NVIDIA card where this was written: the steps follow the vendors' installation guides, and the GPU
facts say afterwards what is true.
"""

from __future__ import annotations

from pyinfra import host
from pyinfra.facts.deb import DebPackages
from pyinfra.operations import apt, server

from deploys.compute_base.systems import SystemParts
from deploys.operations import account
from deploys.settings import Settings


def driver(kind: str, *, node: str, service_user: str, system: SystemParts) -> None:
    """Operations for the driver of a kind of accelerator, `cuda` or `rocm`; none for `none`."""
    if kind == "cuda":
        packages = [system.kernel_headers, "nvidia-open"]
        there = host.get_fact(DebPackages)
        if "cuda-keyring" not in there:
            # The keyring package brings the repository and its key. A minimal system cannot fetch from https.
            apt.packages(name=f"Install wget on {node}", packages=["wget"], no_recommends=True, _timeout=900)
            apt.deb(name=f"Add NVIDIA's repository on {node}", src=system.cuda_keyring, _timeout=300)
        apt.packages(
            name=f"Install NVIDIA's open driver on {node}",
            packages=packages,
            # However young the lists are, those of a repository that was just added are not among them.
            update=bool(set(packages) - set(there)),
            _timeout=3600,  # with the packages comes the module's compilation
        )
    if kind == "rocm":
        # ROCm's user space is in the runtime's wheels; the kernel's amdgpu wants firmware, and its devices want groups.
        apt.packages(
            name=f"Install AMD GPU firmware on {node}",
            packages=["firmware-amd-graphics"],
            extra_install_args=f"-t {system.firmware_suite}",
            _timeout=900,
        )
        account.ensure(
            name=f"Let {service_user} use the GPU on {node}",
            user=service_user,
            groups=("video", "render"),
        )


def boot_menu(here: Settings) -> None:
    """Kernel arguments of the profile, for a node that boots from its own disk."""
    if here.accelerators.kernel_arguments and not here.is_control and not here.is_booted:
        server.shell(
            name=f"Put kernel arguments into the boot menu of {here.node}",
            commands=[
                "grep -qF -- "
                + _quoted(" ".join(here.accelerators.kernel_arguments))
                + " /boot/grub/grub.cfg || update-grub",
            ],
        )


def _quoted(text: str) -> str:
    from deploys import shell

    return shell.line(text)
