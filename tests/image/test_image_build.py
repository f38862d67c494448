"""Real builds: the image without accelerators, what is in it, and what an interrupted or impossible build leaves.

The image comes from the operator's own cache, and is built there when it is missing; the lab boots the same one. The
builds that are done anew take the archives that it downloaded.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import images
from images import clean, contents, store
from images.mounts import mounted_below
from images.request import Request
from images.store import BUILD_PREFIX, PACKAGE_CACHE, Image
from lab.apt import host_apt_options, host_mirrors
from lab.plan import LOGIN_USER

pytestmark = pytest.mark.lab

REQUEST = Request("none", login_user=LOGIN_USER)
BUILD = """
import sys
from pathlib import Path
import images
from images.request import Request
images.build(Request("none"), Path(sys.argv[1]), lambda phase, detail: print(phase, flush=True), renew=True)
"""


def quiet(_phase: str, _detail: str) -> None:
    pass


@pytest.fixture(scope="module")
def image() -> Image:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if missing := [package for tool, package in images.builder.TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"needs {', '.join(missing)}")
    return images.build(REQUEST, images.default_store(), quiet)


@pytest.fixture
def other_store(image: Image, tmp_path: Path) -> Path:
    """An empty store that knows the downloaded archives."""
    directory = tmp_path / "store"
    shutil.copytree(image.directory.parent / PACKAGE_CACHE, directory / PACKAGE_CACHE)
    return directory


@pytest.fixture(scope="module")
def tree(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The image's root, mounted read-only."""
    point = tmp_path_factory.mktemp("root")
    subprocess.run(["mount", "-t", "squashfs", "-o", "loop,ro", str(image.root), str(point)], check=True)
    yield point
    subprocess.run(["umount", str(point)], check=True)


@pytest.fixture
def building(other_store: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """building() begins a build in other_store, in a process of its own."""
    begun: list[subprocess.Popen[str]] = []

    def begin() -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", BUILD, str(other_store)], stdout=subprocess.PIPE, text=True)
        begun.append(process)
        return process

    yield begin
    for process in begun:
        process.kill()
        process.wait()


def mentions(place: Path) -> list[str]:
    """Command lines of this machine's processes that name a place."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(place) in line:
            found.append(line)
    return found


def until(condition: Callable[[], object], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_the_image_is_whole_and_found_again(image: Image) -> None:
    assert {path.name for path in image.directory.iterdir()} == {*store.FILES, store.MANIFEST}
    assert store.problems(image) == []
    phases: list[str] = []
    assert images.build(REQUEST, image.directory.parent, lambda phase, detail: phases.append(detail)) == image
    assert phases == [f"using {image.name}"]


def test_the_manifest_says_what_is_in_it(image: Image, tree: Path) -> None:
    manifest = image.manifest
    assert manifest["name"] == f"none-{manifest['key']}"
    assert manifest["roles"] == ["compute_base", "login", "boot"]
    assert [path.name for path in (tree / "lib/modules").iterdir()] == [manifest["kernel"]]
    status = (tree / "var/lib/dpkg/status").read_text()
    installed = {
        fields["Package"]: fields["Version"]
        for stanza in status.strip().split("\n\n")
        for fields in [dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[0] != " ")]
        if fields["Status"] == "install ok installed"
    }
    assert manifest["packages"] == installed
    assert set(manifest["inputs"]["packages"]) <= set(installed)
    assert manifest["kernel"].endswith("cloud-amd64")
    assert "perl" not in installed, "46 MB that nothing on a node runs; the base system's own is perl-base"


def test_no_boot_catches_up_with_what_the_build_has_done(tree: Path) -> None:
    newest = (tree / "usr").stat().st_mtime
    for place in ("etc", "var"):  # what ConditionNeedsUpdate of systemd's units compares
        assert (tree / place / ".updated").stat().st_mtime >= newest


def test_no_password_key_or_identity_is_in_the_image(tree: Path) -> None:
    passwords = {line.split(":")[0]: line.split(":")[1] for line in (tree / "etc/shadow").read_text().splitlines()}
    assert set(passwords.values()) <= {"*", "!", "!*"}
    assert passwords[LOGIN_USER] == "*"
    assert list((tree / "etc/ssh").glob("ssh_host_*")) == []
    assert list(tree.glob("home/*/.ssh")) == []
    assert (tree / "etc/machine-id").read_text() == ""
    assert not (tree / "etc/hostname").exists()
    assert not (tree / "etc/resolv.conf").exists()
    assert not (tree / "etc/cluster").exists()


def test_nothing_of_this_machine_is_in_the_image(tree: Path) -> None:
    assert (tree / "etc/apt/sources.list").read_text() == contents.APT_SOURCES
    assert list((tree / "etc/apt/sources.list.d").iterdir()) == []
    assert {path.name for path in (tree / "etc/apt/apt.conf.d").iterdir()} == {"01autoremove", "70debconf"}
    assert list((tree / "usr/local/share/ca-certificates").glob("*")) == []
    words = {option.split('"')[1] for option in host_apt_options() if option.count('"') == 2}
    words |= {line.split()[1] for line in host_mirrors(contents.SUITE)}
    # Words that are in every Debian, such as true, say nothing of a machine.
    words = {word for word in words if "://" in word and "debian.org" not in word}
    for path in (tree / "etc").rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            assert not any(word.encode() in content for word in words), path
    for place in ("var/lib/apt/lists", "var/cache/apt", "tmp", "run", "boot", "proc", "sys", "dev"):
        assert [path for path in (tree / place).rglob("*") if path.is_file()] == [], place
    assert [path for path in (tree / "var/log").rglob("*") if path.is_file()] == []
    assert not (tree / "usr/sbin/policy-rc.d").exists()


def test_units_are_chosen_without_a_running_systemd(tree: Path) -> None:
    units = tree / "etc/systemd/system"
    for unit in contents.MASKED_UNITS:
        assert (units / unit).readlink() == Path("/dev/null")
    assert (units / "multi-user.target.wants/ssh.service").is_symlink()
    assert (units / "sysinit.target.wants/systemd-timesyncd.service").is_symlink()


def test_a_corrupt_image_is_named_by_the_command(image: Image, tmp_path: Path) -> None:
    copy = tmp_path / "images" / image.name
    shutil.copytree(image.directory, copy)
    with (copy / "initrd.img").open("r+b") as stream:
        stream.seek(1000)
        byte = stream.read(1)
        stream.seek(1000)
        stream.write(bytes([byte[0] ^ 1]))
    environment = {**os.environ, "CLUSTER_CACHE": str(tmp_path), "NO_COLOR": "1"}
    command = [str(Path(sys.executable).with_name("cluster")), "image", "verify", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    (said,) = json.loads(done.stdout)["images"]
    assert (said["name"], said["ok"]) == (image.name, False)
    (problem,) = said["problems"]
    assert problem.startswith("initrd.img has sha256 ")


def test_built_again_from_the_same_inputs_it_is_the_same(image: Image, other_store: Path) -> None:
    again = images.build(REQUEST, other_store, quiet, renew=True)
    if again.manifest["packages"] != image.manifest["packages"]:
        # Debian published an update in between: then the cached image is made anew, and that is what is compared.
        image = images.build(REQUEST, image.directory.parent, quiet, renew=True)
    assert (again.directory / store.MANIFEST).read_bytes() == (image.directory / store.MANIFEST).read_bytes()
    assert store.problems(again) == []
    assert mounted_below(other_store, Path("/proc/self/mountinfo").read_text()) == []
    assert list(other_store.glob(f"{BUILD_PREFIX}*")) == []


def test_a_killed_build_leaves_no_mount_and_no_process(
    other_store: Path, building: Callable[[], subprocess.Popen[str]]
) -> None:
    process = building()

    def in_the_middle() -> list[Path]:
        # mmdebstrap has /proc mounted in the tree, in the build's own namespace, and dpkg is at work.
        return list(other_store.glob(f"{BUILD_PREFIX}*/root/var/lib/dpkg/info/libc6*.list"))

    assert until(in_the_middle, 300)
    assert mentions(other_store) != []
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert until(lambda: not mentions(other_store), 10), mentions(other_store)
    assert mounted_below(other_store, Path("/proc/self/mountinfo").read_text()) == []
    assert len(list(other_store.glob(f"{BUILD_PREFIX}*"))) == 1
    assert store.images(other_store) == []
    removed = clean.clean(other_store, quiet)
    assert [entry.name.startswith(BUILD_PREFIX) for entry in removed] == [True]
    assert removed[0].size_bytes > 10_000_000
    assert {path.name for path in other_store.iterdir()} == {".lock", PACKAGE_CACHE, "build.log"}


def test_a_second_build_waits_for_the_first(other_store: Path, building: Callable[[], subprocess.Popen[str]]) -> None:
    first = building()
    assert first.stdout is not None
    assert first.stdout.readline() == "base\n"
    told: list[str] = []

    class Told(Exception):
        pass

    def progress(_phase: str, detail: str) -> None:
        told.append(detail)
        raise Told

    with pytest.raises(Told):
        images.build(REQUEST, other_store, progress)
    assert told == [f"waiting for process {first.pid} (image none), which builds in this store"]


def test_a_disk_that_fills_up_leaves_nothing_half_done(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    monkeypatch.setattr("images.builder.NEEDED_BYTES", 0)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=150M", "tmpfs", str(small)], check=True)
    try:
        with pytest.raises(images.ImageError) as refused:
            images.build(REQUEST, small, quiet)
        assert str(refused.value).startswith(f"image: no space left on {small} while building; free some")
        assert "\n" not in str(refused.value)
        assert store.images(small) == []
        assert list(small.glob(f"{BUILD_PREFIX}*")) == []
        assert mounted_below(small, Path("/proc/self/mountinfo").read_text()) == [small]
    finally:
        subprocess.run(["umount", str(small)], check=True)
