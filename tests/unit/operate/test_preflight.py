"""What `up` refuses to start on and what `doctor` names: each check made to fail once by one change to good ground."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hardware.lab import lab
from hardware.model import NetworkBoot
from inventories.composition.netboot import Netboot
from operate import doctor, preflight
from tests.unit.operate.conftest import GIB, Seen, Watched

_LAB = lab(1)
_NODE = replace(
    _LAB.compute[0],
    mac_address="52:54:00:12:34:56",
    network_boot=NetworkBoot(network_drivers=("virtio_net",)),
)
BOOTED = {
    "profile": replace(_LAB, compute=(_NODE,)),
    "site": {"netboot": Netboot()},
}
MODELS = "/var/lib/cluster/models/smollm2-135m-instruct"


def wrong(seen: Seen) -> list[tuple[str, bool | None, str, str]]:
    """Of all of doctor's checks, which has those of `up` among them."""
    checks = doctor.judge(seen.cluster, seen.found)
    return [(check.name, check.ok, check.detail, check.remedy) for check in checks if check.ok is not True]


def stop(seen: Seen, host: str) -> None:
    """No service of a host runs, so its ports have to be free."""
    for state in seen.facts(host)["services"].values():
        state["active"] = False


@pytest.mark.parametrize("managed", [True, False])
@pytest.mark.parametrize("running", [True, False])
def test_good_ground(watched: Watched, managed: bool, running: bool) -> None:
    seen = watched(managed=managed)
    if not running:
        for host in seen.found:
            stop(seen, host)
    assert wrong(seen) == []
    assert {check.name for check in doctor.judge(seen.cluster, seen.found)} == {
        *("reach", "fit", "port", "model", "shared_memory", "python", "system"),
        *(() if running else ("memory",)),
        *(
            ("firewall", "own_name", "hosts_file", "clock_skew", "way_in", "cluster_address", "link_state")
            if managed
            else ("library",)
        ),
    }


@pytest.mark.parametrize("managed", [True, False])
def test_every_fact_that_is_judged_is_asked_for(watched: Watched, managed: bool) -> None:
    seen = watched(managed=managed)
    for host, asked in preflight.requests(seen.cluster).items():
        assert {entry.key for entry in asked} <= set(seen.facts(host))


@pytest.mark.parametrize(
    ("host", "path", "value", "said", "remedy"),
    [
        ("compute0", "memory|total_bytes", GIB // 2, "smollm2-135m-instruct does not fit", "smaller"),
        ("compute0", "memory|available_bytes", GIB, "compute0: 1.0 GiB of memory available", "stop other programs"),
        ("control", f"model {MODELS}", {"state": "damaged", "problems": ["x is missing"]}, "x is missing", "remove"),
        ("compute1", f"model {MODELS}", {"state": "damaged", "problems": ["y differs"]}, "compute1: model", "remove"),
        ("compute0", "shared_memory|size_bytes", 1, "the object store needs", ""),
        ("compute0", "shared_memory|mount_point", "/", "/dev/shm is no file system of its own", "tmpfs"),
        ("compute0", "clock|epoch_seconds", 900.0, "compute0: clock", ""),
        ("compute0", "resolution|resolves_to_loopback", True, "compute0", ""),
        (
            "compute0",
            "own_resolution",
            {"host_name": "nuc", "addresses": ["127.0.1.1"], "resolves_to_loopback": True, "detail": ""},
            "compute0: its own name nuc resolves to loopback (127.0.1.1)",
            "compute_base",
        ),
        ("control", "names|cloud_init", "/etc/cloud/x", "manage_etc_hosts in /etc/cloud/x", "manage_etc_hosts: false"),
        ("compute0", "host|architecture", "aarch64", "wheels for x86_64 only, and this is aarch64", "on x86_64"),
        ("compute0", "host|python_version", None, "/usr/bin/python3 is not there", ""),
        ("compute0", "host|os_version", "11", "is not known (system packages)", "Debian 12, Debian 13, Ubuntu 24.04"),
        ("control", "way_in|port", 20022, "control: sshd takes our connection at port 20022", "another port"),
        ("compute0", "reach", "filtered", "the Ray head, is filtered from here", "firewall"),
        ("compute0", "runtime|python", "3.9.2", "the runtime has Python 3.9.2", ""),
    ],
)
def test_one_thing_is_wrong(watched: Watched, host: str, path: str, value: Any, said: str, remedy: str) -> None:
    seen = watched()
    stop(seen, "compute0")
    seen.set(host, path, value)
    found = wrong(seen)
    assert found and found[0][1] is False, found
    assert said in found[0][2] and remedy in found[0][3], found


def test_damaged_weights_stop_no_run_that_mends_them(watched: Watched) -> None:
    seen = watched()
    seen.set("compute1", f"model {MODELS}", {"state": "corrupt", "problems": ["w does not match its checksum"]})
    ((name, ok, detail, remedy),) = wrong(seen)
    assert (name, ok, remedy) == (preflight.MENDED, False, f"run `{seen.cluster.command} up`, which mends it")
    assert detail == f"compute1: model {MODELS}: w does not match its checksum"


@pytest.mark.parametrize(("managed", "log"), [(True, "journalctl -u"), (False, "/supervisor/cluster-ray-worker.log")])
@pytest.mark.parametrize("up_seconds", [None, 3.0])
def test_a_crash_loop_is_named_and_stops_nothing(
    watched: Watched, managed: bool, log: str, up_seconds: float | None
) -> None:
    seen = watched(managed=managed)
    state = seen.facts("compute0")["services"]["cluster-ray-worker"]
    state |= {"active": up_seconds is not None, "manager_state": "BACKOFF" if up_seconds is None else "RUNNING"}
    state |= {"restarts": 4, "up_seconds": up_seconds, "last_words": "Address already in use"}
    ((name, ok, detail, remedy),) = wrong(seen)
    assert (name, ok) == ("service", False) and "its last words: Address already in use" in detail
    assert "cluster-ray-worker ends and is started again and again" in detail and log in remedy
    blocking = preflight.blocking_checks(seen.cluster, seen.found)
    assert [check for check in blocking if check.ok is False] == [], "the deploy may mend it"
    assert preflight.loops(seen.cluster, seen.found)


def test_ports_between_two_starts_are_nobodys(watched: Watched) -> None:
    seen = watched()
    settings = seen.cluster.control.settings
    taken = {"port": settings.ray.ports.gcs, "address": settings.network.address, "process": "other", "process_id": 7}
    seen.facts("control")["listening"]["sockets"] = [taken]
    head = seen.facts("control")["services"]["cluster-ray-head"]
    head |= {"active": False, "manager_state": "activating/auto-restart", "restarts": 7}
    assert "is taken by other" in wrong(seen)[0][2]
    head |= {"manager_state": "activating/start", "restarts": 0}
    assert wrong(seen) == [], "its own process may have it by now"


@pytest.mark.parametrize(
    ("error", "said", "remedy"),
    [
        ("Authentication failed.", "compute0 (192.0.2.99) refuses admin with /a/key", "authorized_keys"),
        ("no answer within 8 s", "compute0 (192.0.2.99) cannot be reached: no answer within 8 s", "switched on"),
    ],
)
def test_a_host_that_does_not_let_us_in(watched: Watched, error: str, said: str, remedy: str) -> None:
    seen = watched()
    seen.lose("compute0", error)
    ((name, ok, detail, how),) = wrong(seen)
    assert (name, ok, detail) == ("reach", False, said) and remedy in how


def test_what_could_not_be_read_is_shown(watched: Watched) -> None:
    seen = watched()
    seen.unread("compute0", "clock")
    assert wrong(seen) == [("clock", None, "compute0: no answer within 75 s", "")]


@pytest.mark.parametrize("address", ["0.0.0.0", "::", None])  # noqa: S104 (what a foreign program listens on)
@pytest.mark.parametrize(
    ("host", "port", "purpose"),
    [
        *[("control", "gcs", "the Ray head"), ("control", "dashboard", "the dashboard")],
        ("compute1", "agent_grpc", "Ray's agent"),
        *[("control", "watch", "the web page"), ("compute1", "object_manager", "Ray's object manager")],
        ("compute1", "node_manager_first", "Ray's node manager"),
    ],
)
def test_a_port_that_is_taken(watched: Watched, host: str, port: str, purpose: str, address: str | None) -> None:
    seen = watched()
    settings = next(entry.settings for entry in seen.cluster.hosts if entry.name == host)
    number = getattr(settings.ray.ports, port)
    taken = {
        "port": number,
        "address": address or settings.network.address,
        "process": "nginx",
        "process_id": 7,
    }
    seen.facts(host)["listening"]["sockets"] = [taken, {**taken, "address": "192.0.2.200"}]
    assert wrong(seen) == [], "ours, while its service runs"
    stop(seen, host)
    (found,) = wrong(seen)
    assert found[2].startswith(f"{host}: port {number} on {taken['address']}, for {purpose}, is taken by nginx")


def test_ports_of_the_gateway_and_the_depot(watched: Watched) -> None:
    seen = watched()
    stop(seen, "control")
    settings = seen.cluster.control.settings
    ports = (settings.gateway.port, settings.depot.port)
    seen.facts("control")["listening"]["sockets"] = [{"port": port, "address": "::"} for port in ports]
    assert ["the API" in found[2] or "the depot" in found[2] for found in wrong(seen)] == [True, True]
    assert all("by another process (process unknown)" in found[2] for found in wrong(seen))


@pytest.mark.parametrize(
    ("how", "remedy"),
    [({}, "free some on compute0"), ({"managed": False}, "CLUSTER_CACHE"), (BOOTED, "cluster-local")],
)
def test_no_space_for_the_runtime(watched: Watched, how: dict[str, Any], remedy: str) -> None:
    seen = watched(**how)
    host = seen.cluster.compute[0].name
    seen.set(host, "disk|free_bytes", GIB)
    assert wrong(seen) == [], "it is there already"
    seen.set(host, "runtime|complete", False)
    (found,) = [entry for entry in wrong(seen) if entry[0] == "disk"]
    assert "has 1.0 GiB free, the engine's runtime wants 8" in found[2] and remedy in found[3]


def test_a_library_that_only_the_operator_can_install(watched: Watched) -> None:
    seen = watched(managed=False)
    seen.set("compute0", "numa", "")
    (found,) = wrong(seen)
    assert found[2].startswith("compute0: libnuma.so.1 is missing") and "apt-get install libnuma1" in found[3]


def test_another_python_of_the_system_is_told(watched: Watched) -> None:
    seen = watched()
    seen.set("compute0", "runtime|complete", False)
    seen.set("compute0", "host|python_version", "3.9.2")
    (found,) = wrong(seen)
    assert found[:2] == ("python", None) and "/usr/bin/python3 is 3.9.2" in found[2]
