"""The store: which images there are, which are whole, which can go, and what is mounted in one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deploys.pxe_server.programs.netboot_image import sha256
from images import clean
from images.mounts import mounted_below, remove
from images.store import (
    BUILD_PREFIX,
    PACKAGE_CACHE,
    Image,
    ImageError,
    default_store,
    images,
    made_from,
    problems,
    read,
)

Made = Callable[..., Image]


def quiet(_phase: str, _detail: str) -> None:
    pass


def names(found: list[Image]) -> list[str]:
    return [image.name for image in found]


def test_the_newest_is_first_and_what_is_no_image_is_left_out(made: Made) -> None:
    made("none-old", age=20)
    made("none-new", age=10)
    store = default_store()
    (store / ".build-x").mkdir()
    (store / "empty").mkdir()
    (store / "torn").mkdir()
    (store / "torn" / "manifest.json").write_text('{"name": "torn", "files": {')
    assert names(images(store)) == ["none-new", "none-old"]
    with pytest.raises(ImageError, match=r"image torn: manifest.json cannot be used .*; build or send it again"):
        read(store / "torn")


def test_a_name_that_is_not_there_is_said_with_where_to_look(made: Made) -> None:
    made("none-a")
    with pytest.raises(ImageError, match=r"no image none-b in .*; `cluster image list` shows") as caught:
        read(default_store() / "none-b")
    assert "remove" not in str(caught.value)


def test_a_directory_that_was_renamed_is_no_image(made: Made) -> None:
    image = made("none-a")
    moved = image.directory.rename(image.directory.with_name("none-b"))
    with pytest.raises(ImageError, match="image none-b: its manifest is that of 'none-a'"):
        read(moved)


def test_an_image_is_found_by_its_inputs_while_it_is_whole(made: Made) -> None:
    older, newer = made("none-a", age=5), made("none-b")
    store = default_store()
    assert made_from(store, {"variant": "amd"}) is None
    assert made_from(store, {"variant": "none"}) == newer
    newer.root.write_bytes(b"cut off")
    assert made_from(store, {"variant": "none"}) == older


def test_verification_names_the_file_and_what_is_wrong_with_it(made: Made) -> None:
    image = made("none-a")
    assert problems(image) == []
    content = bytearray(image.root.read_bytes())
    content[7] ^= 1
    image.root.write_bytes(content)
    (image.directory / "vmlinuz").write_bytes(b"short")
    (image.directory / "initrd.img").unlink()
    assert problems(image) == [
        "vmlinuz has 5 bytes, its manifest says 680",
        "initrd.img is missing",
        f"root.squashfs has sha256 {sha256(image.root)}, its manifest says "
        f"{image.manifest['files']['root.squashfs']['sha256']}",
    ]


def test_a_file_that_the_manifest_does_not_name_is_told(made: Made) -> None:
    image = made("none-a")
    (image.directory / "core").touch()
    assert problems(image) == ["core does not belong to it"]


def test_what_a_node_boots_and_the_newest_of_a_variant_stay(made: Made) -> None:
    for name, age in (("none-1", 30), ("none-2", 20), ("none-3", 10), ("amd-1", 15), ("amd-2", 5)):
        made(name, age=age)
    clean.note_use("mine", {"compute0": ["none-3"], "compute1": ["amd-2"], "gone": ["none-2"]})
    clean.note_use("mine", {"compute0": ["none-1"], "compute1": ["none-1"]})
    assert clean.in_use() == {"none-1": ["mine/compute0", "mine/compute1"]}
    found = images(default_store())
    assert sorted(names(clean.superfluous(found, clean.in_use(), everything=False))) == ["amd-1", "none-2"]
    assert "none-1" not in names(clean.superfluous(found, clean.in_use(), everything=True))
    assert len(clean.superfluous(found, clean.in_use(), everything=True)) == 4


def test_the_labs_hosts_need_their_image(made: Made, home: Path) -> None:
    image = made("none-1", age=3)
    made("none-2")
    host = home / "lab" / "hosts" / "compute0" / "host.json"
    host.parent.mkdir(parents=True)
    host.write_text(json.dumps({"image": str(image.directory)}))
    assert clean.in_use() == {"none-1": ["lab/compute0"]}
    assert clean.clean(default_store(), quiet) == []


def test_clean_removes_what_can_go_and_says_how_much(made: Made) -> None:
    store = default_store()
    assert clean.clean(store, quiet) == []
    made("none-1", age=9)
    made("none-2")
    (store / f"{BUILD_PREFIX}left" / "root").mkdir(parents=True)
    (store / f"{BUILD_PREFIX}left" / "root" / "file").write_bytes(bytes(5000))
    (store / PACKAGE_CACHE).mkdir()
    first = clean.clean(store, quiet)
    assert [entry.name for entry in first] == ["none-1", ".build-left"]
    assert all(entry.size_bytes > 0 for entry in first)
    assert names(images(store)) == ["none-2"]
    assert [entry.name for entry in clean.clean(store, quiet, everything=True)] == ["none-2", PACKAGE_CACHE]


def test_mount_points_are_found_innermost_first() -> None:
    table = (
        "20 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n"
        "30 20 0:20 / /store/.build-a/root/proc rw - proc proc rw\n"
        "31 20 0:21 / /store/.build-a/root/dev rw - tmpfs tmpfs rw\n"
        "32 31 0:22 / /store/.build-a/root/dev/pts rw - devpts devpts rw\n"
        "33 20 7:0 / /store/.build-a/with\\040blank ro - squashfs /dev/loop0 ro\n"
        "34 20 0:20 / /store/.build-ab rw - proc proc rw\n"
    )
    assert mounted_below(Path("/store/.build-a"), table) == [
        Path("/store/.build-a/root/dev/pts"),
        Path("/store/.build-a/root/dev"),
        Path("/store/.build-a/root/proc"),
        Path("/store/.build-a/with blank"),
    ]
    assert mounted_below(Path("/elsewhere"), table) == []


def test_removing_takes_the_directory_away(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    remove(tmp_path / "a")
    assert not (tmp_path / "a").exists()
