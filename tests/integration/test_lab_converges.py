"""Deployed once it works, deployed twice nothing changes, and the state is read back by other means."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import httpx
import pytest

from experiments.operated_lab import Lab
from facts.sources import REPOSITORY

pytestmark = pytest.mark.lab

QUESTION = "What is the capital of France?"


def test_the_first_run_converges(lab: Lab) -> None:
    assert lab.first_run["results"]["failed_hosts"] == []
    assert all(not operation["error"] for operation in lab.first_run["results"]["operations"])


def test_a_second_run_changes_nothing(lab: Lab) -> None:
    again = lab.run("-y", "--json", "inventories/lab.py", "deploys/all.py", program="pyinfra")
    assert again.status == 0, again.stderr[-2000:]
    results = again.json["results"]
    changed = {operation["name"]: operation["success"] for operation in results["operations"] if operation["success"]}
    assert changed == {}
    assert results["totals"]["error"] == 0
    assert results["totals"]["no_change"] > 40


def test_what_was_changed_by_hand_is_planned_then_mended_and_no_secret_is_told(lab: Lab) -> None:
    """Neither in a plan, nor in a log, a diff or a process list."""
    limits = "/etc/security/limits.d/60-cluster.conf"
    secrets = [path.read_text() for path in (lab.home / "lab" / "secrets").iterdir()]
    assert len(secrets) == 2
    lab.ssh("compute1", f"echo '# by hand' >> {limits}")
    lab.ssh("compute0", "rm /etc/cluster/ray-token")
    dry = lab.run("--dry", "--json", "inventories/lab.py", "deploys/all.py", program="pyinfra")
    assert dry.status == 0, dry.stderr[-2000:]
    planned = [operation["hosts_with_change"] for operation in dry.json["plan"] if operation["hosts_with_change"]]
    assert planned.count(["compute1"]) == 1
    assert {host for hosts in planned for host in hosts} == {"compute0", "compute1"}
    assert dry.json["results"] is None
    assert "by hand" in lab.ssh("compute1", f"cat {limits}").stdout
    deploy = lab.run("-y", "--json", "-vvv", "--diff", "inventories/lab.py", "deploys/all.py", program="pyinfra")
    assert deploy.status == 0, deploy.stderr[-2000:]
    assert "by hand" not in lab.ssh("compute1", f"cat {limits}").stdout
    inventory = lab.run("--json", "inventories/lab.py", "debug-inventory", program="pyinfra")
    for host in ("control", "compute0", "compute1"):
        seen = lab.ssh(
            host, "ps axww -o args; cat /var/log/syslog 2>/dev/null; journalctl --no-pager -n 20000; ls -la /tmp"
        )
        for secret in secrets:
            assert secret not in seen.stdout
            assert secret not in deploy.stdout + deploy.stderr + inventory.stdout + json.dumps(lab.first_run)


def test_verify_holds(lab: Lab) -> None:
    done = lab.cluster("verify", "--json")
    assert done.status == 0, done.stdout
    assert done.json["ok"] is True
    assert done.json["failed"] == done.json["unknown"] == 0
    proved = [check["detail"] for check in done.json["checks"] if check["name"] == "answer"]
    assert len(proved) == 2
    assert all("Paris" in detail for detail in proved)


def test_ask_says_paris_and_which_host_answered(lab: Lab) -> None:
    done = lab.cluster("ask", QUESTION, "--json")
    assert done.status == 0, done.stderr
    assert "Paris" in done.json["answer"]
    assert done.json["node"] in ("compute0", "compute1")


@pytest.mark.parametrize(
    "more", [{"logprobs": True, "top_logprobs": 3}, {"prompt_logprobs": 1}, {"temperature": 0.8, "top_p": 0.9}]
)
def test_what_vllm_would_compile_is_answered_without_a_compiler(lab: Lab, more: dict[str, object]) -> None:
    """These requests ended the engine on a host that has no compiler, and the hosts of the lab have none."""
    assert lab.ssh("compute0", "command -v g++ gcc cc").stdout == ""
    key = (lab.home / "lab" / "secrets" / "api-key").read_text()
    messages = [{"role": "user", "content": QUESTION}]
    asked = {"model": "smollm2-135m-instruct", "messages": messages, "max_tokens": 4, **more}
    answer = httpx.post(
        "http://10.77.0.1:8000/v1/chat/completions",
        json=asked,
        headers={"Authorization": f"Bearer {key}"},
        timeout=60,
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    found = answer.json()
    if "logprobs" in more:
        assert len(found["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == 3
    if "prompt_logprobs" in more:
        assert any(found["prompt_logprobs"])


def test_status_has_the_endpoint_and_no_secret(lab: Lab) -> None:
    done = lab.cluster("status", "--json")
    assert done.status == 0, done.stdout
    assert done.json["endpoint"] == "http://10.77.0.1:8000/v1"
    key = (lab.home / "lab" / "secrets" / "api-key").read_text()
    assert key not in done.stdout


def test_the_api_wants_its_key(lab: Lab) -> None:
    url = "http://10.77.0.1:8000/v1/models"
    bare = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url], capture_output=True, text=True)
    assert bare.stdout == "401"


def test_a_wrong_key_is_refused_in_one_line(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("key")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / "key")], check=True)
    text = (REPOSITORY / "inventories" / "lab.py").read_text()
    assert '_lab["ssh_key"]' in text
    inventory = directory / "wrong_key.py"
    assert "lab(_nodes)," in text
    text = text.replace("lab(_nodes),", 'lab(_nodes), name="wrong-key",')
    inventory.write_text(text.replace('_lab["ssh_key"]', repr(str(directory / "key"))))
    done = lab.run("-c", str(inventory), "up")
    assert done.status == 2, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("cluster: ")]
    assert len(said) == 1
    assert "control (10.77.0.1) refuses compute with" in said[0]
    assert "authorized_keys" in said[0]


def test_a_bare_metal_profile_says_what_it_would_do(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> None:
    """hardware/v0_1 with the lab's addresses: hosts that are there, but have no Radeon. Nothing may be done to them."""
    state = json.loads((lab.home / "lab" / "lab.json").read_text())
    inventory = tmp_path_factory.mktemp("dry") / "v0_1_here.py"
    inventory.write_text(
        f"""
from hardware.v0_1 import CLUSTER
from inventories.composition.compose import Serving, Site, compose

_addresses = dict(zip(("control-0-1", "compute0", "compute1"), {[host["address"] for host in state["hosts"]]!r}))
control, compute = compose(
    CLUSTER, name="v0_1_here", addresses=_addresses,
    serving=Serving(model="mistral-small-instruct-2409-awq", mode="span", dtype="float16", enforce_eager=True),
    site=Site(login_user="compute", connection={{
        "ssh_user": "compute", "ssh_key": {state["ssh_key"]!r}, "ssh_known_hosts_file": {state["known_hosts"]!r},
        "ssh_config_file": "/dev/null", "_sudo": True}}),
    connections={{name: {{"ssh_hostname": address}} for name, address in _addresses.items()}},
)
"""
    )
    before = {name: lab.ssh(name, "find /etc /usr/local -type f | sort | xargs sha256sum").stdout for name in _NAMES}
    dry = lab.run("--dry", "--json", str(inventory), "deploys/all.py", program="pyinfra")
    assert dry.status == 0, dry.stderr[-2000:]
    planned = {operation["name"]: operation["hosts_with_change"] for operation in dry.json["plan"]}
    firmware = next(hosts for name, hosts in planned.items() if "Install AMD GPU firmware" in name)
    assert firmware == ["compute0", "compute1"]
    assert any("Fetch mistral-small-instruct-2409-awq" in name for name in planned)
    assert {
        name: lab.ssh(name, "find /etc /usr/local -type f | sort | xargs sha256sum").stdout for name in _NAMES
    } == before


_NAMES = ("control", "compute0", "compute1")


def test_compute_hosts_are_reached_through_the_control_host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The bare-metal inventories' SSH jump, over the lab: only the control host's address is used from here."""
    state = json.loads((lab.home / "lab" / "lab.json").read_text())
    inventory = tmp_path_factory.mktemp("jump") / "jump.py"
    inventory.write_text(
        f"""
from hardware.lab import lab
from inventories.composition.compose import Serving, Site, compose
from inventories.composition.jump import connections

_cluster = lab({len(state["hosts"]) - 1})
_addresses = { ({host["name"]: host["address"] for host in state["hosts"]})!r}
control, compute = compose(
    _cluster, addresses=_addresses, serving=Serving(model="smollm2-135m-instruct", dtype="float32"), name="jump",
    site=Site(login_user="compute", connection=connections(
        _cluster, name="jump", addresses=_addresses, login_user="compute", control_host="10.77.0.1",
        ssh_key={state["ssh_key"]!r}, known_hosts={_jump_known_hosts(lab)!r})),
)
"""
    )
    # sshd on each host says who is connected: on compute hosts that is the control host, not this machine.
    look = "ss -Htn state established sport = :22 | awk '{print \"peer\", $4}'"
    through = lab.run("-vvv", str(inventory), "exec", "--", look, program="pyinfra")
    assert through.status == 0, through.stderr[-2000:]
    lines = [line for line in (through.stdout + through.stderr).splitlines() if "peer " in line and "[compute" in line]
    jumped = {line.split("]")[0] for line in lines if "peer 10.77.0.1:" in line or "peer [::ffff:10.77.0.1]:" in line}
    assert jumped == {"[compute0", "[compute1"}, through.stderr[-2000:]


def _jump_known_hosts(lab: Lab) -> str:
    """The lab's host keys, also under the control host's name, by which a jump asks for it."""
    state = json.loads((lab.home / "lab" / "lab.json").read_text())
    lines = Path(state["known_hosts"]).read_text().splitlines()
    target = lab.home / "jump_known_hosts"
    names = {host["address"]: host["name"] for host in state["hosts"]}
    more = [
        line.replace(address, name, 1)
        for line in lines
        for address, name in names.items()
        if line.startswith(f"{address} ")
    ]
    target.write_text("\n".join([*lines, *more]) + "\n")
    return str(target)
