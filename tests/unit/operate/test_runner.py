"""Deploys and facts by real pyinfra on this machine alone: what is heard while it works, and how it fails."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from operate import runner
from operate.errors import DOES_NOT_HOLD, OperatorError
from operate.runner import FactRequest
from tests.unit.operate.conftest import Seen, Watched


class Heard(list[tuple[str, str]]):
    """A listener that keeps what it hears."""

    def __call__(self, kind: str, text: str) -> None:
        self.append((kind, text))

    def has(self, kind: str, text: str) -> bool:
        return any(heard == kind and text in said for heard, said in self)


@pytest.fixture
def here(watched: Watched, tmp_path: Path) -> Seen:
    """A cluster whose hosts are this machine, for pyinfra under one name."""
    seen = watched(managed=False)
    inventory = tmp_path / "here.py"
    inventory.write_text("hosts = ['@local']\n")
    control = replace(seen.cluster.control, target="@local", data={})
    seen.cluster = replace(seen.cluster, path=inventory, hosts=(control,))
    return seen


def deploy(here: Seen, tmp_path: Path, body: str, heard: Heard) -> runner.DeployResult:
    file = tmp_path / "deploy.py"
    file.write_text(f"from pyinfra.operations import files, server\n{body}\n")
    return runner.deploy(here.cluster, str(file), heard)


def test_a_deploy_is_heard_and_its_second_run_changes_nothing(here: Seen, tmp_path: Path) -> None:
    body = f"files.directory(name='Make a place', path={str(tmp_path / 'place')!r})"
    heard = Heard()
    assert deploy(here, tmp_path, body, heard).changed == 1
    assert heard.has("operation", "Make a place") and heard.has("host", "@local Success")
    again = Heard()
    assert deploy(here, tmp_path, body, again).changed == 0
    assert again.has("host", "@local No changes")


def test_data_and_limit_reach_pyinfra(here: Seen, tmp_path: Path) -> None:
    file = tmp_path / "deploy.py"
    file.write_text(
        "from pyinfra import host\nfrom pyinfra.operations import server\n"
        "server.shell(name=f'Say {host.data.get(\"word\")}', commands=['true'])\n"
    )
    heard = Heard()
    runner.deploy(here.cluster, str(file), heard, limit="@local", data={"word": "hello"})
    assert heard.has("operation", "Say hello")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("server.shell(name='Fail', commands=['echo the disk is full >&2; false'])", "@local: the disk is full"),
        ("raise RuntimeError('no such plan')", "no such plan"),
        ("import os\nos._exit(0)", "pyinfra stopped"),
    ],
)
def test_a_deploy_that_fails_says_what_was_said(here: Seen, tmp_path: Path, body: str, said: str) -> None:
    heard = Heard()
    with pytest.raises(OperatorError) as failed:
        deploy(here, tmp_path, body, heard)
    assert failed.value.exit_code == DOES_NOT_HOLD
    assert str(failed.value).startswith("lab: ") and said in str(failed.value)


def test_a_traceback_is_told_by_its_exception_alone(here: Seen, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("def deep():\n    raise ValueError('no disk')\n\ndeep()\n")
    heard = Heard()
    with pytest.raises(OperatorError) as failed:
        deploy(here, tmp_path, f"server.shell(name='Fail', commands=['python3 {program}'])", heard)
    assert str(failed.value) == "lab: @local: ValueError: no disk"
    assert not any(word in text for word in ("Traceback", "File", "executed") for _, text in heard)


def test_ctrl_c_stops_pyinfra_and_is_raised(here: Seen, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored for what runs in the background

    class Impatient(Heard):
        def __call__(self, kind: str, text: str) -> None:
            if kind == "operation":
                os.kill(os.getpid(), signal.SIGINT)

    try:
        with pytest.raises(KeyboardInterrupt):
            deploy(here, tmp_path, "server.shell(name='Wait', commands=['sleep 300'])", Impatient())
    finally:
        signal.signal(signal.SIGINT, before)


def test_facts_and_why_others_could_not_be_read(here: Seen) -> None:
    name = "@local"
    asked = [
        FactRequest("memory", "facts.memory.Memory"),
        FactRequest("files", "facts.files.Digests", {"paths": ["/etc/hostname-that-is-not"]}),
        FactRequest("unknown", "facts.nothing.Nothing"),
        FactRequest("wrong", "facts.memory.Disk", {"nonsense": 1}),
    ]
    found = runner.observe(here.cluster, {name: asked})[name]
    assert (found.connected, found.error) == (True, "")
    assert found.facts["memory"]["total_bytes"] > 0 and set(found.facts) == {"memory", "files"}
    assert "facts.nothing" in found.errors["unknown"] and found.errors["wrong"]
    began, ended = found.times["memory"]
    assert began <= ended


def test_a_host_that_cannot_be_reached_does_not_hold_up_the_others(here: Seen, watched: Watched) -> None:
    nowhere = {"ssh_port": 1, "ssh_config_file": "/dev/null"}
    away = replace(watched(managed=False).cluster.compute[0], target="127.0.0.77", data=nowhere)
    cluster = replace(here.cluster, hosts=(here.cluster.control, away))
    found = runner.observe(cluster, {"@local": [FactRequest("memory", "facts.memory.Memory")]})
    assert found["@local"].facts["memory"]
    assert not found["127.0.0.77"].connected and found["127.0.0.77"].error
