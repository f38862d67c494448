"""What a host's hardware is against what was declared: `up`, `doctor` and `verify` name host, card and remedy."""

from __future__ import annotations

from typing import Any

import pytest

from hardware.geforce_pair import CLUSTER as GEFORCE_PAIR
from hardware.v0_1 import CLUSTER as V0_1
from hardware.v0_2 import CLUSTER as V0_2
from operate import doctor, machine, preflight
from operate.verification import ask
from operate.verification.judge import judge
from tests.unit.operate.conftest import Seen, Watched

GEFORCE = {"profile": GEFORCE_PAIR}
BUS = "0000:01:00.0"


def wrong(seen: Seen, name: str) -> list[tuple[bool | None, str, str]]:
    """Of one check, all that does not hold; the same for whoever asks."""
    found = [
        {(check.ok, check.detail) for check in checks if check.name == name and check.ok is not True}
        for checks in (
            doctor.judge(seen.cluster, seen.found),
            preflight.blocking_checks(seen.cluster, seen.found),
            judge(seen.cluster, seen.found),
        )
    ]
    assert found[0] == found[1] == found[2]
    checks = doctor.judge(seen.cluster, seen.found)
    return [(one.ok, one.detail, one.remedy) for one in checks if one.name == name and one.ok is not True]


@pytest.mark.parametrize("profile", [GEFORCE_PAIR, V0_1, V0_2])
def test_all_is_as_declared(watched: Watched, profile: Any) -> None:
    seen = watched(profile=profile)
    results = machine.checks(seen.cluster, seen.found)
    assert [check for check in results if check.ok is not True] == []
    nodes = {check.detail.partition(":")[0] for check in results if check.name == "gpu_count"}
    assert nodes == {host.name for host in seen.cluster.compute}


def test_hosts_with_cards_are_asked_and_others_are_not(watched: Watched) -> None:
    seen = watched(**GEFORCE)
    for asked in (preflight.requests(seen.cluster), ask.requests(seen.cluster, full=False)):
        facts = {host: {entry.fact for entry in entries} for host, entries in asked.items()}
        assert "facts.nvidia.Gpus" in facts["compute0"] and "facts.nvidia.Gpus" not in facts["control"]
        assert all("facts.network.Interfaces" in found for found in facts.values())
        # They ride on what is asked anyway.
        assert not [entry for entries in asked.values() for entry in entries if entry.key in _OURS and entry.alone]


_OURS = ("interfaces", "gpus", "npus", "cpu")


def test_a_card_that_is_lost_is_named(watched: Watched) -> None:
    seen = watched(**GEFORCE)
    seen.set("compute0", "gpus|gpus", [])
    ((ok, detail, remedy),) = wrong(seen, "gpu_bus")
    assert ok is False and "reboot" in remedy
    assert detail == f"compute0: the nvidia card at {BUS} is on the PCI bus and nvidia-smi has it not"
    assert wrong(seen, "gpu_count")[0][:2] == (False, "compute0: 0 nvidia GPUs, 1 expected")


def test_a_card_that_another_driver_holds_is_told(watched: Watched) -> None:
    seen = watched(**GEFORCE)
    seen.set("compute0", "gpus|gpus", [])
    seen.set("compute0", "gpus|bus_drivers", ["vfio-pci"])
    checks = doctor.judge(seen.cluster, seen.found)
    (found,) = [check for check in checks if check.name == "gpu_bus"]
    assert found.ok is None and "the driver vfio-pci holds it" in found.detail


def test_driver_and_library_of_two_versions(watched: Watched) -> None:
    seen = watched(**GEFORCE)
    said = "nvidia-smi exited 18: Failed to initialize NVML: Driver/library version mismatch"
    changed: dict[str, Any] = {
        "tool": "failed",
        "gpus": [],
        "driver_version": None,
        "detail": said,
        "loaded_driver_version": "550.54",
    }
    seen.facts("compute1")["gpus"] |= changed
    ((ok, detail, remedy),) = wrong(seen, "gpu_tool")
    assert ok is False and detail.startswith("compute1: driver and library of nvidia are of two versions")
    assert "550.54" in detail and remedy.startswith("reboot compute1")


def test_two_driver_versions_over_the_nodes(watched: Watched) -> None:
    seen = watched(**GEFORCE)
    seen.set("compute1", "gpus|driver_version", "580.65.06")
    ((ok, detail, remedy),) = wrong(seen, "gpu_drivers")
    assert ok is False
    assert detail == "the nvidia driver is of 2 versions: 570.10 on compute0; 580.65.06 on compute1"
    assert remedy == "install 580.65.06 on compute0 and reboot"


@pytest.mark.parametrize(
    ("path", "value", "name", "said", "remedy"),
    [
        ("gpus|gpus|0|unread", ["gpu_temp: 'GPU requires reset' is no number"], "gpu_state", "needs a reset", "-i 0"),
        ("gpus|gpus|0|unread", ["gpu_temp: 'GPU is lost' is no number"], "gpu_state", "is lost to", "reboot compute0"),
        ("gpus|gpus|0|recovery_action", "Reset", "gpu_state", "the driver asks for: Reset", "--gpu-reset"),
        ("gpus|gpus|0|mig_enabled", True, "gpu_mig", "no engine can use it as a whole", "-mig 0"),
        ("gpus|gpus|0|memory_total_bytes", 2**32, "gpu_memory", "has 4.0 GiB, 12.0 expected", "another card"),
        ("gpus|source", "procfs", "gpu_tool", "no program can use these cards", "reboot compute0"),
    ],
)
def test_a_card_that_cannot_be_used(watched: Watched, path: str, value: Any, name: str, said: str, remedy: str) -> None:
    seen = watched(**GEFORCE)
    seen.set("compute0", path, value)
    ((ok, detail, how),) = wrong(seen, name)
    assert ok is False and detail.startswith("compute0: ") and said in detail and remedy in how


def test_the_count_is_the_hardwares_not_ours(watched: Watched) -> None:
    seen = watched(**GEFORCE)
    seen.facts("compute0")["gpus"] |= {"gpus": [], "bus_addresses": [], "bus_drivers": [], "devices_on_pci_bus": 0}
    # Ray says what it was told with --num-gpus.
    assert [check.ok for check in judge(seen.cluster, seen.found) if check.name == "topology"] == [True] * 3
    assert wrong(seen, "gpu_count")[0][:2] == (False, "compute0: 0 nvidia GPUs, 1 expected")


def test_a_second_card_of_another_kind_is_not_counted(watched: Watched) -> None:
    seen = watched(**GEFORCE)
    (card,) = seen.facts("compute0")["gpus"]["gpus"]
    card["compute_capability"] = "12.0"
    other = {**card, "index": 1, "name": "GT 710", "compute_capability": "3.5", "pci_address": "0000:02:00.0"}
    gpus = seen.facts("compute0")["gpus"]
    gpus |= {"gpus": [card, other], "bus_addresses": [BUS, "0000:02:00.0"], "bus_drivers": ["nvidia", "nvidia"]}
    assert [check for check in machine.checks(seen.cluster, seen.found) if check.ok is not True] == []


@pytest.mark.parametrize(("cards", "wrong_ones"), [(2, []), (4, []), (1, ["gpu_count"]), (0, ["gpu_count"])])
def test_a_machine_that_is_not_ours_may_have_more_cards(watched: Watched, cards: int, wrong_ones: list[str]) -> None:
    seen = watched(**GEFORCE, managed=False)
    for host in ("compute0", "compute1"):
        (card,) = seen.facts(host)["gpus"]["gpus"]
        gpus = [{**card, "index": index, "pci_address": f"0000:0{index}:00.0"} for index in range(cards)]
        broken = {**card, "index": 9, "pci_address": "0000:09:00.0", "unread": ["gpu_temp: 'GPU requires reset'"]}
        seen.facts(host)["gpus"] |= {"gpus": [*gpus, *([broken] if cards > 2 else [])], "devices_on_pci_bus": cards}
        seen.facts(host)["gpus"] |= {"bus_addresses": [], "bus_drivers": []}
    results = machine.checks(seen.cluster, seen.found)
    assert [check.name for check in results if check.ok is not True] == wrong_ones
    assert len([check for check in results if check.name == "gpu_count"]) == 1, "one machine, judged once"


@pytest.mark.parametrize("prepared", [False, True])
def test_a_driver_that_the_deploy_installs_does_not_stop_its_first_run(watched: Watched, prepared: bool) -> None:
    seen = watched(**GEFORCE)
    seen.set("compute0", "runtime|complete", prepared)
    seen.facts("compute0")["gpus"] |= {"tool": "missing", "source": "", "gpus": [], "detail": "it is not installed"}
    checks = preflight.blocking_checks(seen.cluster, seen.found)
    stopped = {check.name for check in checks if check.name.startswith("gpu") and check.ok is False}
    assert stopped == ({"gpu_tool"} if prepared else set())


def test_amd_cards_need_no_tool_of_the_vendors(watched: Watched) -> None:
    seen = watched(profile=V0_1)
    for node in ("compute0", "compute1"):
        seen.facts(node)["gpus"] |= {"tool": "missing", "source": "sysfs", "detail": "amd-smi is not installed"}
    assert [check for check in machine.checks(seen.cluster, seen.found) if check.ok is not True] == []


@pytest.mark.parametrize(
    ("change", "name", "said", "remedy"),
    [
        ({"name": "enp6s0"}, "cluster_interface", "has no interface eth0; the firewall", "{interface: enp6s0}"),
        (
            {"name": "enp6s0", "other_names": ["eth0"]},
            "cluster_interface",
            "eth0 is only another name of enp6s0",
            "{interface: enp6s0}",
        ),
        (
            {"addresses": [{"address": "192.0.2.7", "prefix_length": 24, "scope": "global"}]},
            "cluster_address",
            "no interface has 192.0.2.11; eth0 has 192.0.2.7",
            "network settings",
        ),
        ({"addresses": []}, "cluster_address", "eth0 has no address", "network settings"),
        ({"state": "DOWN"}, "link_state", "eth0 is DOWN", "cable"),
    ],
)
def test_the_interface_of_the_address(
    watched: Watched, change: dict[str, Any], name: str, said: str, remedy: str
) -> None:
    seen = watched()
    seen.facts("compute0")["interfaces"]["interfaces"][0] |= change
    ((ok, detail, how),) = wrong(seen, name)
    assert ok is False and detail.startswith("compute0: ") and said in detail and remedy in how


def test_the_address_on_another_interface_than_the_named_one(watched: Watched) -> None:
    seen = watched()
    interfaces = seen.facts("compute0")["interfaces"]["interfaces"]
    other = {"name": "eth0", "addresses": [{"address": "10.9.9.9", "prefix_length": 8, "scope": "global"}]}
    interfaces[:] = [{**interfaces[0], "name": "eth1"}, {**interfaces[0], **other}]
    ((ok, detail, how),) = wrong(seen, "cluster_interface")
    assert ok is False and "192.0.2.11 is on eth1, not on eth0: eth0 has 10.9.9.9" in detail
    assert "close Ray's ports to the peers" in detail and "machines.yaml" in how


def test_a_host_without_ip_has_its_names_from_the_kernel(watched: Watched) -> None:
    seen = watched()
    seen.set("compute0", "interfaces|tool", "missing")
    seen.set("compute0", "interfaces|interfaces|0|name", "enp6s0")
    assert wrong(seen, "cluster_interface")[0][1].startswith("compute0: it has no interface eth0; it has enp6s0")


@pytest.mark.parametrize(("speed", "ok"), [(2_500_000_000, True), (100_000_000, False), (None, None)])
def test_a_cable_that_is_slower_than_the_plan_reckons_is_shown_by_doctor(
    watched: Watched, speed: int | None, ok: bool | None
) -> None:
    seen = watched(profile=V0_1)
    seen.set("compute0", "interfaces|interfaces|0|speed_bits_per_second", speed)
    checks = doctor.judge(seen.cluster, seen.found)
    found = {check.detail.partition(":")[0]: check.ok for check in checks if check.name == "link_speed"}
    assert found["compute0"] is ok
    assert not [one for one in preflight.blocking_checks(seen.cluster, seen.found) if one.name == "link_speed"]


@pytest.mark.parametrize("key", ["gpus", "interfaces"])
def test_what_could_not_be_read_is_not_told(watched: Watched, key: str) -> None:
    seen = watched(**GEFORCE)
    seen.unread("compute0", key)
    name = {"gpus": "gpu_tool", "interfaces": "cluster_address"}[key]
    assert wrong(seen, name)[0][0] is None
