"""The image that hosts boot and what they add to it, apt's sources and the shared folders.

Source files are in the forms of sources.list(5).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.apt import host_mirrors, parse_deb822, parse_list, passed_options, sources_of_suite
from lab.boot import last_words
from lab.disks import mask
from lab.folders import Bind, binds, find_links_of, local_folders, login_environment, package_folders
from lab.image import MASKED_UNITS, additions, read_image
from lab.paths import LabPaths
from lab.plan import LOGIN_USER
from lab.system import LabError

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


def image_directory(place: Path, **changes: object) -> Path:
    """A directory as `cluster image build` leaves one, as far as the lab reads it."""
    directory = place / "none-0123456789abcdef"
    directory.mkdir(parents=True)
    manifest = {"suite": "bookworm", "login": {"user": LOGIN_USER, "uid": 1000}, **changes}
    (directory / "manifest.json").write_text(json.dumps(manifest))
    (directory / "root.squashfs").write_bytes(b"hsqs")
    return directory


def test_an_image_is_read_from_its_manifest(tmp_path: Path) -> None:
    directory = image_directory(tmp_path)
    image = read_image(directory)
    assert (image.name, image.suite, image.login_uid) == ("none-0123456789abcdef", "bookworm", 1000)
    assert image.root == directory / "root.squashfs"


def test_what_the_lab_cannot_boot_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no image; run `cluster image build --variant none`"):
        read_image(tmp_path / "missing")
    with pytest.raises(LabError, match="an image for the login user 'other', the lab's is 'compute'"):
        read_image(image_directory(tmp_path, login={"user": "other", "uid": 1000}))


def test_a_host_adds_its_own_files_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.image.host_mirrors", lambda suite: (f"deb http://mirror.example/debian {suite} main",))
    monkeypatch.setattr("lab.image.host_apt_options", lambda: ('Acquire::Check-Valid-Until "false"',))
    files = additions(read_image(image_directory(tmp_path)))
    assert files["etc/apt/sources.list"] == "deb http://mirror.example/debian bookworm main\n"
    assert files["etc/apt/apt.conf.d/90cluster-lab"] == 'Acquire::Check-Valid-Until "false";\n'
    assert "MaxStartups 100:30:200" in files["etc/ssh/sshd_config.d/20-cluster-lab.conf"]
    monkeypatch.setattr("lab.image.host_mirrors", lambda suite: ())
    assert "etc/apt/sources.list" not in additions(read_image(image_directory(tmp_path / "other")))


def test_units_are_masked_in_the_hosts_own_layer(tmp_path: Path) -> None:
    for _ in range(2):
        mask(tmp_path)
    assert all((tmp_path / "etc/systemd/system" / unit).readlink() == Path("/dev/null") for unit in MASKED_UNITS)


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
