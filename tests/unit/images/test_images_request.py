"""What names an image: every input is in its key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from images import contents
from images.request import Request, digest_of_sources, inputs, kernel_version, key, newest
from images.roles import ROLES

PACKAGES = {"bash": "5.2.15-2+b7", "systemd": "252.38-1~deb12u1"}


def test_the_key_is_sixteen_digits_and_does_not_depend_on_order() -> None:
    declared = inputs(Request("none"))
    found = key(declared, PACKAGES)
    assert len(found) == 16
    assert int(found, 16) >= 0
    assert key(dict(reversed(declared.items())), dict(reversed(PACKAGES.items()))) == found


@pytest.mark.parametrize(
    "change",
    [
        {"variant": "nvidia"},
        {"login_user": "somebody"},
        {"service_user": "other"},
        {"state_directory": "/srv"},
        {"kernel_arguments": ("ttm.pages_limit=1",)},
        {"network_drivers": ("igc",)},
        {"minimum_kernel": "6.15"},
    ],
    ids=str,
)
def test_whatever_is_asked_for_is_in_the_key(change: dict[str, object]) -> None:
    plain = Request("none")
    other = replace(plain, **change)  # type: ignore[arg-type]
    assert key(inputs(other), PACKAGES) != key(inputs(plain), PACKAGES)


def test_a_package_that_was_updated_gives_another_image() -> None:
    declared = inputs(Request("none"))
    assert key(declared, PACKAGES) != key(declared, {**PACKAGES, "bash": "5.2.15-2+b8"})


def test_the_inputs_say_what_is_applied() -> None:
    declared = inputs(Request("amd"))
    assert declared["roles"] == [name for name, _ in ROLES]
    assert {"openssh-server", "busybox", "nftables"} <= set(declared["packages"])
    assert (declared["kernel_package"], declared["kernel_suite"]) == ("linux-image-amd64", "trixie-backports")
    assert inputs(Request("none"))["kernel_package"] == "linux-image-cloud-amd64"


def test_an_unknown_variant_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="'intel' is none of amd, nvidia, none"):
        Request("intel")  # type: ignore[arg-type]


def test_sources_count_by_name_content_and_executable_bit(tmp_path: Path) -> None:
    place = tmp_path / "deploy"
    (place / "__pycache__").mkdir(parents=True)
    (place / "a.py").write_text("one")

    def digest() -> str:
        return digest_of_sources(tmp_path, ("deploy", "missing"))

    seen = [digest()]
    (place / "__pycache__" / "a.pyc").write_text("compiled")
    assert digest() == seen[0]
    (place / "a.py").write_text("two")
    seen.append(digest())
    (place / "a.py").chmod(0o755)
    seen.append(digest())
    (place / "a.py").rename(place / "b.py")
    seen.append(digest())
    assert len(set(seen)) == 4


def test_the_image_holds_nothing_of_one_host() -> None:
    for path, text, _mode in contents.files("somebody"):
        assert "PRIVATE" not in text, path
    files = {path: text for path, text, _mode in contents.files("somebody")}
    assert "AllowUsers somebody\n" in files["/etc/ssh/sshd_config.d/10-cluster.conf"]
    assert "PasswordAuthentication no\n" in files["/etc/ssh/sshd_config.d/10-cluster.conf"]
    assert files["/etc/hosts"].splitlines()[0] == "127.0.0.1 localhost"


def test_kernels_are_compared_by_number() -> None:
    assert kernel_version("6.12.95+deb12-amd64") == (6, 12, 95)
    assert kernel_version("6.2.0") < kernel_version("6.15")
    assert kernel_version("") < kernel_version("6.1.0-50-cloud-amd64")
    assert newest(["6.9", "6.15", ""]) == "6.15"
    assert newest([]) == ""
