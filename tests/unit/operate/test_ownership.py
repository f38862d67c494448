"""A cluster is its inventory: a state directory has one, and another is refused while something of it runs.

What runs is a real supervisor of the laptop's worker1, with a service of that name that sleeps.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from inventories.composition.operator import write_whole
from operate import clusters, ownership
from operate.clusters import ClusterInventory
from operate.errors import OperatorError
from tests.conftest import Typed

REPOSITORY = Path(__file__).parents[3]
AWAY = """
from hardware.laptop import CLUSTER
from inventories.composition.compose import Serving, Site, compose

control, compute = compose(
    CLUSTER,
    addresses={"head": "127.0.0.77", "worker1": "127.0.0.78", "worker2": "127.0.0.79"},
    serving=Serving(model="smollm2-135m-instruct"),
    site=Site(login_user="nobody", connection={"ssh_user": "nobody", "ssh_port": 1, "ssh_config_file": "/dev/null"}),
)
"""


@pytest.fixture
def copied(home: Path, tmp_path: Path) -> ClusterInventory:
    """A copy of the laptop's inventory, as somebody makes who wants to try something."""
    file = tmp_path / "dup.py"
    shutil.copy(REPOSITORY / "inventories" / "laptop.py", file)
    return clusters.read(str(file))


@pytest.fixture
def laptop(home: Path) -> ClusterInventory:
    """The laptop, whose inventory has changed something: the state directory is its own."""
    cluster = clusters.read("laptop")
    with ownership.exclusive(cluster, "up"):
        pass
    return cluster


@contextlib.contextmanager
def running(cluster: ClusterInventory) -> Iterator[None]:
    """A supervisor with a service, where the cluster's own would be."""
    own = cluster.directory / "nodes" / "worker1" / "supervisor"
    own.parent.mkdir(parents=True)
    # Elsewhere: the path of a socket may have 107 characters.
    place = Path(tempfile.mkdtemp())
    own.symlink_to(place)
    (place / "supervisord.conf").write_text(
        "[supervisord]\nnodaemon=true\n[unix_http_server]\nfile=control.sock\n"
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
        "[program:cluster-ray-worker]\ncommand=sleep 600\nstartsecs=0\n"
    )
    program = Path(sys.executable).parent / "supervisord"
    with subprocess.Popen(
        [str(program), "-c", "supervisord.conf"], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        assert any("entered RUNNING state" in line for line in process.stdout)
        try:
            yield
        finally:
            process.terminate()
    shutil.rmtree(place)


def test_the_first_that_changes_the_cluster_has_it(laptop: ClusterInventory) -> None:
    assert (laptop.directory / "inventory").read_text() == f"{REPOSITORY / 'inventories' / 'laptop.py'}\n"
    assert ownership.owner(laptop) == laptop.path


@pytest.mark.parametrize("command", ["down", "status"])
def test_a_copy_is_refused_while_the_cluster_runs(
    laptop: ClusterInventory, copied: ClusterInventory, typed: Typed, command: str
) -> None:
    with running(laptop):
        status, out, err = typed("-c", copied.given, command)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert f"cluster: {copied.given}: cluster laptop is {laptop.path}'s, and runs on worker1" in err
        assert f"`cluster -c {laptop.path} down`" in err
        assert "compose(..., name='dup')" in err
        assert ownership.load("laptop") == laptop, "its own inventory goes on"
        with pytest.raises(OperatorError, match="runs on worker1"), ownership.exclusive(copied, "up"):
            pass
    assert ownership.owner(copied) == laptop.path


def test_it_is_handed_over_as_the_refusal_says(laptop: ClusterInventory, copied: ClusterInventory) -> None:
    with running(laptop):
        with pytest.raises(OperatorError) as refused:
            ownership.refuse_another(copied)
        subprocess.run(str(refused.value).partition("hand it over: ")[2], shell=True, check=True)  # noqa: S602
        ownership.refuse_another(copied)
        with pytest.raises(OperatorError, match=r"laptop: cluster laptop is .*dup.py's"):
            ownership.refuse_another(laptop)


def test_what_pyinfra_alone_brought_up_is_the_projects_own(home: Path, copied: ClusterInventory) -> None:
    (home / "laptop" / "secrets").mkdir(parents=True)
    with running(copied), pytest.raises(OperatorError, match=r"is .*inventories/laptop.py's, and runs on worker1"):
        ownership.refuse_another(copied)


def test_where_nothing_runs_the_next_one_has_it(laptop: ClusterInventory, copied: ClusterInventory) -> None:
    ownership.refuse_another(copied)
    assert ownership.owner(copied) == laptop.path, "looking takes nothing"
    with ownership.exclusive(copied, "up"):
        pass
    assert ownership.owner(laptop) == copied.path


@pytest.mark.parametrize("gone", ["the file", "the name"])
def test_a_moved_or_renamed_inventory_lets_go(copied: ClusterInventory, home: Path, gone: str) -> None:
    laptop = clusters.read("laptop")
    with ownership.exclusive(copied, "up"), running(copied):
        if gone == "the file":
            copied.path.unlink()
        else:
            text = copied.path.read_text()
            copied.path.write_text(text.replace('_name = "laptop"', '_name = "mine"'))
        ownership.refuse_another(laptop)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (AWAY, "and head, worker1, worker2 cannot be asked whether it runs"),
        ("import nothing_like_this", "which cannot be asked whether it runs .*No module named 'nothing_like_this'"),
    ],
)
def test_what_cannot_be_asked_may_run(home: Path, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    write_whole(home / "laptop" / "inventory", f"{file}\n")
    with pytest.raises(OperatorError, match=f"cluster laptop is {file}'s, {said}"):
        ownership.load("laptop")


def test_a_name_of_its_own_is_a_cluster_of_its_own(laptop: ClusterInventory, copied: ClusterInventory) -> None:
    text = copied.path.read_text()
    copied.path.write_text(text.replace('_name = "laptop"', '_name = "dup"'))
    with running(laptop):
        assert ownership.load(copied.given).name == "dup"


def test_remedies_name_the_cluster_as_its_operator_does(copied: ClusterInventory, tmp_path: Path) -> None:
    assert copied.command == f"cluster -c {copied.path}"
    assert copied.name == "laptop", "it is named as what it touches"
    said = 'run "cluster up --only compute_base", or `cluster models`; the cluster is up'
    assert clusters.read("laptop").named(said) == (
        'run "cluster -c laptop up --only compute_base", or `cluster -c laptop models`; the cluster is up'
    )
    place = tmp_path / "two words"
    place.mkdir()
    other = clusters.read(str(shutil.copy(copied.path, place)))
    assert other.command == f"cluster -c '{place}/dup.py'"


@contextlib.contextmanager
def holder(home: Path) -> Iterator[int]:
    """Another process that has the cluster."""
    code = (
        "import sys; from operate import clusters, ownership\n"
        "with ownership.exclusive(clusters.read('laptop'), 'up'): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process.pid
        process.kill()


def test_one_changing_command_at_a_time(home: Path) -> None:
    cluster = clusters.read("laptop")
    with (
        holder(home) as pid,
        pytest.raises(OperatorError, match=rf"down: process {pid} \(up\) is at work on this cluster"),
        ownership.exclusive(cluster, "down"),
    ):
        pass
    with ownership.exclusive(cluster, "down"):
        assert (home / "laptop" / "lock").read_text() == f"process {os.getpid()} (down)"
    assert (home / "laptop" / "lock").read_text() == ""


def test_a_state_directory_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER_HOME", "/proc/nothing")
    with (
        pytest.raises(OperatorError, match="set CLUSTER_HOME"),
        ownership.exclusive(clusters.read("laptop"), "up"),
    ):
        pass
