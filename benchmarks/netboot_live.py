"""The same packages as a Debian live system: stock initrd, live-boot, the root fetched by it. For comparison only.

It has no identity from the control node: a login key and a host key are in the image.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.netboot_boot import control, images_url, manifest_of
from deploys.pxe_server.configuration import PLACE
from experiments.boot_lab.lab import BootLab
from experiments.errors import ExperimentError
from images.construct import MERGED_USR
from lab.apt import host_apt_options, host_mirrors

LIVE_IMAGE = "live-boot-0000000000000000"
_BUILD_SECONDS = 1800.0
_STOCK = ["linux-image-cloud-amd64", "initramfs-tools", "live-boot", "busybox"]


def build_live_image(server: BootLab, image: str, place: Path) -> Path:
    """A directory that `netboot push` takes, with the packages of the image's manifest and live-boot beside them."""
    manifest = manifest_of(server, image)
    packages = sorted({*manifest.get("inputs", {}).get("packages", []), *_STOCK})
    tree, target = place / "tree", place / LIVE_IMAGE
    options = [f"--aptopt={option}" for option in host_apt_options()]
    suite = "bookworm"
    _run(
        "mmdebstrap", "--mode=root", "--variant=minbase", f"--hook-dir={MERGED_USR}", f"--include={','.join(packages)}",
        *options, suite, str(tree), *host_mirrors(suite),
    )  # fmt: skip
    _let_in(server, tree)
    target.mkdir()
    for found, name in (("vmlinuz-*", "vmlinuz"), ("initrd.img-*", "initrd.img")):
        (source,) = (tree / "boot").glob(found)
        shutil.copyfile(source, target / name)
    exclude = ["-e", "boot", "var/cache/apt/archives", "var/lib/apt/lists"]
    pack = ["-comp", "zstd", "-Xcompression-level", "3", "-noappend", "-no-progress", "-quiet", *exclude]
    _run("mksquashfs", str(tree), str(target / "root.squashfs"), *pack)
    (target / "manifest.json").write_text(json.dumps(_manifest(target)))
    return target


def _manifest(target: Path) -> dict[str, Any]:
    files = {}
    for name in ("vmlinuz", "initrd.img", "root.squashfs"):
        content = (target / name).read_bytes()
        files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    # The last `boot=` counts, and the control node's own comes first.
    fetch = f"fetch={images_url(control())}/{LIVE_IMAGE}/root.squashfs"
    arguments = ["boot=live", "components", fetch, "ip=dhcp"]
    return {"name": LIVE_IMAGE, "variant": "live", "kernel_arguments": arguments, "files": files, "packages": {}}


def _let_in(server: BootLab, tree: Path) -> None:
    """Login user, its key and the node's host key in the image, as whoever builds a live system does."""
    state = json.loads((server.home / "lab" / "lab.json").read_text())
    user = state["login_user"]
    _run("chroot", str(tree), "useradd", "--create-home", "--shell", "/bin/bash", user)
    home = tree / "home" / user / ".ssh"
    home.mkdir(mode=0o700)
    (home / "authorized_keys").write_text(Path(f"{state['ssh_key']}.pub").read_text())
    _run("chroot", str(tree), "chown", "-R", f"{user}:", f"/home/{user}/.ssh")
    # A name that resolves: else sudo, with which the login is tested, would ask name servers that are not there.
    (tree / "etc/hostname").write_text("compute-bios\n")
    (tree / "etc/hosts").write_text("127.0.0.1 localhost compute-bios\n")
    (tree / "etc/resolv.conf").unlink(missing_ok=True)
    (tree / "etc/sudoers.d/cluster").write_text(f"{user} ALL=(ALL:ALL) NOPASSWD: ALL\n")
    identity = f"{PLACE}/http/identity/compute-bios"
    for file, mode in (("ssh_host_ed25519_key", 0o600), ("ssh_host_ed25519_key.pub", 0o644)):
        path = tree / "etc/ssh" / file
        path.write_text(server.ssh("control", f"cat {identity}/{file}").stdout)
        path.chmod(mode)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ExperimentError(f"{command[0]} ended with {done.returncode}: {last}")
