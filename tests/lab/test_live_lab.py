"""The lab's bare hosts: what they are, faults and their repair, another number of hosts. No cluster is on them yet.

Everything stays in the lab's own namespaces: what may go outside is read from the rules, not tried. The image
comes from this person's cache (built there when missing). That nothing of the lab stays is in tests/live.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import images
import lab
from lab.boot import ssh_command
from lab.network import resolver_text
from lab.rules import name_servers
from tests.shared_lab import COMPUTE_HOSTS, BareLab

pytestmark = pytest.mark.lab

DEADLINE_SECONDS = 20.0


def machine(*arguments: str) -> str:
    """What a command of this machine printed."""
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=30).stdout


def quiet(_phase: str, _detail: str) -> None:
    pass


@pytest.fixture(scope="module")
def paths(bare_lab: BareLab) -> lab.LabPaths:
    if bare_lab.kept:
        pytest.skip("this lab is kept: a cluster may be on it, and its hosts are not for breaking")
    return bare_lab.paths


@pytest.fixture(scope="module")
def image(paths: lab.LabPaths) -> Path:
    return images.lab_image(quiet)


@pytest.fixture(scope="module")
def up(paths: lab.LabPaths) -> lab.LabState:
    found = lab.state(paths)
    assert found is not None
    return found


@pytest.fixture
def on(up: lab.LabState, paths: lab.LabPaths) -> Callable[[str, str], str]:
    """on(host, command): what the command printed there; fails when it does."""

    def run(name: str, command: str) -> str:
        arguments = ssh_command(up.host(name), paths, command)
        return subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=30).stdout.strip()

    return run


def answers(host: lab.LabHost, paths: lab.LabPaths) -> bool:
    arguments = ssh_command(host, paths, "true", connect_seconds=1)
    try:
        return subprocess.run(arguments, capture_output=True, check=False, timeout=3).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def answers_in_time(host: lab.LabHost, paths: lab.LabPaths) -> bool:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not answers(host, paths):
        if time.monotonic() > deadline:
            return False
    return True


def test_every_host_is_a_machine_of_its_own(up: lab.LabState, on: Callable[[str, str], str]) -> None:
    assert [host.name for host in up.hosts] == ["control", "compute0", "compute1"]
    seen = set()
    for host in up.hosts:
        assert on(host.name, "hostname") == host.name
        assert on(host.name, "cat /proc/1/comm") == "systemd"
        assert on(host.name, "systemctl is-system-running") == "running"
        assert f"{host.address}/24" in on(host.name, "ip -brief address show eth0")
        assert "link/ether 02:00:0a:4d" in on(host.name, "ip link show eth0")
        assert on(host.name, "cat /etc/hosts").splitlines()[0] == "127.0.0.1 localhost"
        seen.add(on(host.name, "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub | cut -d' ' -f1,2"))
    assert len(seen) == 3


def test_only_the_key_of_the_login_user_opens_a_host(up: lab.LabState, on: Callable[[str, str], str]) -> None:
    assert on("compute0", "id -un; id -u; sudo -n id -u").split() == ["compute", "1000", "0"]
    settings = on("compute0", "sudo sshd -T").splitlines()
    for wanted in ("permitrootlogin no", "passwordauthentication no", "usedns no", "maxsessions 50"):
        assert wanted in settings


def test_all_hosts_boot_the_one_image_and_share_its_device(
    up: lab.LabState, image: Path, on: Callable[[str, str], str]
) -> None:
    assert up.image == image
    devices = json.loads(machine("losetup", "--json", "--list"))["loopdevices"]
    assert len([device for device in devices if device["back-file"] == str(image / "root.squashfs")]) == 1
    manifest = json.loads((image / "manifest.json").read_text())
    for host in up.hosts:
        installed = on(host.name, "dpkg-query --show --showformat '${Package}\\t${Version}\\n'").splitlines()
        assert dict(line.split("\t") for line in installed) == manifest["packages"]
        assert on(host.name, "findmnt --noheadings --output FSTYPE /") == "overlay"


def test_hosts_reach_each_other(on: Callable[[str, str], str]) -> None:
    assert "SSH-2.0" in on("compute0", "bash -c 'exec 3<>/dev/tcp/10.77.0.1/22; head -1 <&3'")


def test_root_in_a_host_may_do_what_the_deploys_do(on: Callable[[str, str], str]) -> None:
    assert on("compute0", "sudo nft add table inet trial && sudo nft list tables && sudo nft flush ruleset") != ""
    on("compute0", "sudo mount -o remount,size=1G /dev/shm")
    assert on("compute0", "df --output=size -B1 /dev/shm | tail -1") == str(2**30)
    on("compute0", "sudo sysctl -qw net.core.somaxconn=1024")


def test_the_runtime_is_written_by_control_and_read_by_all(on: Callable[[str, str], str]) -> None:
    on("control", "echo shared | sudo tee /opt/cluster/.lab-trial && sudo touch /var/lib/cluster/models/.lab-trial")
    try:
        assert on("compute1", "cat /opt/cluster/.lab-trial") == "shared"
        assert "Read-only" in on("compute1", "sudo touch /opt/cluster/.other 2>&1 || true")
        assert on("compute1", "ls -A /var/lib/cluster/models") == ""
    finally:
        on("control", "sudo rm /opt/cluster/.lab-trial /var/lib/cluster/models/.lab-trial")
    certificates = "sha256sum /etc/ssl/certs/ca-certificates.crt"
    assert on("compute1", certificates) == machine(*certificates.split()).strip()


def test_the_rules_let_out_web_and_names_only(up: lab.LabState) -> None:
    forward = machine("nft", "list", "chain", "ip", "cluster_lab", "forward")
    let_out = [line.strip() for line in forward.splitlines() if 'iifname "lab0"' in line and line.endswith("accept")]
    servers = name_servers(resolver_text())
    for line in let_out:
        web = "tcp dport { 80, 443 }" in line
        names = "dport 53" in line and all(server in line for server in servers)
        assert web or names or "ct state" in line, line
    assert 'iifname "lab0" reject' in forward
    assert 'iifname "lab0" reject' in machine("nft", "list", "chain", "ip", "cluster_lab", "to_machine")


def test_up_again_leaves_running_hosts_alone(
    up: lab.LabState, paths: lab.LabPaths, image: Path, on: Callable[[str, str], str]
) -> None:
    ids = [on(host.name, "cat /proc/sys/kernel/random/boot_id; stat -c %Y /run/utmp") for host in up.hosts]
    phases: list[str] = []
    assert lab.up(COMPUTE_HOSTS, lambda phase, _detail: phases.append(phase), image, paths) == up
    assert "boot" not in phases
    assert ids == [on(host.name, "cat /proc/sys/kernel/random/boot_id; stat -c %Y /run/utmp") for host in up.hosts]


def test_a_second_home_is_told_of_the_first(up: lab.LabState, paths: lab.LabPaths, image: Path, tmp_path: Path) -> None:
    other = lab.LabPaths(tmp_path / "other", paths.cache)
    with pytest.raises(lab.LabError, match="is up on this machine"):
        lab.up(1, quiet, image, other)
    with pytest.raises(lab.LabError, match="is up on this machine"):
        lab.down(quiet, other)


def test_a_crashed_host_is_dead_and_join_boots_it_on_its_disk(
    up: lab.LabState, paths: lab.LabPaths, on: Callable[[str, str], str]
) -> None:
    on("compute0", "touch kept; sudo nft add table inet forgotten")
    for _ in range(2):
        lab.fault("crash", "compute0", paths)
        assert lab.host_states(paths) == {"control": "running", "compute0": "dead", "compute1": "running"}
    assert not answers(up.host("compute0"), paths)
    with pytest.raises(lab.LabError, match="compute0 is dead"):
        lab.fault("freeze", "compute0", paths)
    lab.fault("join", "compute0", paths)
    assert lab.host_states(paths)["compute0"] == "running"
    assert on("compute0", "ls") == "kept"
    assert on("compute0", "sudo nft list ruleset") == ""


def test_a_rebooted_host_comes_back_without_its_packet_filter(
    up: lab.LabState, paths: lab.LabPaths, on: Callable[[str, str], str]
) -> None:
    on("compute1", "sudo nft add table inet forgotten; sudo ip address add 10.77.0.200/24 dev eth0")
    started = on("compute1", "systemctl show --property UserspaceTimestampMonotonic --value")
    subprocess.run(
        ssh_command(up.host("compute1"), paths, "sudo systemctl reboot"), capture_output=True, check=False, timeout=30
    )
    deadline = time.monotonic() + DEADLINE_SECONDS
    now = started
    while now in ("", started) and time.monotonic() < deadline:
        if answers(up.host("compute1"), paths):
            now = on("compute1", "systemctl show --property UserspaceTimestampMonotonic --value")
    assert now not in ("", started)
    assert on("compute1", "sudo nft list ruleset") == ""
    assert "10.77.0.200" not in on("compute1", "ip -brief address show eth0")
    assert lab.host_states(paths)["compute1"] == "running"


def test_a_frozen_host_hangs_until_it_is_thawed(up: lab.LabState, paths: lab.LabPaths) -> None:
    lab.fault("freeze", "compute1", paths)
    assert lab.host_states(paths)["compute1"] == "frozen"
    assert not answers(up.host("compute1"), paths)
    for _ in range(2):
        lab.fault("thaw", "compute1", paths)
    assert lab.host_states(paths)["compute1"] == "running"
    assert answers_in_time(up.host("compute1"), paths)


def test_a_cut_host_is_alone_until_it_is_joined(up: lab.LabState, paths: lab.LabPaths) -> None:
    lab.fault("cut", "compute1", paths)
    assert lab.host_states(paths)["compute1"] == "cut"
    assert not answers(up.host("compute1"), paths)
    for _ in range(2):
        lab.fault("join", "compute1", paths)
    assert lab.host_states(paths)["compute1"] == "running"
    assert answers_in_time(up.host("compute1"), paths)


def test_up_mends_faults_and_follows_the_number(paths: lab.LabPaths, image: Path, up: lab.LabState) -> None:
    lab.fault("freeze", "compute0", paths)
    lab.fault("crash", "control", paths)
    lab.fault("cut", "compute1", paths)
    assert list(lab.host_states(paths).values()) == ["dead", "frozen", "cut"]
    assert len(lab.up(3, quiet, image, paths).hosts) == 4
    assert set(lab.host_states(paths).values()) == {"running"}
    assert [host.name for host in lab.up(1, quiet, image, paths).hosts] == ["control", "compute0"]
    assert list(lab.host_states(paths)) == ["control", "compute0"]
    assert not paths.host("compute1").exists()
    # As it was for who comes next.
    assert lab.up(COMPUTE_HOSTS, quiet, image, paths) == up
