"""The compose files: written from the inventories, up to date, whole, as closed as they are meant to be."""

from __future__ import annotations

import ipaddress
import json
import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from containers import document
from containers.__main__ import VARIANTS, WORKERS, compose_files, prepare, stale
from containers.declared import Declared, load
from deploys import roles, runtime_lock
from deploys.compute_base.declared import secret_files
from deploys.services.description import DIGEST_VARIABLE
from deploys.vllm.declared import serve_configuration
from hardware.model import ProfileError

REPOSITORY = Path(__file__).parents[3]
KEPT = REPOSITORY / "containers"
SIZE = {"m": 1024**2}


@pytest.fixture
def declared(home: Path) -> Declared:
    return load("containers", WORKERS)


@pytest.fixture
def compose(declared: Declared) -> dict[str, Any]:
    return document.compose(declared)


def size(text: str) -> int:
    return int(text[:-1]) * SIZE[text[-1]]


def merged(base: Any, added: Any, key: str = "") -> Any:
    """Two compose files as compose merges them (compose specification, "Merge"), for what our overrides hold."""
    if isinstance(base, dict) and isinstance(added, dict):
        return {
            name: merged(base[name], added[name], name)
            if name in base and name in added
            else deepcopy(added.get(name, base.get(name)))
            for name in {**base, **added}
        }
    if isinstance(base, list) and isinstance(added, list) and key not in ("command", "test"):
        return [*base, *added]
    return deepcopy(added)


def test_the_kept_files_are_what_the_inventories_say(home: Path) -> None:
    texts = compose_files(WORKERS)
    assert set(texts) == {"compose.yaml", *VARIANTS}
    assert stale(KEPT, texts) == [], "run: python -m containers"


def test_check_names_a_file_that_is_not_as_declared(home: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "containers", "--check", "--into", str(tmp_path)]
    for name, text in compose_files(WORKERS).items():
        (tmp_path / name).write_text(text)
    assert subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True).returncode == 0
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    done = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{tmp_path}/compose.yaml is not as declared" in done.stderr and "amd" not in done.stderr


def test_every_declared_service_runs_as_declared(declared: Declared, compose: dict[str, Any]) -> None:
    seen = set()
    for member in declared.members:
        for service in roles.services(member.settings):
            wanted = {**service.environment, DIGEST_VARIABLE: service.digest}
            (name,) = [
                name
                for name, found in compose["services"].items()
                if (found.get("environment") or {}).get(DIGEST_VARIABLE) == service.digest
            ]
            found = compose["services"][name]
            assert [part.replace("$$", "$") for part in found["command"]] == list(service.command)
            assert {key: value.replace("$$", "$") for key, value in found["environment"].items()} == wanted
            mounted = {entry["target"] for entry in found["secrets"]}
            assert mounted == set(secret_files(member.settings).values())
            seen.add(name)
    assert {"head", "serve", "worker1", "worker2"} <= seen
    extra = set(compose["services"]) - seen
    assert extra == {"weights", "front", "head-network"}


def test_what_a_service_reads_is_mounted_or_in_the_image(
    declared: Declared, compose: dict[str, Any], tmp_path: Path
) -> None:
    prepare(tmp_path, WORKERS)
    for name in ("head", "serve", "worker1", "weights"):
        service = compose["services"][name]
        configs = {entry["target"]: compose["configs"][entry["source"]]["file"] for entry in service.get("configs", [])}
        library = declared.control.directories.library
        for argument in service["command"]:
            if argument.startswith(f"{library}/"):
                context = tmp_path / compose["services"]["head"]["build"]["context"]
                assert (context / "library" / argument.removeprefix(f"{library}/")).is_file()
            elif argument.startswith("/etc/cluster/"):
                assert (tmp_path / configs[argument]).is_file()
    (serve,) = (tmp_path / "prepared/containers/files").glob("*serve.json")
    assert json.loads(serve.read_text()) == serve_configuration(declared.control)
    lock = tmp_path / "prepared/containers/image/runtime.lock"
    assert lock.read_text() == declared.runtime.path.read_text()


def test_the_image_is_named_by_the_lock(declared: Declared, compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert service["image"].endswith(f":{declared.runtime.name}")
        assert service["pull_policy"] == "never"
    arguments = compose["services"]["head"]["build"]["args"]
    assert runtime_lock.directory(declared.control).endswith(f"/{arguments['RUNTIME']}")
    text = (KEPT / "Dockerfile").read_text()
    assert set(arguments) - set(re.findall(r"^ARG (\w+)", text, re.MULTILINE)) == set()


def test_everything_named_is_there(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert {entry["source"] for entry in service.get("volumes", [])} <= set(compose["volumes"])
        assert {entry["source"] for entry in service.get("secrets", [])} <= set(compose["secrets"])
        assert {entry["source"] for entry in service.get("configs", [])} <= set(compose["configs"])
        assert set(service.get("networks", {})) <= set(compose["networks"])
        assert set(service.get("depends_on", {})) <= set(compose["services"])
        for other, about in service.get("depends_on", {}).items():
            if about["condition"] == "service_healthy":
                assert "test" in compose["services"][other]["healthcheck"]
        shared = service.get("network_mode", "").removeprefix("service:")
        assert not shared or (shared in compose["services"] and "networks" not in service)


def test_every_container_is_closed_and_limited(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"] and "cap_add" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"] is True and "privileged" not in service
        assert "user" not in service, "the image's user is no root"
        found = service["deploy"]["resources"]["limits"]
        assert size(found["memory"]) > 0 and float(found["cpus"]) > 0 and found["pids"] > 0
        assert service["logging"]["options"]["max-size"]


def test_memory_and_shared_memory(declared: Declared, compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert size(services["head"]["deploy"]["resources"]["limits"]["memory"]) == 1024**3
    for name in ("worker1", "worker2"):
        assert size(services[name]["deploy"]["resources"]["limits"]["memory"]) == 3 * 1024**3
    for member in declared.members:
        found = services[member.settings.node]
        store = member.settings.ray.object_store_bytes
        assert f"--object-store-memory={store}" in found["command"]
        assert store <= size(found["shm_size"]) < member.memory_bytes
        assert found["ulimits"]["nofile"] == {"soft": 65535, "hard": 65535}


def test_one_port_on_loopback_and_no_way_out_for_the_nodes(declared: Declared, compose: dict[str, Any]) -> None:
    published = {name: found["ports"] for name, found in compose["services"].items() if "ports" in found}
    assert published == {"front": ["127.0.0.1:${CLUSTER_PORT:-8000}:8000"]}
    assert compose["networks"]["cluster"]["internal"] is True
    outside = {name for name, found in compose["services"].items() if "outside" in found.get("networks", {})}
    assert outside == {"front", "weights"}
    for name in outside:
        assert "secrets" not in compose["services"][name], f"{name} reaches the world, and needs no secret"
    network = compose["networks"]["cluster"]["ipam"]["config"][0]
    handed_out = ipaddress.ip_network(network["ip_range"])
    addresses = {
        found["networks"]["cluster"]["ipv4_address"]
        for found in compose["services"].values()
        if (found.get("networks", {}).get("cluster") or {}).get("ipv4_address")
    }
    assert addresses == set(declared.control.network.peers.values())
    for address in map(ipaddress.ip_address, addresses):
        assert address in ipaddress.ip_network(network["subnet"]) and address not in handed_out
    front = document.front_configuration(declared.control)
    assert f"server head {declared.control.head_address}:8000\n" in front


def test_no_secret_and_no_path_of_this_machine_is_in_a_kept_file(home: Path, tmp_path: Path) -> None:
    prepare(tmp_path, WORKERS)
    secrets = [file.read_text() for file in (home / "containers" / "secrets").iterdir()]
    assert len(secrets) == 2
    written = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_relative_to(home)]
    for path in written:
        text = path.read_text()
        assert not any(secret in text for secret in secrets), path
        if path.name != ".env":
            assert str(home) not in text, path
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0


def test_the_key_is_wanted_since_the_endpoint_is_not_on_loopback(declared: Declared) -> None:
    assert declared.control.api_key_required


@pytest.mark.parametrize("file", VARIANTS)
def test_an_override_makes_the_whole_of_its_inventory(home: Path, file: str) -> None:
    texts = compose_files(WORKERS)
    wanted = document.compose(load(VARIANTS[file], WORKERS))
    both = merged(yaml.safe_load(texts["compose.yaml"]), yaml.safe_load(texts[file]))
    assert both == wanted


def test_each_worker_has_a_gpu_of_its_own(home: Path) -> None:
    nvidia = document.compose(load("containers_nvidia", 3))["services"]
    for index in range(3):
        (device,) = nvidia[f"worker{index + 1}"]["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "device_ids": [str(index)], "capabilities": ["gpu"]}
    amd = document.compose(load("containers_amd", 2))["services"]
    for index in range(2):
        render = f"/dev/dri/renderD{128 + index}"
        assert amd[f"worker{index + 1}"]["devices"] == ["/dev/kfd:/dev/kfd", f"{render}:{render}"]
        assert len(amd[f"worker{index + 1}"]["group_add"]) == 2
    assert "devices" not in amd["head"] and "reservations" not in nvidia["head"]["deploy"]["resources"]


def test_an_override_that_compose_cannot_make_is_refused() -> None:
    with pytest.raises(ProfileError, match="take away b"):
        document.override({"a": 1, "b": 2}, {"a": 1})
    with pytest.raises(ProfileError, match=r"s\.cap_drop: compose would append"):
        document.override({"s": {"cap_drop": ["A"]}}, {"s": {"cap_drop": ["B"]}})


def test_more_workers(home: Path) -> None:
    compose = document.compose(load("containers", 5))
    assert {f"worker{index}" for index in range(1, 6)} <= set(compose["services"])
    assert compose["services"]["serve"]["healthcheck"]["test"][-1] == "5"
    with pytest.raises(ProfileError, match="at least one"):
        load("containers", 0)
    with pytest.raises(ProfileError, match="one half"):
        document.compose(load("containers", 120))
