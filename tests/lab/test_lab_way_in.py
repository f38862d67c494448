"""Nobody is shut out of a real host: sshd on another port, rules that lock out, and a run that is killed in between."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import lab
from experiments.operated_lab import Done
from lab.boot import ssh_command
from tests.shared_lab import BareLab

pytestmark = pytest.mark.lab

HOST, PORT = "compute0", 2222
GUARD = "/usr/local/lib/cluster/deploys/compute_base/programs/firewall_guard.sh"
MARK = "rules_000000000000"

DEPLOY = """
from msgspec.structs import replace
from pyinfra import host
from deploys import library, settings
from deploys.compute_base import declared, firewall as rules
from deploys.files import ManagedFile
from deploys.operations import firewall, managed

here = settings.of(host)
here = replace(here, way_in=replace(here.way_in, let_in={let_in!r}))
text = rules.text(here)
if {shut!r}:
    text = text.replace('iifname "lo" accept', 'iifname "lo" accept\\n    ct state new tcp dport {port} drop')
managed.write_files(
    name="Write rules",
    files=(
        library.script(here, declared.FIREWALL_GUARD),
        *rules.files(here),
        ManagedFile(rules.DECLARED_PATH, text, owner="root"),
    ),
)
firewall.load(name="Load firewall", settings=here)
"""


@pytest.fixture
def command(bare_lab: BareLab) -> Iterator[Callable[..., Done]]:
    """command(line, port=22): as root on the host, by a connection of its own; the host is as before afterwards."""
    if bare_lab.kept:
        pytest.skip("this lab is kept: a cluster may be on it, and its hosts are not for breaking")
    state = lab.state(bare_lab.paths)
    assert state is not None

    def run(line: str, port: int = 22) -> Done:
        words = ssh_command(state.host(HOST), bare_lab.paths, f"sudo sh -c '{line}'", connect_seconds=2)
        # The host's key is the same on any port.
        words[1:1] = ["-p", str(port), "-o", f"HostKeyAlias={state.host(HOST).address}"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
        return Done(done.returncode, done.stdout, done.stderr)

    yield run
    away = "systemctl disable --now --quiet cluster-firewall; nft delete table inet cluster; rm -rf /etc/cluster"
    files = "/etc/ssh/sshd_config.d/way-in.conf /etc/systemd/system/cluster-firewall.service"
    for port in (22, PORT):
        run(f"{away}; rm -f {files}; systemctl daemon-reload; systemctl restart ssh", port)
    assert run("true").status == 0


@pytest.fixture
def deployed(bare_lab: BareLab, tmp_path: Path, repository: Path) -> Callable[..., Done]:
    """deployed(...): pyinfra's run of the firewall's part on the host, over SSH as `connection` says."""

    def run(connection: str = "", *, let_in: tuple[str, ...] = (), shut: int = 0) -> Done:
        text = (repository / "inventories" / "lab.py").read_text()
        known = 'connections={_name: {"ssh_hostname": _address} for'
        assert known in text and '"ssh_config_file": "/dev/null",' in text
        text = text.replace(known, f'connections={{_name: {{"ssh_hostname": _address, {connection}}} for')
        inventory, deploy = tmp_path / "lab.py", tmp_path / "deploy.py"
        # The lab's list of host keys has port 22 only.
        text = text.replace('"ssh_strict_host_key_checking": "yes"', '"ssh_strict_host_key_checking": "accept-new"')
        text = text.replace('_lab["known_hosts"]', repr(str(tmp_path / "known_hosts")))
        inventory.write_text(text)
        deploy.write_text(DEPLOY.format(let_in=let_in, shut=shut, port=shut))
        return bare_lab.lab.run("-y", "--json", "--limit", HOST, str(inventory), str(deploy), program="pyinfra")

    return run


def changed(done: Done) -> list[str]:
    """Operations of a run that changed something."""
    assert done.status == 0, done.stderr[-3000:]
    return [entry["name"] for entry in done.json["results"]["operations"] if entry["success"]]


def test_sshd_on_another_port_stays_reachable(
    command: Callable[..., Done], deployed: Callable[..., Done], tmp_path: Path
) -> None:
    listen = f"echo Port {PORT} > /etc/ssh/sshd_config.d/way-in.conf && systemctl restart ssh"
    assert command(listen).status == 0
    assert command("true").status != 0, "nobody listens on 22"
    assert changed(deployed(f'"ssh_port": {PORT}')) == ["Write rules", "Load firewall"]
    for line in ("true", "systemctl restart cluster-firewall", "nft list table inet cluster"):
        assert command(line, PORT).status == 0, line
    assert changed(deployed(f'"ssh_port": {PORT}')) == [], "twice is a no-op"
    # The inventory does not say it, an SSH configuration of the operator's own does.
    own = tmp_path / "ssh_config"
    own.write_text(f"Host 10.77.*\n  Port {PORT}\n")
    assert changed(deployed(f'"ssh_config_file": {str(own)!r}')) == ["Write rules", "Load firewall"]
    assert f"elements = {{ {PORT} }}" in command("nft list table inet cluster", PORT).stdout
    assert command("systemctl restart cluster-firewall", PORT).status == 0
    assert command("systemctl is-enabled cluster-firewall", PORT).stdout.strip() == "enabled"


def test_rules_that_shut_the_operator_out_are_taken_back(
    command: Callable[..., Done], deployed: Callable[..., Done]
) -> None:
    refused = deployed(shut=22)
    assert refused.status != 0
    assert "no new connection comes in through the rules of /etc/cluster/firewall.nft" in refused.stderr
    assert command("nft list table inet cluster").status != 0, "there were none before"
    assert command("systemctl is-enabled cluster-firewall").stdout.strip() != "enabled"
    assert changed(deployed()) == ["Write rules", "Load firewall"]
    good = command("nft list table inet cluster").stdout
    assert deployed(let_in=("udp/9",), shut=22).status != 0
    assert command("nft list table inet cluster").stdout == good, "those before are back"
    timers = command("systemctl list-timers --all --no-legend cluster-firewall-undo.timer").stdout
    assert timers == "", "and no timer is left"


def test_the_host_takes_back_what_a_killed_run_loaded(
    command: Callable[..., Done], deployed: Callable[..., Done]
) -> None:
    assert changed(deployed()) == ["Write rules", "Load firewall"]
    good = command("nft list table inet cluster").stdout
    shut = (
        f"table inet cluster\\ndelete table inet cluster\\ntable inet cluster {{ chain {MARK} {{ }}\\nchain input {{ "
        "type filter hook input priority 10; ct state new tcp dport 22 drop; }\\n}\\n"
    )
    loaded = command(f'printf "{shut}" > /etc/cluster/firewall.nft && sh {GUARD} load {MARK} 6')
    assert loaded.status == 0, loaded.stderr
    assert command("true").status != 0, "shut out"
    deadline = time.monotonic() + 30
    while (seen := command("nft list table inet cluster")).status:
        assert time.monotonic() < deadline, "still shut out"
    assert seen.stdout == good
    late = command(f"sh {GUARD} confirm {MARK}")
    assert late.status == 1 and "not loaded any more" in late.stderr
