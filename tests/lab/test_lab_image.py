"""The image's key, its setup steps, apt's sources and the shared folders.

Source files are in the forms of sources.list(5).
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from lab.image_setup import MASKED_UNITS, setup_script

from lab.apt import host_mirrors, parse_deb822, parse_list, passed_options, sources_of_suite
from lab.boot import last_words
from lab.folders import Bind, binds, find_links_of, local_folders, login_environment, package_folders
from lab.image import PACKAGES, image_is_whole, image_key
from lab.paths import LabPaths

DEB822 = """\
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb deb-src
# a comment
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc

Types: deb
URIs: https://third.example/repo
Suites: bookworm
Components: stable

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""


def test_the_key_is_stable_and_covers_every_part() -> None:
    base = image_key(machine="x86_64")
    assert base == image_key(machine="x86_64", packages=tuple(reversed(PACKAGES)))
    others = {
        image_key(machine="aarch64"),
        image_key(machine="x86_64", suite="trixie"),
        image_key(machine="x86_64", packages=(*PACKAGES, "curl")),
        image_key(machine="x86_64", steps=setup_script() + "true\n"),
    }
    assert len(others | {base}) == 5
    assert len(base) == 16
    assert int(base, 16) >= 0


def test_an_image_is_whole_only_with_its_note_and_its_files(tmp_path: Path) -> None:
    paths = LabPaths(tmp_path / "home", tmp_path / "cache")
    directory = paths.images / "abc"
    (directory / "rootfs/usr/lib/systemd").mkdir(parents=True)
    (directory / "rootfs/usr/lib/systemd/systemd").touch()
    assert not image_is_whole(paths, "abc")
    (directory / "image.json").write_text('{"key": "abc"}')
    assert image_is_whole(paths, "abc")
    (directory / "rootfs/usr/lib/systemd/systemd").unlink()
    assert not image_is_whole(paths, "abc")


def test_the_setup_script_is_valid_shell_and_leaves_no_secret() -> None:
    script = setup_script()
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    assert "ssh_host_*" in script
    assert "PasswordAuthentication no" in script
    assert "PermitRootLogin no" in script
    assert all(unit in script for unit in MASKED_UNITS)


def test_sources_of_both_forms() -> None:
    lines = [source.line() for source in sources_of_suite(parse_deb822(DEB822), "bookworm")]
    key_ring = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    assert lines == [
        f"deb {key_ring} http://mirror.example/debian bookworm main",
        f"deb {key_ring} http://mirror.example/debian bookworm-updates main",
        "deb http://mirror.example/security bookworm-security main",
    ]
    text = "# off\ndeb [arch=amd64 signed-by=/k.gpg] http://a.example/d bookworm main non-free # why\n"
    text += "deb-src http://b.example/d bookworm main\n"
    assert [source.line() for source in sources_of_suite(parse_list(text), "bookworm")] == [
        "deb [signed-by=/k.gpg] http://a.example/d bookworm main"
    ]


def test_a_machine_of_another_suite_gives_no_sources(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(
        "deb http://a.example/d trixie main\ndeb http://a.example/d bookworm-updates main\n"
    )
    assert host_mirrors("bookworm", tmp_path) == ()
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "x.sources").write_text(DEB822)
    (tmp_path / "sources.list.d" / "y.sources.disabled").write_text("not read")
    assert len(host_mirrors("bookworm", tmp_path)) == 4


def test_only_the_way_to_the_mirrors_is_passed_on() -> None:
    dump = (
        'Acquire::http::Proxy "http://proxy.example:3142";\nAcquire::https::Proxy "";\n'
        'Acquire::Check-Valid-Until "false";\nDPkg::Post-Invoke:: "rm -f /x";\nAcquire::http "";\n'
    )
    assert passed_options(dump) == (
        'Acquire::http::Proxy "http://proxy.example:3142"',
        'Acquire::Check-Valid-Until "false"',
    )


def test_package_folders_are_local_absolute_and_deep_enough(tmp_path: Path) -> None:
    assert local_folders(
        ["/srv/wheels  https://x.example/simple", "file:///srv/more,/srv/wheels", "relative", "/", "/opt"]
    ) == (
        Path("/srv/wheels"),
        Path("/srv/more"),
    )
    assert find_links_of("[global]\nfind-links =\n  /srv/wheels\n  /srv/more\n").split() == [
        "/srv/wheels",
        "/srv/more",
    ]
    assert find_links_of("no section") == ""
    configuration, folder = tmp_path / "pip.conf", tmp_path / "wheels"
    folder.mkdir()
    configuration.write_text(f"[global]\nfind-links = {folder} {tmp_path}/missing\n")
    found = package_folders({"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(configuration)})
    assert folder in found
    assert tmp_path / "missing" not in found


@pytest.mark.parametrize(("name", "writable"), [("control", True), ("compute0", False)])
def test_only_control_writes_what_is_shared(name: str, writable: bool) -> None:
    paths = LabPaths(Path("/home-of-lab"), Path("/cache-of-lab"))
    shared = binds(name, paths, (Path("/srv/wheels"),))
    runtime = next(bind for bind in shared if bind.target == Path("/opt/cluster"))
    assert runtime.writable is writable
    assert [bind.target for bind in shared if bind.writable and bind != runtime] == (
        [Path("/var/lib/cluster/models")] if writable else []
    )
    assert any(bind.target == Path("/srv/wheels") for bind in shared) is writable
    assert ("UV_FIND_LINKS" in login_environment(name, (Path("/srv/wheels"),))) is writable


def test_bind_options() -> None:
    assert Bind(Path("/a"), Path("/b")).option() == "--bind-ro=/a:/b"
    assert Bind(Path("/a"), Path("/b"), writable=True).option() == "--bind=/a:/b"


def test_last_words_are_one_plain_line() -> None:
    text = (
        "[  OK  ] fine\n\x1b[0;1;31m!!!!!!\x1b[0m Failed to allocate.\nExiting PID 1...\nlab supervisor: status 255\n"
    )
    assert last_words(text) == "!!!!!! Failed to allocate. Exiting PID 1..."
    assert last_words("") == "nothing on its console"
