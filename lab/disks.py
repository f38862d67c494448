"""A host's own files: its overlay's upper layer, its keys, and the description its supervisor starts from.

The image is the lower layer and never written. What a host changes stays in its upper layer over reboots and
crashes, until the host is removed. A layer belongs to the image it was made on: with another image it starts
anew.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from pathlib import Path

from lab.folders import SHARED_FOLDERS, binds, login_environment, package_folders
from lab.image import MASKED_UNITS, LabImage, additions
from lab.network import NAMESPACES, addressing, host_namespace, resolver_text
from lab.paths import LabPaths
from lab.plan import LOGIN_USER, LabHost
from lab.processes import GROUP
from lab.system import SEARCH_PATH, read_json, run, write_whole

HOST_KEY = Path("etc/ssh/ssh_host_ed25519_key")
OPEN_FILES_SOFT, OPEN_FILES_HARD = 1024, 524288


def make_folder(path: Path, mode: int = 0o755, owner: int = 0) -> None:
    """One directory with exactly this mode and owner.

    In an overlay the upper directory's are what the host sees.
    """
    path.mkdir(exist_ok=True)
    path.chmod(mode)
    os.chown(path, owner, owner)


def put(upper: Path, relative: str, text: str, mode: int = 0o644) -> None:
    """Write one of root's files into the upper layer, its directories as the image has them."""
    make_folders(upper, Path(relative).parent)
    write_whole(upper / relative, text, mode)


def make_folders(upper: Path, relative: Path) -> Path:
    """Root's directory of that path in the upper layer, with the ones above it."""
    folder = upper
    for part in relative.parts:
        folder = folder / part
        if not folder.exists():
            make_folder(folder)
    return folder


def make_key(path: Path, comment: str) -> None:
    """An ed25519 key pair without passphrase at path and path.pub, unless there is one."""
    public = Path(f"{path}.pub")
    if path.exists() and public.exists():
        return
    path.unlink(missing_ok=True)
    public.unlink(missing_ok=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])


def make_shared(paths: LabPaths) -> None:
    """The directories and the login key that all hosts have in common."""
    for folder in (paths.home, paths.hosts, paths.shared_runtime, paths.models, paths.ssh_key.parent):
        folder.mkdir(parents=True, exist_ok=True)
    paths.ssh_key.parent.chmod(0o700)
    make_key(paths.ssh_key, "cluster lab")


def prepare_disk(host: LabHost, paths: LabPaths, image: LabImage) -> None:
    """Bring the host's upper layer and its supervisor's description to what a boot needs.

    The host must not run.
    """
    directory = paths.host(host.name)
    description = directory / "host.json"
    if directory.exists() and image_of(host.name, paths) != image.directory:
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    upper = directory / "upper"
    for name in ("upper", "work", "lower", "root"):
        make_folder(directory / name)
    put(upper, "etc/hostname", f"{host.name}\n")
    put(upper, "etc/resolv.conf", resolver_text())
    folders = package_folders()
    environment = login_environment(host.name, folders)
    put(upper, "etc/environment", environment)
    defaults = " ".join(line for line in environment.splitlines() if '"' not in line)
    put(upper, "etc/systemd/system.conf.d/10-cluster-lab.conf", f"[Manager]\nDefaultEnvironment={defaults}\n")
    for path, text in additions(image).items():
        put(upper, path, text)
    mask(upper)
    for shared in SHARED_FOLDERS:
        make_folders(upper, shared)
    if not (upper / "etc/machine-id").exists():
        put(upper, "etc/machine-id", f"{uuid.uuid4().hex}\n", 0o444)
    if not (upper / HOST_KEY).exists():
        make_folder(upper / HOST_KEY.parent)
        make_key(upper / HOST_KEY, host.name)
    _authorize(upper, Path(f"{paths.ssh_key}.pub").read_text(), image.login_uid)
    write_whole(
        description,
        json.dumps({"image": str(image.directory), **specification(host, paths, image, folders)}, indent=2) + "\n",
    )


def mask(upper: Path) -> None:
    """Mask the units that a host of the lab has no use for, as `systemctl mask` does."""
    folder = make_folders(upper, Path("etc/systemd/system"))
    for unit in MASKED_UNITS:
        if not (folder / unit).is_symlink():
            (folder / unit).symlink_to("/dev/null")


def _authorize(upper: Path, public_key: str, login_uid: int) -> None:
    make_folder(upper / "home")
    home = upper / "home" / LOGIN_USER
    fresh = not home.exists()
    make_folder(home, 0o755, login_uid)
    make_folder(home / ".ssh", 0o700, login_uid)
    keys = home / ".ssh" / "authorized_keys"
    # A key that the person or a deploy added stays.
    known = "" if fresh or not keys.exists() else keys.read_text()
    if public_key.strip() not in known:
        write_whole(keys, known + public_key, 0o600)
        os.chown(keys, login_uid, login_uid)


def specification(host: LabHost, paths: LabPaths, image: LabImage, folders: tuple[Path, ...]) -> dict[str, object]:
    """What the supervisor needs to know.

    Mounts, cgroup, the container's command, what to mend before a reboot.
    """
    directory = paths.host(host.name)
    namespace = NAMESPACES / host_namespace(host.name)
    command = [
        "systemd-nspawn",
        "--quiet",
        "--boot",
        f"--directory={directory / 'root'}",
        f"--machine={host.name}",
        f"--hostname={host.name}",
        "--register=no",
        "--keep-unit",
        f"--network-namespace-path={namespace}",
        # Hosts set up their own packet filter, in their own namespace.
        "--capability=CAP_NET_ADMIN",
        f"--rlimit=RLIMIT_NOFILE={OPEN_FILES_SOFT}:{OPEN_FILES_HARD}",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        "--console=read-only",
        *(bind.option() for bind in binds(host.name, paths, folders)),
    ]
    inside = ["nsenter", f"--net={namespace}"]
    # A reboot of a real machine forgets its packet filter and added addresses; the namespace outlives it, so
    # it is told to.
    mend = "\n".join(addressing(host))
    upper, work = directory / "upper", directory / "work"
    return {
        "name": host.name,
        "group": f"{GROUP}/{host.name}",
        "image_root": str(image.root),
        "lower": str(directory / "lower"),
        "overlay": f"lowerdir={directory / 'lower'},upperdir={upper},workdir={work}",
        "root": str(directory / "root"),
        "supervisor_file": str(directory / "supervisor.json"),
        "command": command,
        "before_reboot": [
            [*inside, "nft", "flush", "ruleset"],
            [*inside, "sh", "-c", "printf '%s\\n' \"$0\" | ip -batch -", mend],
        ],
        "environment": {
            "PATH": SEARCH_PATH,
            "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
            # Hosts may set net.* of their own namespace.
            "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
        },
    }


def image_of(name: str, paths: LabPaths) -> Path | None:
    """The directory of the image that the host's disk was made on; None without a disk."""
    image = (read_json(paths.host(name) / "host.json") or {}).get("image")
    return Path(image) if isinstance(image, str) else None


def write_known_hosts(hosts: tuple[LabHost, ...], paths: LabPaths) -> None:
    """The lab's known_hosts from the hosts' own keys: strict checking holds from the first login on."""
    lines = []
    for host in hosts:
        kind, key = Path(f"{paths.host(host.name) / 'upper' / HOST_KEY}.pub").read_text().split()[:2]
        lines.append(f"{host.address},{host.name} {kind} {key}\n")
    write_whole(paths.known_hosts, "".join(lines))
