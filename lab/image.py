"""The hosts' common root file system: a Debian with systemd, built once and named by its content.

The key covers the suite, the processor, the packages and the setup steps; another key is another directory. A
build happens in a directory of its own and is renamed when it is whole, in a process and mount namespace of
its own, so that an interrupted build leaves nothing but a directory, which the next build removes.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from lab.apt import host_apt_options, host_mirrors
from lab.image_setup import setup_script
from lab.paths import LabPaths
from lab.processes import wait_until
from lab.system import LabError, Progress, command_environment, last_line, read_json, write_whole

SUITE = "bookworm"
BUILD_DEADLINE_SECONDS = 1800.0
REMOVE_SECONDS = 10.0
BUILD_PREFIX = ".build-"
PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "nftables",
    "openssh-server",
    "procps",
    "python3",
    "python3-venv",
    "rsync",
    "sudo",
    "systemd",
    "systemd-sysv",
    "systemd-timesyncd",
)


def image_key(
    suite: str = SUITE,
    packages: tuple[str, ...] = PACKAGES,
    steps: str | None = None,
    machine: str | None = None,
) -> str:
    """Sixteen hexadecimal digits that name an image by all that goes into it.

    Pure; the packages' order does not matter.
    """
    content = {
        "machine": machine or platform.machine(),
        "packages": sorted(packages),
        "steps": setup_script() if steps is None else steps,
        "suite": suite,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf-8")).hexdigest()[:16]


def image_root(paths: LabPaths, key: str) -> Path:
    """Where the image of that key has its files; hosts use it read-only, as an overlay's lower layer."""
    return paths.images / key / "rootfs"


def image_is_whole(paths: LabPaths, key: str) -> bool:
    """True when the image was completed and nobody emptied it since."""
    note = read_json(paths.images / key / "image.json")
    root = image_root(paths, key)
    return note is not None and note.get("key") == key and (root / "usr/lib/systemd/systemd").is_file()


def ensure_image(paths: LabPaths, progress: Progress) -> str:
    """The key of a whole image, built when the cache has none.

    Call it with the lab's lock held. LabError when it cannot be built.
    """
    key = image_key()
    if image_is_whole(paths, key):
        progress("image", f"using the built image {key}")
        return key
    paths.images.mkdir(parents=True, exist_ok=True)
    for left in paths.images.glob(f"{BUILD_PREFIX}*"):
        progress("image", "removing what an interrupted build left")
        _remove_build(left)
    progress("image", "building the Debian image, about 2 min")
    started = time.monotonic()
    build = Path(tempfile.mkdtemp(prefix=BUILD_PREFIX, dir=paths.images))
    try:
        _build(build, key)
        final = paths.images / key
        if final.exists():
            shutil.rmtree(final)
        build.rename(final)
    finally:
        if build.exists():
            _remove_build(build)
    progress("image", f"built image {key} in {time.monotonic() - started:.0f} s")
    _remove_unused(paths, key)
    return key


def _remove_build(directory: Path) -> None:
    def removed() -> bool:
        shutil.rmtree(directory, ignore_errors=True)
        return not directory.exists()

    # The interrupted build's last process may be ending this moment, and have a file left to write.
    if not wait_until(removed, REMOVE_SECONDS):
        raise LabError(f"{directory}: left by an interrupted build, and something still writes there; remove it")


def _remove_unused(paths: LabPaths, key: str) -> None:
    """Remove older images, but for those that this home's hosts have below their disks."""
    notes = (read_json(path) or {} for path in paths.hosts.glob("*/host.json"))
    used = {key, *(str(note.get("image")) for note in notes)}
    for path in paths.images.iterdir():
        if path.is_dir() and path.name not in used:
            shutil.rmtree(path)


def _build(build: Path, key: str) -> None:
    root, script, log = build / "rootfs", build / "setup.sh", build.parent / "build.log"
    script.write_text(setup_script(), encoding="utf-8")
    script.chmod(0o755)
    # The first command ends the build when this process ends, however it does: a build that went on would write
    # into a directory that the next one removes. The second one's end takes all of the build's processes along.
    arguments = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"]
    arguments += ["--pid", "--fork", "--kill-child", "--mount-proc"]
    arguments += ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
    arguments += [f"--aptopt={option}" for option in host_apt_options()]
    arguments += [f"--customize-hook={script}", SUITE, str(root), *host_mirrors(SUITE)]
    with log.open("w", encoding="utf-8") as stream:
        # Its own session: a Ctrl-C reaches this process alone, which then ends the build in its own way.
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=command_environment(),
            start_new_session=True,
        )
        try:
            status = process.wait(timeout=BUILD_DEADLINE_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"image: not built after {BUILD_DEADLINE_SECONDS:g} s; see {log}") from error
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if status != 0:
        errors = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("E:")]
        reason = errors[0] if errors else last_line(log.read_text(errors="replace"))
        raise LabError(f"image: {reason or f'mmdebstrap exit status {status}'}; see {log}")
    script.unlink()
    # mmdebstrap makes the target for its builder only; a host's / must be open to all of its users.
    root.chmod(0o755)
    write_whole(
        build / "image.json",
        json.dumps({"key": key, "suite": SUITE, "packages": list(PACKAGES)}, indent=2) + "\n",
    )
    os.sync()
