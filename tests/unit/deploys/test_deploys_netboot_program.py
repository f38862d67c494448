"""The program that chooses images on the control node, run as the deploy runs it, on a tree of the test's own."""

from __future__ import annotations

import getpass
import grp
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploys.pxe_server.configuration import grub_text

REPOSITORY = Path(__file__).parents[3]
FILES = ("vmlinuz", "initrd.img", "root.squashfs")
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the program gives files to another group, as root")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A boot server's place with two nodes and no image; its data is in data.json."""
    machine = {"wake_on_lan": False, "kernel_arguments": ["ttm.pages_limit=7"], "refused_packages": ["r8168-dkms"]}
    machines = {
        f"compute{index}": {
            **machine,
            "mac_address": f"52:54:00:00:00:0{index}",
            "address": f"192.0.2.1{index}/24",
            "largest_load_bytes": 0,
        }
        for index in range(2)
    }
    data = {
        "cluster": "test",
        "place": str(tmp_path / "place"),
        "images": str(tmp_path / "images"),
        "url": "http://192.0.2.1:8780",
        "broadcast": "192.0.2.255",
        "router": "",
        "name_servers": [],
        "login_user": getpass.getuser(),
        "authorized_keys": str(tmp_path / "authorized_keys"),
        "identity_group": grp.getgrgid(os.getgid()).gr_name,
        "log_tag": "no_such_tag",
        "machines": machines,
    }
    (tmp_path / "data.json").write_text(json.dumps(data))
    (tmp_path / "images").mkdir()
    (tmp_path / "authorized_keys").write_text("ssh-ed25519 AAAA operator\n")
    return tmp_path


@pytest.fixture
def run(place: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The program with its data."""

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deploys.pxe_server.programs.cluster_netboot", str(place / "data.json"), *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return call


def make_image(place: Path, name: str, directory: str = "", **more: Any) -> Path:
    image = place / "images" / (directory or name)
    image.mkdir()
    files = {}
    for file in FILES:
        content = f"{file} of {name}".encode()
        (image / file).write_bytes(content)
        files[file] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (image / "manifest.json").write_text(
        json.dumps({"name": name, "kernel_arguments": ["quiet"], "files": files, "packages": {}, **more})
    )
    return image


def current(place: Path, node: str) -> str:
    return (place / "place/http/nodes" / node / "current").readlink().name


def test_choice_is_made_for_one_or_all_and_taken_back(place: Path, run: Callable[..., Any]) -> None:
    for name in ("one", "two"):
        make_image(place, name)
    assert run("use", "one").returncode == 0
    assert run("use", "two", "compute1").returncode == 0
    assert (current(place, "compute0"), current(place, "compute1")) == ("one", "two")
    assert run("rollback", "compute1").returncode == 0
    assert current(place, "compute1") == "one"
    state = json.loads(run("state").stdout)
    assert state["nodes"]["compute1"]["previous"] == "two"
    refused = run("rollback")
    assert refused.returncode == 1
    assert refused.stderr.startswith("compute0: no image before this one")
    assert current(place, "compute1") == "one", "all or none"


def test_scripts_carry_the_image_and_the_node(place: Path, run: Callable[..., Any]) -> None:
    image = make_image(place, "one")
    assert run("apply").returncode == 0
    assert run("use", "one").returncode == 0
    node = place / "place/http/nodes/compute1"
    script = (node / "current/boot.ipxe").read_text()
    digest = hashlib.sha256((image / "root.squashfs").read_bytes()).hexdigest()
    for word in (
        "http://192.0.2.1:8780/images/one/vmlinuz",
        "boot=cluster",
        "quiet",
        "ttm.pages_limit=7",
        "cluster.node=compute1",
        "cluster.mac=52:54:00:00:00:01",
        "cluster.address=192.0.2.11/24",
        f"cluster.sha256={digest}",
        "panic=30",
    ):
        assert word in script.split(), word
    menu = place / "place/tftp/by-mac/52:54:00:00:00:01/grub.cfg"
    assert "if linux /images/one/vmlinuz boot=cluster" in menu.read_text(), "signed GRUB finds it by the card's address"
    assert (node / "current/image").read_text() == "one\n"


def test_grub_takes_its_menus(place: Path, run: Callable[..., Any]) -> None:
    if not shutil.which("grub-script-check"):
        pytest.skip("no grub-script-check on this machine (Debian: grub-common)")
    make_image(place, "one")
    assert run("apply").returncode == 0
    assert run("use", "one").returncode == 0
    first = place / "grub.cfg"
    first.write_text(grub_text())
    for menu in (first, place / "place/tftp/by-mac/52:54:00:00:00:01/grub.cfg"):
        checked = subprocess.run(["grub-script-check", str(menu)], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("file", FILES)
def test_corrupt_image_is_refused_and_nothing_changes(place: Path, run: Callable[..., Any], file: str) -> None:
    make_image(place, "one")
    run("use", "one")
    bad = make_image(place, "two") / file
    bad.write_bytes(bad.read_bytes()[:-1] + b"X")
    refused = run("use", "two")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert f"image two: {file} has sha256" in refused.stderr
    assert current(place, "compute0") == "one"
    assert json.loads(run("look", "two").stdout)["state"] == "corrupt"


@pytest.mark.parametrize(
    ("image", "nodes", "said"),
    [
        ("gone", (), "image gone is not on the control node (one); send it: cluster netboot push gone"),
        ("one", ("compute7",), "compute7 does not boot from this control node; these do: compute0, compute1"),
        ("../one", (), "letters, digits"),
    ],
)
def test_bad_choice_is_refused(
    place: Path, run: Callable[..., Any], image: str, nodes: tuple[str, ...], said: str
) -> None:
    make_image(place, "one")
    (place / "one").symlink_to(place / "images" / "one")
    refused = run("use", image, *nodes)
    assert refused.returncode == 1
    assert said in refused.stderr
    assert not (place / "place/http/nodes/compute0/current").is_symlink()


def test_image_that_breaks_a_machine_is_refused(place: Path, run: Callable[..., Any]) -> None:
    make_image(place, "one", packages={"r8168-dkms": "8.1"})
    assert "compute0: image one has r8168-dkms" in run("use", "one").stderr
    make_image(place, "two")
    data = json.loads((place / "data.json").read_text())
    data["machines"]["compute1"]["largest_load_bytes"] = 10
    (place / "data.json").write_text(json.dumps(data))
    assert "compute1: kernel and initrd of image two are" in run("use", "two").stderr
    assert run("use", "two", "compute0").returncode == 0


def test_kernel_argument_that_is_no_word_is_refused(place: Path, run: Callable[..., Any]) -> None:
    make_image(place, "one", kernel_arguments=["quiet; reboot"])
    assert "kernel argument 'quiet; reboot' is no plain word" in run("use", "one").stderr


def test_sent_image_gets_its_name_when_it_is_whole(place: Path, run: Callable[..., Any]) -> None:
    sent = make_image(place, "one", directory="one.partial")
    whole = (sent / "root.squashfs").read_bytes()
    (sent / "root.squashfs").write_bytes(whole[:-3])
    refused = run("settle", "one")
    assert refused.returncode == 1 and "root.squashfs has" in refused.stderr
    assert not (place / "images/one").exists()
    assert "one" not in json.loads(run("state").stdout)["images"]
    (sent / "root.squashfs").write_bytes(whole)
    assert run("settle", "one").returncode == 0
    assert json.loads(run("look", "one").stdout)["state"] == "whole"
    assert sorted(path.name for path in (place / "images").iterdir()) == ["one"]


def test_host_key_is_made_once_and_kept(place: Path, run: Callable[..., Any]) -> None:
    assert json.loads(run("state").stdout)["stale"]
    assert run("apply").returncode == 0
    assert json.loads(run("state").stdout)["stale"] == []
    identity = place / "place/http/identity/compute0"
    key = identity / "ssh_host_ed25519_key"
    before = key.read_bytes()
    assert oct(key.stat().st_mode & 0o777) == "0o640" and oct(identity.stat().st_mode & 0o777) == "0o750"
    assert run("apply").returncode == 0
    assert key.read_bytes() == before
    assert run("use", "nothing").returncode == 1
    state = json.loads(run("state").stdout)["nodes"]
    assert state["compute0"]["host_key"] != state["compute1"]["host_key"]


def test_without_anybody_to_let_in_it_says_so(place: Path, run: Callable[..., Any]) -> None:
    (place / "authorized_keys").unlink()
    refused = run("apply")
    assert refused.returncode == 1
    assert "authorized_keys on the control node cannot be read" in refused.stderr


def test_card_that_is_no_longer_known_has_no_link(place: Path, run: Callable[..., Any]) -> None:
    stranger = place / "place/tftp/by-mac/52:54:00:00:00:99"
    stranger.parent.mkdir(parents=True)
    stranger.symlink_to("../../http/nodes/gone/current")
    assert str(stranger) in json.loads(run("state").stdout)["stale"]
