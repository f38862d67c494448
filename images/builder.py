"""Build an image into a store, or find the one that is there. Linux and root. Seconds.

The build runs in a private mount and process namespace (images.construct) and in a directory of its own, which is
renamed when it is whole. So an interrupted build leaves no mount and no process, only a directory, which the next build
removes. One build at a time in a store: another one waits.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from deploys.compute_base.systems import SYSTEMS
from facts.sources import REPOSITORY
from images import contents
from images.mounts import remove
from images.request import Request, inputs
from images.store import BUILD_PREFIX, PACKAGE_CACHE, Image, ImageError, default_store, made_from, problems, read
from inventories.composition import lock_file
from lab.apt import host_apt_options, host_mirrors
from lab.plan import LOGIN_USER
from lab.system import SEARCH_PATH, Progress, command_environment, last_line, write_whole

DEADLINE_SECONDS = 3600.0
NEEDED_BYTES = 3_000_000_000
FULL_BYTES = 1_000_000
POLL_SECONDS = 0.2
REACH_SECONDS = 20.0
# The tool, and the Debian package that has it.
TOOLS = (
    ("mmdebstrap", "mmdebstrap"),
    ("mksquashfs", "squashfs-tools"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
)


def build(request: Request, store: Path, progress: Progress, *, renew: bool = False) -> Image:
    """The image of that request: the store's when it has one, else a new one. ImageError when it cannot be built.

    renew builds in any case, from the packages of today: the same image when none of them changed, else another one
    beside the old.
    """
    wanted = inputs(request)
    there = None if renew else made_from(store, wanted)
    if there:
        progress("image", f"using {there.name}")
        return there
    _refuse_impossible(store)
    if request.variant == "nvidia":
        _refuse_without_driver(SYSTEMS["debian", contents.RELEASE].cuda_keyring)
    with alone(store, request.variant, progress):
        # Another process may have built it while this one waited.
        there = None if renew else made_from(store, wanted)
        if there:
            progress("image", f"using {there.name}")
            return there
        for left in store.glob(f"{BUILD_PREFIX}*"):
            progress("image", "removing what an interrupted build left")
            remove(left)
        try:
            return _build(request, wanted, store, progress)
        except OSError as error:
            raise ImageError(f"{error.filename or store}: {error.strerror}; nothing was built") from None


def _refuse_impossible(store: Path) -> None:
    if os.geteuid() != 0:
        raise ImageError("not root: an image is built with mounts and another root; run the command with sudo")
    search = command_environment()["PATH"]
    missing = [(tool, package) for tool, package in TOOLS if shutil.which(tool, path=search) is None]
    if missing:
        packages = " ".join(sorted({package for _, package in missing}))
        raise ImageError(f"{', '.join(tool for tool, _ in missing)} not found; run: apt-get install --yes {packages}")
    try:
        store.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(store).free
    except OSError as error:
        raise ImageError(f"{store}: {error.strerror}; set CLUSTER_CACHE to another place") from None
    if free < NEEDED_BYTES:
        raise ImageError(
            f"{store}: {free / 1e9:.1f} GB free, a build needs {NEEDED_BYTES / 1e9:.0f}; free some or set CLUSTER_CACHE"
        )


def _refuse_without_driver(source: str) -> None:
    """Before minutes are spent: NVIDIA's repository is the one source of a driver that is new enough."""
    try:
        with urllib.request.urlopen(source, timeout=REACH_SECONDS):  # noqa: S310 (a constant of this project)
            return
    except OSError as error:
        raise ImageError(
            f"variant nvidia: NVIDIA's driver is fetched from {source}, which cannot be reached from here "
            f"({getattr(error, 'reason', error)}); build where it can, or set https_proxy"
        ) from None


@contextmanager
def alone(store: Path, what: str, progress: Progress) -> Iterator[None]:
    """Hold the store's lock; the kernel frees it when this process ends."""

    def waiting(holder: str) -> None:
        progress("image", f"waiting for {holder}, which builds in this store")

    with ExitStack() as stack:
        try:
            stack.enter_context(lock_file.held(store / ".lock", f"image {what}", waiting))
        except OSError as error:
            raise ImageError(f"{store}: {error.strerror}; the store is of the user who built in it") from None
        yield


def _build(request: Request, wanted: dict[str, Any], store: Path, progress: Progress) -> Image:
    directory = Path(tempfile.mkdtemp(prefix=BUILD_PREFIX, dir=store))
    package_cache = store / PACKAGE_CACHE
    package_cache.mkdir(exist_ok=True)
    specification = {
        "build": str(directory),
        "events": str(directory / "events"),
        "inputs": wanted,
        "package_cache": str(package_cache),
        "sources": _sources(request),
        "apt_options": list(host_apt_options()),
    }
    write_whole(directory / "specification.json", json.dumps(specification))
    log = store / "build.log"
    try:
        _construct(directory, log, progress)
        manifest = json.loads((directory / "image" / "manifest.json").read_text())
        final = store / str(manifest["name"])
        if final.exists():
            there = _whole(final)
            if there:
                # What nodes boot is not replaced under them.
                other = "" if there.manifest == manifest else ", but has other bytes than this build; it is kept"
                progress("image", f"{there.name} is there already{other}")
                return there
            remove(final)
        (directory / "image").chmod(0o755)
        for path in (*(directory / "image").iterdir(), directory / "image"):
            _settle(path)
        (directory / "image").rename(final)
        _settle(store)
        return read(final)
    finally:
        remove(directory)


def _settle(path: Path) -> None:
    """Return when a file or a directory is on the disk: an image that has its name is whole after a power loss too."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _whole(directory: Path) -> Image | None:
    try:
        image = read(directory)
    except ImageError:
        return None
    return None if problems(image) else image


def _environment() -> dict[str, str]:
    """What the build gets of this process's environment: the way to the mirrors. The rest could change the image."""
    kept = ("HOME", "SSL_CERT_FILE", "SSL_CERT_DIR")
    passed = {name: value for name, value in os.environ.items() if name in kept or name.lower().endswith("_proxy")}
    fixed = {"PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8", "NO_COLOR": "1", "DEBIAN_FRONTEND": "noninteractive"}
    return {**passed, **fixed, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _construct(directory: Path, log: Path, progress: Progress) -> None:
    # The first command ends the build when this process ends, however it does; the second one's end takes all of the
    # build's processes and mounts along.
    arguments = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"]
    arguments += ["--pid", "--fork", "--kill-child", "--mount-proc"]
    arguments += [sys.executable, "-m", "images.construct", str(directory / "specification.json")]
    with log.open("w", encoding="utf-8") as stream:
        # Its own session: a Ctrl-C reaches this process alone, which then ends the build in its own way.
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY,
            env=_environment(),
            start_new_session=True,
        )
        try:
            least_free = _follow(process, directory / "events", log, progress)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode != 0:
        # apt looks before it downloads; whoever does not look fails when nothing is left.
        if least_free < FULL_BYTES or "enough free space" in log.read_text(errors="replace"):
            raise ImageError(f"image: no space left on {log.parent} while building; free some or set CLUSTER_CACHE")
        raise ImageError(f"image: {_reason(log, process.returncode)}; see {log}")


def _follow(process: subprocess.Popen[bytes], events: Path, log: Path, progress: Progress) -> int:
    """Tell of the phases until the process ends; returns the least bytes that were free on the disk meanwhile."""
    deadline, told, least_free = time.monotonic() + DEADLINE_SECONDS, 0, sys.maxsize
    while True:
        ended = process.poll() is not None
        lines = events.read_text(encoding="utf-8").splitlines() if events.exists() else []
        for line in lines[told:]:
            phase, detail = json.loads(line)
            progress(phase, detail)
        told = len(lines)
        # What could not be written cannot be found in the log either, when that is on the same disk.
        least_free = min(least_free, shutil.disk_usage(log.parent).free)
        if ended:
            return least_free
        if time.monotonic() > deadline:
            raise ImageError(f"image: not built after {DEADLINE_SECONDS:g} s; see {log}")
        time.sleep(POLL_SECONDS)


def _reason(log: Path, status: int) -> str:
    text = log.read_text(encoding="utf-8", errors="replace")
    # apt's and mmdebstrap's errors; pyinfra puts the host before them.
    errors = re.findall(r"^(?:\s*\[[^\]]*\] )?(E: .*)$", text, re.MULTILINE)
    return str(errors[0]) if errors else last_line(text) or f"exit status {status}"


def _sources(request: Request) -> list[str]:
    """Sources of the build: this machine's for the suite, and the kernel's suite from the same archive."""
    suite, kernel = contents.SUITE, contents.KERNELS[request.variant]
    lines = list(host_mirrors(suite))  # none: mmdebstrap takes Debian's own
    if kernel.suite != suite:
        base = next((line for line in lines if line.split()[-2] == suite), "")
        if not base:
            raise ImageError(
                f"variant {request.variant}: its kernel comes from {kernel.suite}, and this machine's apt has no "
                f"source of {suite} whose archive could have that; add Debian's to /etc/apt/sources.list"
            )
        lines.append(base.replace(f" {suite} main", f" {kernel.suite} {' '.join(kernel.components)}"))
    return lines


def lab_image(progress: Progress, store: Path | None = None) -> Path:
    """Directory of the image that the lab boots, built when the store has none."""
    return build(Request("none", login_user=LOGIN_USER), store or default_store(), progress).directory
