"""Names, addresses, the state file and the places. Values are the lab's documented ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import lab
from lab.network import hardware_address
from lab.paths import default_cache, default_home
from lab.plan import check_nodes, from_value, plan_hosts, to_text, write_state


def test_hosts_have_the_documented_names_roles_and_addresses() -> None:
    hosts = plan_hosts(2)
    assert [(host.name, host.role, host.address) for host in hosts] == [
        ("control", "control", "10.77.0.1"),
        ("compute0", "compute", "10.77.0.11"),
        ("compute1", "compute", "10.77.0.12"),
    ]


def test_the_largest_lab_has_no_address_twice_and_none_of_the_switch() -> None:
    addresses = [host.address for host in plan_hosts(64)]
    assert len(set(addresses)) == 65
    assert "10.77.0.254" not in addresses
    assert addresses[-1] == "10.77.0.74"


@pytest.mark.parametrize("nodes", [0, -1, 65, True, 2.0, "2"])
def test_other_counts_are_refused(nodes: int) -> None:
    with pytest.raises(ValueError, match="1 to 64"):
        check_nodes(nodes)


def test_up_refuses_a_bad_count_before_it_touches_anything(tmp_path: Path) -> None:
    paths = lab.LabPaths(tmp_path / "home", tmp_path / "cache", tmp_path / "run")
    with pytest.raises(ValueError, match="0"):
        lab.up(0, lambda _phase, _detail: None, tmp_path, paths)
    assert list(tmp_path.iterdir()) == []


def test_hardware_addresses_are_local_and_stay() -> None:
    assert hardware_address("10.77.0.11") == "02:00:0a:4d:00:0b"


def test_the_state_file_has_the_shape_that_others_read(tmp_path: Path) -> None:
    paths = lab.LabPaths(tmp_path / "home", tmp_path / "cache")
    written = write_state(paths, plan_hosts(1), Path("/cache/images/none-0123456789abcdef"))
    assert json.loads((tmp_path / "home" / "lab.json").read_text()) == {
        "version": 1,
        "hosts": [
            {"name": "control", "role": "control", "address": "10.77.0.1"},
            {"name": "compute0", "role": "compute", "address": "10.77.0.11"},
        ],
        "interface": "eth0",
        "login_user": "compute",
        "ssh_key": str(tmp_path / "home" / "ssh" / "id_ed25519"),
        "known_hosts": str(tmp_path / "home" / "ssh" / "known_hosts"),
        "image": "/cache/images/none-0123456789abcdef",
    }
    assert lab.state(paths) == written
    assert from_value(json.loads(to_text(written))) == written
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["lab.json"]


def test_no_state_file_means_no_lab(tmp_path: Path) -> None:
    paths = lab.LabPaths(tmp_path / "home", tmp_path / "cache")
    assert lab.state(paths) is None
    assert lab.host_states(paths) == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"version": 1, "hosts": []}', '{"version": 1}'])
def test_a_damaged_state_file_is_an_error_with_a_fix(tmp_path: Path, text: str) -> None:
    paths = lab.LabPaths(tmp_path, tmp_path / "cache")
    paths.state_file.write_text(text)
    with pytest.raises(lab.LabError, match=r"lab\.json: .*cluster lab down"):
        lab.state(paths)


def test_an_unknown_host_names_the_choices(tmp_path: Path) -> None:
    state = write_state(lab.LabPaths(tmp_path, tmp_path / "cache"), plan_hosts(1), tmp_path / "image")
    with pytest.raises(lab.LabError, match="'compute9' is no host of this lab; choose from control, compute0"):
        state.host("compute9")


@pytest.mark.parametrize(
    ("environment", "home", "cache"),
    [
        ({"HOME": "/h"}, "/h/.local/state/cluster/lab", "/h/.cache/cluster/lab"),
        ({"HOME": "/h", "XDG_STATE_HOME": "/s", "XDG_CACHE_HOME": "/c"}, "/s/cluster/lab", "/c/cluster/lab"),
        (
            {"HOME": "/h", "XDG_STATE_HOME": "/s", "CLUSTER_HOME": "/x", "CLUSTER_CACHE": "/y"},
            "/x/lab",
            "/y/lab",
        ),
        ({"HOME": "/h", "CLUSTER_HOME": ""}, "/h/.local/state/cluster/lab", "/h/.cache/cluster/lab"),
    ],
)
def test_default_places(environment: dict[str, str], home: str, cache: str) -> None:
    assert default_home(environment) == Path(home)
    assert default_cache(environment) == Path(cache)


@pytest.mark.parametrize("place", ["relative", "/with blank", "/with:colon", "/with,comma"])
def test_places_that_mounts_cannot_carry_are_refused(place: str) -> None:
    with pytest.raises(lab.LabError):
        lab.LabPaths(Path(place), Path("/cache"))
