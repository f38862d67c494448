"""`cluster image` as it is typed, on images that were not built; what a cluster's image has to be."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from images import clean
from images.store import Image
from operate.errors import OperatorError
from operate.images import request_of
from tests.conftest import Typed

Made = Callable[..., Image]


@pytest.mark.usefixtures("home")
def test_the_clusters_hardware_says_which_image() -> None:
    assert request_of("laptop", None).variant == "none"
    assert request_of("lab", None) == request_of("laptop", "none")
    ryzen = request_of("v0_2", None)
    assert (ryzen.variant, ryzen.login_user) == ("amd", "compute")
    assert [argument.partition("=")[0] for argument in ryzen.kernel_arguments] == ["ttm.pages_limit"]
    assert ryzen.minimum_kernel == "6.15"
    # The image is built before anybody read a MAC address.
    assert ryzen.network_drivers == ("r8169", "igc", "atlantic")
    assert request_of("geforce_pair", None).variant == "nvidia"
    assert request_of("laptop", "amd").variant == "amd"


@pytest.mark.usefixtures("home")
def test_another_variant_than_the_hardwares_is_refused() -> None:
    with pytest.raises(OperatorError, match=r"v0_2: .* rocm accelerators, so their image is amd, not nvidia"):
        request_of("v0_2", "nvidia")


def test_an_empty_store_is_no_error_to_list_and_cannot_be_verified(typed: Typed) -> None:
    assert typed("image", "list")[:2] == (0, "")
    assert json.loads(typed("image", "list", "--json")[1]) == {"images": []}
    status, _, err = typed("image", "verify")
    assert (status, err) == (2, "cluster: no image is built; run `cluster image build`\n")
    assert typed("image", "clean") == (0, "nothing to remove\n", "")


def test_the_list_says_what_is_there_and_who_needs_it(typed: Typed, made: Made) -> None:
    image = made("none-0123456789abcdef")
    clean.note_use("mine", {"compute0": [image.name]})
    (row,) = json.loads(typed("image", "list", "--json")[1])["images"]
    assert row == {
        "name": image.name,
        "directory": str(image.directory),
        "variant": "none",
        "kernel": "6.1.0-test",
        "packages": 1,
        "bytes": image.size_bytes,
        "needed_by": ["mine/compute0"],
    }
    assert "mine/compute0" in typed("image", "list")[1]


def test_verify_names_the_corrupt_file_and_exits_with_1(typed: Typed, made: Made) -> None:
    image = made("none-0123456789abcdef")
    assert typed("image", "verify") == (0, f"{image.name}: whole\n", "")
    content = bytearray(image.root.read_bytes())
    content[0] ^= 255
    image.root.write_bytes(content)
    status, out, err = typed("image", "verify", image.name)
    assert (status, err) == (1, "")
    assert out.startswith(f"{image.name}: root.squashfs has sha256 ")
    assert out.count("\n") == 1
    status, out, _ = typed("image", "verify", "--json")
    assert status == 1
    assert json.loads(out)["images"][0]["ok"] is False


def test_an_unknown_image_is_one_line(typed: Typed) -> None:
    status, out, err = typed("image", "verify", "none-missing")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "none-missing" in err


def test_clean_says_what_it_freed(typed: Typed, made: Made) -> None:
    made("none-1", age=9)
    made("none-2")
    status, out, _ = typed("image", "clean", "--json")
    assert status == 0
    said = json.loads(out)
    assert [entry["name"] for entry in said["removed"]] == ["none-1"]
    assert said["bytes"] == said["removed"][0]["bytes"] > 0


def test_who_is_not_root_is_told_so(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    status, out, err = typed("image", "build")
    assert (status, out) == (2, "")
    assert err.startswith("cluster: not root: ")
    assert err.count("\n") == 1


def test_missing_tools_come_with_their_package(typed: Typed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("images.builder.command_environment", lambda: {"PATH": str(tmp_path)})
    _, _, err = typed("image", "build")
    assert "mksquashfs" in err
    assert "apt-get install --yes mmdebstrap squashfs-tools util-linux" in err


def test_a_full_disk_is_told_before_anything_is_made(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("images.builder.TOOLS", ())
    monkeypatch.setattr("images.builder.NEEDED_BYTES", 10**18)
    status, _, err = typed("image", "build")
    assert status == 2
    assert "GB free, a build needs" in err
    assert list((tmp_path / "cache" / "images").iterdir()) == []
