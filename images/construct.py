"""Makes one image, in a mount and process namespace of its own: when its first process ends, nothing is left mounted.

Started by images.builder as `python -m images.construct SPECIFICATION`, and by mmdebstrap, where the tree is whole and
mounted, as `python -m images.construct --dress SPECIFICATION ROOT`. Each phase is told as a line of JSON in the
specification's `events` file; everything that tools say goes to standard output.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from facts.sources import REPOSITORY
from images import contents
from images.request import kernel_version, key
from images.scrub import date_of, scrub, settle_times
from images.store import FILES, file_entry
from lab.system import write_whole

DEPLOY = "images/tree.py"
UNUSED_SECONDS = 30 * 86400
# Of mmdebstrap: /bin is /usr/bin from the start. Without it a package written in perl does that, and brings perl along.
MERGED_USR = "/usr/share/mmdebstrap/hooks/merged-usr"
INITRAMFS = Path("etc/initramfs-tools")
# Made anew by each boot, or carried beside the squashfs.
NOT_PACKED = ("boot/*", "dev/*", "proc/*", "run/*", "sys/*", "tmp/*", "usr/lib/modules/*/vmlinuz")


class UnfitError(Exception):
    """The tree has a kernel that is older than the hardware needs, or not the accelerator's driver."""


def main(arguments: list[str]) -> int:
    """Build, or dress the tree of a build under way; the exit status of the first tool that failed."""
    os.umask(0o022)
    specification = json.loads(Path(arguments[-1 if arguments[0] != "--dress" else 1]).read_text())
    try:
        if arguments[0] == "--dress":
            _dress(specification, Path(arguments[2]))
        else:
            _construct(specification)
    except subprocess.CalledProcessError as error:
        program = "pyinfra" if "pyinfra" in error.cmd else Path(error.cmd[0]).name
        print(f"E: {program} ended with status {error.returncode}", flush=True)
        return 1
    except UnfitError as error:
        print(f"E: {error}", flush=True)
        return 1
    except OSError as error:
        print(f"E: {error.filename or 'image'}: {error.strerror}", flush=True)
        return 1
    return 0


def _construct(specification: dict[str, Any]) -> None:
    build = Path(specification["build"])
    root, target = build / "root", build / "image"
    _say(specification, "base", f"Debian {contents.SUITE} by mmdebstrap")
    _run(*_mmdebstrap(specification, root))
    found = json.loads((build / "tree.json").read_text())
    _say(specification, "clean", "what differs between builds")
    scrub(root)
    settle_times(root, found["date"])
    _say(specification, "pack", f"squashfs, zstd level {contents.COMPRESSION_LEVEL}")
    date = str(found["date"])
    options = ["-comp", "zstd", "-Xcompression-level", str(contents.COMPRESSION_LEVEL), "-mkfs-time", date]
    options += ["-noappend", "-no-progress", "-wildcards", "-e", *NOT_PACKED]
    _run("mksquashfs", str(root), str(target / "root.squashfs"), *options)
    _say(specification, "manifest", "hashes of the files")
    write_whole(target / "manifest.json", _manifest(specification["inputs"], found, target))


def _manifest(inputs: dict[str, Any], found: dict[str, Any], target: Path) -> str:
    image_key = key(inputs, found["packages"])
    manifest = {
        "name": f"{inputs['variant']}-{image_key}",
        "variant": inputs["variant"],
        "key": image_key,
        "suite": inputs["suite"],
        "kernel": found["kernel"],
        "login": {"user": inputs["login_user"], "uid": contents.LOGIN_UID},
        "kernel_arguments": inputs["kernel_arguments"],
        "roles": inputs["roles"],
        "date": found["date"],
        "files": {name: file_entry(target / name) for name in FILES},
        "packages": found["packages"],
        "inputs": inputs,
    }
    return json.dumps(manifest, indent=1, sort_keys=True) + "\n"


def _mmdebstrap(specification: dict[str, Any], root: Path) -> list[str]:
    cache = specification["package_cache"]
    # What an earlier build downloaded is linked in, and what this one downloads is kept; apt compares sizes and dpkg
    # reads each archive's own checksums.
    archives = '"$1/var/cache/apt/archives"'
    fill = f"mkdir -p {archives} && find {shlex.quote(cache)} -name '*.deb' -exec cp -l -t {archives} {{}} +"
    specified = f"{specification['build']}/specification.json"
    dress = f'{shlex.join([sys.executable, "-m", "images.construct", "--dress", specified])} "$1"'
    return [
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        f"--hook-dir={MERGED_USR}",
        f"--include={','.join(contents.BASE_PACKAGES)}",
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in contents.LEFT_OUT),
        *(f"--dpkgopt=path-include={pattern}" for pattern in contents.KEPT),
        *(f"--aptopt={option}" for option in specification["apt_options"]),
        "--skip=download/empty,essential/unlink,cleanup/apt/cache",
        f"--setup-hook={fill}",
        f"--customize-hook={dress}",
        contents.SUITE,
        str(root),
        *specification["sources"],
    ]


def _dress(specification: dict[str, Any], root: Path) -> None:
    """Roles, kernel and initrd; mmdebstrap has /proc, /sys and /dev mounted in the tree and lets no service start."""
    build, inputs = Path(specification["build"]), specification["inputs"]
    _say(specification, "roles", ", ".join(inputs["roles"]))
    tree = {name: inputs[name] for name in ("variant", "login_user", "service_user", "state_directory")}
    # mmdebstrap fetched the lists a moment ago.
    write_whole(root / "var/lib/apt/periodic/update-success-stamp", "")
    inventory = build / "inventory.py"
    inventory.write_text(f"tree = [({f'@chroot/{root}'!r}, {{'tree': {tree!r}}})]\n")
    _run(sys.executable, "-m", "pyinfra", "-y", str(inventory), DEPLOY)
    _say(specification, "initrd", "what finds the root at boot")
    date = date_of(root)
    kernels = [path.name for path in (root / "lib/modules").iterdir()]
    kernel = max(kernels, key=kernel_version)
    if kernel_version(kernel) < kernel_version(inputs["minimum_kernel"]):
        raise UnfitError(
            f"kernel {kernel} is older than {inputs['minimum_kernel']}, which the accelerators need; "
            "name another suite in images/contents.py"
        )
    if inputs["variant"] in contents.DRIVERS:
        _find_driver(root, kernel, contents.DRIVERS[inputs["variant"]])
    if contents.INITRAMFS_DIRECTORY.is_dir():
        shutil.copytree(contents.INITRAMFS_DIRECTORY, root / INITRAMFS, dirs_exist_ok=True)
    (root / INITRAMFS / "cluster-drivers").write_text("".join(f"{name}\n" for name in inputs["network_drivers"]))
    _fill_boot(root, kernel)
    # Its files' dates are the image's own, so that it is the same every time.
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(date)}
    _run("chroot", str(root), "mkinitramfs", "-o", "/boot/cluster-initrd", kernel, environment=environment)
    target = build / "image"
    target.mkdir()
    shutil.copyfile(root / "boot/cluster-initrd", target / "initrd.img")
    shutil.copyfile(root / f"boot/vmlinuz-{kernel}", target / "vmlinuz")
    listed = subprocess.run(
        ["chroot", str(root), "dpkg-query", "--show", "--showformat", "${Package}\t${Version}\n"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    packages = dict(line.split("\t") for line in listed.splitlines())
    _keep_packages(root / "var/cache/apt/archives", Path(specification["package_cache"]), packages)
    write_whole(build / "tree.json", json.dumps({"kernel": kernel, "packages": packages, "date": date}))


def _find_driver(root: Path, kernel: str, driver: str) -> None:
    found = subprocess.run(["chroot", str(root), "modinfo", "-k", kernel, driver], capture_output=True, check=False)
    if found.returncode:
        raise UnfitError(f"kernel {kernel} has no module {driver}: its package is missing, or it was not compiled")


def _fill_boot(root: Path, kernel: str) -> None:
    """Newer kernels have their own files beside their modules; Debian 12's mkinitramfs looks into /boot."""
    for name in ("vmlinuz", "config"):
        beside, wanted = root / "lib/modules" / kernel / name, root / f"boot/{name}-{kernel}"
        if beside.is_file() and not wanted.exists():
            shutil.copyfile(beside, wanted)


def _keep_packages(archives: Path, cache: Path, installed: dict[str, str]) -> None:
    """What was downloaded is kept for the next build; what no build installed for a month goes."""
    used = {f"{name}_{version.replace(':', '%3a')}" for name, version in installed.items()}
    for archive in archives.glob("*.deb"):
        kept = cache / archive.name
        if not kept.exists():
            os.link(archive, kept)
            os.utime(kept)
        elif archive.name.rpartition("_")[0] in used:
            os.utime(kept)
    for kept in cache.glob("*.deb"):
        if kept.stat().st_mtime < time.time() - UNUSED_SECONDS:
            kept.unlink()


def _run(*command: str, environment: dict[str, str] | None = None) -> None:
    subprocess.run(command, check=True, cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL)


def _say(specification: dict[str, Any], phase: str, detail: str) -> None:
    with Path(specification["events"]).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps([phase, detail]) + "\n")
    print(f"== {phase}: {detail}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
