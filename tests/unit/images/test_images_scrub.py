"""What is taken out of a tree: shown on a small one that has all of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from images import contents
from images.scrub import date_of, scrub, settle_times

DATE = 1_700_000_000
SHADOW = "root:*:20600:0:99999:7:::\ncompute:*:20601:0:99999:7:::\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree as a build leaves it: a machine's mirror, keys, logs, caches; one package with a date."""
    for path, text in {
        "etc/apt/sources.list": "deb http://mirror.of.this.machine/debian bookworm main\n",
        "etc/apt/apt.conf.d/99mmdebstrap": 'Acquire::http::Proxy "http://proxy.of.this.machine:3142";\n',
        "etc/apt/sources.list.d/0000other.list": "deb http://mirror.of.this.machine/security x main\n",
        "etc/ssh/ssh_host_ed25519_key": "a key\n",
        "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
        "etc/hostname": "builder\n",
        "etc/resolv.conf": "nameserver 192.0.2.1\n",
        "etc/shadow": SHADOW,
        "etc/shadow-": SHADOW,
        "var/log/apt/history.log": "Start-Date: today\n",
        "var/cache/apt/archives/bash.deb": "x",
        "var/lib/apt/lists/mirror_Packages": "x",
        "boot/vmlinuz-6.1": "x",
        "usr/share/doc/bash/copyright": "GPL",
        "usr/bin/bash": "ELF",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    for path in ("usr/share/doc/bash/copyright", "usr/bin/bash"):
        os.utime(tmp_path / path, (DATE, DATE))
    os.utime(tmp_path / "usr/bin/bash", (DATE - 50, DATE - 50))
    (tmp_path / "usr/bin/sh").symlink_to("bash")
    return tmp_path


def test_nothing_of_the_machine_that_built_it_is_left(tree: Path) -> None:
    scrub(tree)
    left = {str(path.relative_to(tree)): path for path in tree.rglob("*") if path.is_file()}
    assert set(left) == {
        "etc/.updated",
        "etc/apt/sources.list",
        "etc/machine-id",
        "etc/shadow",
        "usr/bin/bash",
        "usr/bin/sh",
        "usr/share/doc/bash/copyright",
        "var/.updated",
    }
    assert left["etc/machine-id"].read_text() == ""
    assert left["etc/apt/sources.list"].read_text() == contents.APT_SOURCES
    assert not any("this.machine" in path.read_text() for path in left.values())
    assert (tree / "var/log/apt").is_dir()


def test_nothing_is_newer_than_the_newest_package(tree: Path) -> None:
    assert date_of(tree) == DATE
    settle_times(tree, DATE)
    times = {str(path.relative_to(tree)): int(path.lstat().st_mtime) for path in tree.rglob("*")}
    assert times.pop("usr/bin/bash") == DATE - 50
    assert set(times.values()) == {DATE}
    assert int(tree.stat().st_mtime) == DATE
    days = DATE // 86400
    assert (tree / "etc/shadow").read_text() == f"root:*:{days}:0:99999:7:::\ncompute:*:{days}:0:99999:7:::\n"
