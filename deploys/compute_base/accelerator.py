"""Driver and access for the profile's accelerators.

Not run on an AMD or NVIDIA card where this was written: the steps follow the vendors' installation guides, and the GPU
facts say afterwards what is true.
"""

from __future__ import annotations

from pyinfra.operations import apt, server

from deploys.operations import account
from deploys.settings import Settings

# NVIDIA's CUDA installation guide for Linux, "Debian": the keyring package brings the repository and its key.
_CUDA_KEYRING = "https://developer.download.nvidia.com/compute/cuda/repos/debian12/x86_64/cuda-keyring_1.1-1_all.deb"


def prepare(here: Settings) -> None:
    """Operations for the kind of accelerator that this node declares; none on a node without one."""
    if here.is_control or not here.accelerators:
        return
    if here.runtime.kind == "cuda":
        apt.deb(name=f"Add NVIDIA's repository on {here.node}", src=_CUDA_KEYRING, _timeout=300)
        apt.packages(
            name=f"Install NVIDIA's open driver on {here.node}",
            packages=["linux-headers-amd64", "nvidia-open"],
            update=True,
            cache_time=86400,
            _timeout=1800,
        )
    if here.runtime.kind == "rocm":
        # ROCm's user space is in the runtime's wheels; the kernel's amdgpu wants firmware, and its devices want groups.
        apt.packages(
            name=f"Install AMD GPU firmware on {here.node}",
            packages=["firmware-amd-graphics"],
            extra_install_args="-t bookworm-backports",
            _timeout=900,
        )
        account.ensure(
            name=f"Let {here.service_user} use the GPU on {here.node}",
            user=here.service_user,
            groups=("video", "render"),
        )
    if here.kernel_arguments and not here.is_booted:
        server.shell(
            name=f"Put kernel arguments into the boot menu of {here.node}",
            commands=[
                "grep -qF -- " + _quoted(" ".join(here.kernel_arguments)) + " /boot/grub/grub.cfg || update-grub",
            ],
        )


def _quoted(text: str) -> str:
    from deploys import shell

    return shell.line(text)
