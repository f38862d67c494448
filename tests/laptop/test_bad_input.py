"""Bad input gets one line that says what, where and how to mend it, exit 2, and changes nothing.

What is refused before a host is asked runs in this process. No engine is started.
"""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.operated_lab import Done
from facts.sources import REPOSITORY
from tests.conftest import Typed
from tests.laptop.conftest import Operator

Refused = Callable[..., str]

# As somebody writes it who starts from inventories/laptop.py: two workers, and what the tests change is in one place.
LAPTOP = """
import getpass

from hardware.laptop import CLUSTER
from inventories.composition.compose import Serving, Site, compose

control, compute = compose(
    CLUSTER,
    addresses={"head": "127.0.0.10", "worker1": "127.0.0.11", "worker2": "127.0.0.12"},
    serving=Serving(model="smollm2-135m-instruct", dtype="float32", enforce_eager=True),
    site=Site(
        login_user=getpass.getuser(),
        service_user=getpass.getuser(),
        service_manager="supervisor",
        shared_files=True,
        connector="loopback",
    ),
)
"""


@pytest.fixture
def refused(typed: Typed, home: Path) -> Refused:
    """refused("up") is the line that an operator reads, who has nothing before and after."""

    def run(*words: str) -> str:
        status, out, err = typed(*words)
        assert (status, out, [*home.rglob("*")]) == (2, "", []), err
        return Done(status, out, err).complaint

    return run


@pytest.fixture
def free_machine() -> None:
    """Skips where another cluster has Ray's ports: that one is named first, and rightly."""
    with socket.socket() as probe:
        try:
            probe.bind(("", 6379))
        except OSError:
            pytest.skip("port 6379 is taken: a cluster runs on this machine")


def _refused(operator: Operator, *arguments: str, **extra: str) -> str:
    before = operator.files()
    done = operator.cluster(*arguments, extra=extra)
    assert done.status == 2, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert operator.files() == before
    return done.complaint


def _inventory(tmp_path: Path, text: str, name: str = "mine.py") -> str:
    path = tmp_path / name
    path.write_text(text)
    return str(path)


@pytest.mark.usefixtures("free_machine")
def test_a_model_that_does_not_fit_is_refused_before_anything_is_fetched(operator: Operator, tmp_path: Path) -> None:
    """57 GiB of weights twice on one machine; in a cache of its own, to see that nothing comes into it."""
    text = LAPTOP.replace("smollm2-135m-instruct", "qwen3-30b-a3b").replace('"float32"', '"bfloat16"')
    place = _inventory(tmp_path, text.replace('connector="loopback"', 'connector="loopback", shared_processors=True'))
    cache = tmp_path / "cache"
    said = _refused(operator, "-c", place, "up", CLUSTER_CACHE=str(cache))
    assert "worker1: qwen3-30b-a3b does not fit: it needs 60.2 GiB; the host has" in said
    assert "too little; take a smaller or a quantised model" in said and len(said.strip().splitlines()) == 1
    # pyinfra alone, without the first look.
    done = subprocess.run(
        [str(Path(sys.executable).parent / "pyinfra"), "-y", place, "deploys/all.py"],
        cwd=REPOSITORY,
        env={**operator.environment, "CLUSTER_CACHE": str(cache)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert "qwen3-30b-a3b does not fit" in done.stderr + done.stdout and "Starting operation" not in done.stderr
    assert not cache.exists() and not (operator.home / "laptop" / "nodes").exists()


@pytest.mark.parametrize("command", ["up", "down", "status", "verify", "doctor"])
def test_an_unknown_cluster(refused: Refused, command: str) -> None:
    said = refused("-c", "nowhere", command)
    assert "no cluster 'nowhere'" in said
    assert "laptop" in said


def test_an_unknown_command(refused: Refused) -> None:
    assert "no command 'upp'" in refused("upp")


@pytest.mark.parametrize("module", ["compose", "models", "operator", "jump", "__init__"])
def test_a_module_that_is_no_inventory(refused: Refused, module: str) -> None:
    assert "no cluster" in refused("-c", module, "up")


def test_an_inventory_without_hosts(refused: Refused, tmp_path: Path) -> None:
    said = refused("-c", _inventory(tmp_path, "control = []\ncompute = []\n"), "up")
    assert "mine.py: no hosts in group `control`" in said
    assert "inventories/laptop.py" in said


def test_an_inventory_that_is_no_python(refused: Refused, tmp_path: Path) -> None:
    assert "mine.py:1" in refused("-c", _inventory(tmp_path, "control = [\n"), "up")


def test_hosts_without_settings(refused: Refused, tmp_path: Path) -> None:
    text = "control = [('a', {})]\ncompute = [('b', {})]\n"
    assert "inventories.composition.compose.compose()" in refused("-c", _inventory(tmp_path, text), "up")


def test_a_malformed_profile(refused: Refused, tmp_path: Path) -> None:
    text = LAPTOP.replace("from hardware.laptop import CLUSTER", _BAD_PROFILE)
    said = refused("-c", _inventory(tmp_path, text), "up")
    assert "node name 'control_0_1' is no host name" in said
    assert "control-0-1" in said


_BAD_PROFILE = """
from hardware.model import Cluster, Node
CLUSTER = Cluster(
    name="mine", version="1", control=Node(name="control_0_1", role="control", board="NUC", cluster_interface="eth0"),
    compute=(Node(name="worker1", role="compute", board="PC", cluster_interface="eth0"),),
)
"""


def test_an_address_that_is_none(refused: Refused, tmp_path: Path) -> None:
    text = LAPTOP.replace("127.0.0.11", "127.0.0.300")
    said = refused("-c", _inventory(tmp_path, text), "up")
    assert "worker1" in said
    assert "127.0.0.300" in said


def test_the_lab_before_it_is_up(refused: Refused) -> None:
    assert "cluster lab up" in refused("-c", "lab", "status")


def test_a_host_that_cannot_be_reached(operator: Operator, tmp_path: Path) -> None:
    """Nothing listens for SSH on this loopback address."""
    said = _refused(operator, "-c", _inventory(tmp_path, _SSH_INVENTORY), "up")
    assert "head (127.0.0.77) cannot be reached" in said
    assert "switched on" in said


_SSH_INVENTORY = """
from hardware.laptop import CLUSTER
from inventories.composition.compose import Serving, Site, compose

control, compute = compose(
    CLUSTER,
    addresses={"head": "127.0.0.77", "worker1": "127.0.0.78", "worker2": "127.0.0.79"},
    serving=Serving(model="smollm2-135m-instruct"),
    site=Site(login_user="nobody", connection={"ssh_user": "nobody", "ssh_port": 1, "ssh_config_file": "/dev/null"}),
    connections={name: {"ssh_hostname": address} for name, address in
                 {"head": "127.0.0.77", "worker1": "127.0.0.78", "worker2": "127.0.0.79"}.items()},
)
"""


@pytest.mark.usefixtures("free_machine")
def test_a_port_that_is_taken(operator: Operator, tmp_path: Path) -> None:
    """On addresses of its own, so that a laptop cluster that is up does not matter."""
    text = LAPTOP.replace("127.0.0.1", "127.0.5.1").replace("CLUSTER,\n", 'CLUSTER,\n    name="ported",\n', 1)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.5.10", 8265))
        taken.listen()
        said = _refused(operator, "-c", _inventory(tmp_path, text), "up")
    assert "port 8265 on 127.0.5.10" in said
    assert "is taken by" in said


def _model(cache: Path) -> Path:
    directory = cache / "models" / "smollm2-135m-instruct"
    directory.mkdir(parents=True)
    files = {"config.json": b"{}", "model.safetensors": b"0" * 64}
    for name, content in files.items():
        (directory / name).write_bytes(content)
    manifest = {name: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for name, c in files.items()}
    (directory / "manifest.json").write_text(json.dumps({"files": manifest}))
    return directory


@pytest.mark.usefixtures("free_machine")
def test_a_model_directory_that_nobody_verified(operator: Operator, tmp_path: Path) -> None:
    (_model(tmp_path / "cache") / "manifest.json").unlink()
    assert "manifest.json is missing" in _refused(operator, "up", CLUSTER_CACHE=str(tmp_path / "cache"))


def test_a_home_that_cannot_be_written(operator: Operator) -> None:
    said = _refused(operator, "up", CLUSTER_HOME="/proc/nothing")
    assert "CLUSTER_HOME" in said


@pytest.mark.parametrize("nodes", ["0", "65", "many"])
def test_a_lab_of_no_size(operator: Operator, nodes: str) -> None:
    done = operator.cluster("lab", "up", "--nodes", nodes)
    assert done.status == 2
    assert "--nodes" in done.stderr


def test_help_and_completion(operator: Operator) -> None:
    told = operator.cluster("--help")
    assert told.status == 0
    for name in ("up", "down", "status", "verify", "ask", "chat", "doctor", "lab", "control", "doc"):
        assert name in told.stdout
    for shell in ("bash", "zsh", "fish"):
        assert "_CLUSTER_COMPLETE" in operator.cluster("completion", shell).stdout
