"""Operations that write: directories, managed files and secrets, against what their facts' commands print."""

from __future__ import annotations

import hashlib
import os
import posixpath
import pwd
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops

from deploys.files import ManagedFile
from deploys.operations import directories, managed
from deploys.settings import Settings
from facts.directories import Contents, Directories
from facts.files import Digests

FILE = ManagedFile("/etc/cluster/a.conf", "content\n", owner="root")
OTHER = ManagedFile("/etc/systemd/system/b.service", "[Unit]\n", mode="0600", owner="root")


def digests(*files: ManagedFile, **changes: str) -> list[str]:
    """What the fact's command prints of files as they are declared, but for `changes` of the first."""
    lines = ["digests"]
    for index, file in enumerate(files):
        mode, owner, digest = file.mode.removeprefix("0"), file.owner or "admin", file.sha256
        if index == 0:
            mode, owner = changes.get("mode", mode), changes.get("owner", owner)
            digest = changes.get("sha256", digest)
        lines += [f"s {mode} {owner} {file.path}", f"h {digest}  {file.path}"]
    return lines


def settled(file: ManagedFile) -> list[str]:
    staged = f"{file.path}.cluster-new"
    owner = [f"chown -- {file.owner} {staged}"] if file.owner else []
    return [
        f"upload {staged}",
        *owner,
        f"chmod {file.mode} -- {staged}",
        f"mv -fT {staged} {file.path} || {{ cp {staged} {file.path}; }}",
    ]


def test_files_as_declared(given_host: Any, unchanged: Any) -> None:
    unchanged(given_host.run(managed.write_files, {Digests: digests(FILE, OTHER)}, files=(FILE, OTHER)))
    assert len({str(arguments) for _, arguments in given_host.asked}) == 1, "one look, however many files"


def test_a_file_of_no_declared_owner_may_be_anyones(given_host: Any, unchanged: Any) -> None:
    free = replace(FILE, owner="")
    unchanged(given_host.run(managed.write_files, {Digests: digests(free)}, files=(free,)))


@pytest.mark.parametrize("change", [{"mode": "640"}, {"owner": "admin"}, {"sha256": "0" * 64}])
def test_a_file_that_differs_is_written_whole(given_host: Any, change: dict[str, str]) -> None:
    outcome = given_host.run(managed.write_files, {Digests: digests(FILE, OTHER, **change)}, files=(FILE, OTHER))
    assert outcome.commands == ["mkdir -p -- /etc/cluster", *settled(FILE)]
    assert outcome.uploads == {"/etc/cluster/a.conf.cluster-new": "content\n"}
    assert outcome.noops == []


def test_files_that_are_absent(given_host: Any) -> None:
    outcome = given_host.run(managed.write_files, {Digests: ["digests"]}, files=(FILE, OTHER))
    assert outcome.commands == ["mkdir -p -- /etc/cluster /etc/systemd/system", *settled(FILE), *settled(OTHER)]


def test_what_is_not_declared_below_a_directory_goes(given_host: Any, unchanged: Any) -> None:
    place = {"directory": "/etc/cluster", "declared": frozenset({FILE.path, OTHER.path})}
    earlier = replace(FILE, path="/etc/cluster/of an earlier version.py")
    outcome = given_host.run(managed.write_files, {Digests: digests(FILE, earlier)}, files=(FILE,), **place)
    assert outcome.commands == ["rm -f -- '/etc/cluster/of an earlier version.py'"]
    unchanged(given_host.run(managed.write_files, {Digests: digests(FILE, OTHER)}, files=(FILE,), **place))


def test_awkward_paths_are_quoted(given_host: Any) -> None:
    file = ManagedFile("/etc/it's here/$x", "a\n")
    outcome = given_host.run(managed.write_files, {Digests: ["digests"]}, files=(file,))
    assert outcome.commands[0] == """mkdir -p -- '/etc/it'"'"'s here'"""
    assert outcome.commands[2] == """chmod 0644 -- '/etc/it'"'"'s here/$x.cluster-new'"""


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "ray-token"
    file.write_text("0123456789abcdef")
    return file


def secret_state(secret: Path, mode: str = "400", owner: str = "cluster", digest: str = "") -> list[str]:
    digest = digest or hashlib.sha256(secret.read_bytes()).hexdigest()
    return ["digests", f"s {mode} {owner} /etc/cluster/ray-token", f"h {digest}  /etc/cluster/ray-token"]


def write_secret(given_host: Any, secret: Path, lines: list[str], owner: str = "cluster") -> Any:
    return given_host.run(
        managed.write_secrets, {Digests: lines}, secrets={str(secret): "/etc/cluster/ray-token"}, owner=owner
    )


def test_secrets_in_place(given_host: Any, unchanged: Any, secret: Path) -> None:
    unchanged(write_secret(given_host, secret, secret_state(secret)))
    unchanged(write_secret(given_host, secret, secret_state(secret, owner="someone"), owner=""))


@pytest.mark.parametrize("change", [{"mode": "440"}, {"owner": "root"}, {"digest": "0" * 64}, None])
def test_a_secret_that_differs(given_host: Any, secret: Path, change: dict[str, str] | None) -> None:
    lines = ["digests"] if change is None else secret_state(secret, **change)
    outcome = write_secret(given_host, secret, lines)
    staged = "/etc/cluster/ray-token.cluster-new"
    assert outcome.commands[0] == "mkdir -p -- /etc/cluster"
    assert outcome.commands[-1].startswith(f"mv -fT {staged} /etc/cluster/ray-token")
    assert f"chmod 0400 -- {staged}" in outcome.commands
    assert any(command.startswith("chown -- cluster") and command.endswith(staged) for command in outcome.commands)
    # Closed before the secret is in it, at both places; the one that it passes through is gone afterwards.
    (upload,) = outcome.uploads
    passing = str(Path(upload).parent)
    position = outcome.commands.index(f"upload {upload}")
    assert outcome.commands[position - 1] == f"rm -rf {passing}; mkdir -m 0700 {passing}"
    assert outcome.commands[position + 1] == f"umask 077; cat {upload} > {staged}; rm -rf {passing}"
    assert secret.read_text() not in "".join(outcome.commands)


def stated(settings: Settings) -> dict[str, tuple[str, str]]:
    """Owner and mode of the directories of a managed compute node."""
    places = settings.directories
    return {
        places.library: ("root", "755"),
        places.configuration: ("root", "755"),
        places.state: ("cluster", "750"),
    }


def lines_of(wanted: dict[str, tuple[str, str]]) -> list[str]:
    return ["directories", *(f"directory:{owner}:{mode}:{path}" for path, (owner, mode) in wanted.items())]


def test_directories_as_declared(given_host: Any, unchanged: Any, composed: Any) -> None:
    settings = composed()["compute0"]
    assert posixpath.dirname(settings.directories.ray) == settings.directories.state
    unchanged(given_host.run(directories.make, {Directories: lines_of(stated(settings))}, settings=settings))


@pytest.mark.parametrize("state", [None, ("root", "750"), ("cluster", "755")])
def test_a_directory_that_differs(given_host: Any, composed: Any, state: tuple[str, str] | None) -> None:
    settings = composed()["compute0"]
    found: dict[str, Any] = {**stated(settings), settings.directories.state: state}
    if state is None:
        del found[settings.directories.state]
    outcome = given_host.run(directories.make, {Directories: lines_of(found)}, settings=settings)
    assert outcome.commands == [
        "mkdir -p -- /var/lib/cluster",
        "chown -- cluster /var/lib/cluster",
        "chmod 0750 -- /var/lib/cluster",
    ]


def test_the_control_node_has_directories_for_runtime_and_models(given_host: Any, composed: Any) -> None:
    settings = composed()["control"]
    outcome = given_host.run(directories.make, {Directories: lines_of(stated(settings))}, settings=settings)
    assert [command for command in outcome.commands if command.startswith("mkdir")] == [
        "mkdir -p -- /var/lib/cluster/models",
        "mkdir -p -- /opt/cluster/runtime",
    ]


def test_without_root_nobody_is_made_owner(given_host: Any, composed: Any) -> None:
    settings = composed(managed=False)["compute0"]
    outcome = given_host.run(directories.make, {Directories: ["directories"]}, settings=settings)
    assert not [command for command in outcome.commands if command.startswith("chown")]
    assert f"chmod 0700 -- {posixpath.dirname(settings.directories.ray)}" in outcome.commands


def test_files_on_this_machine_twice(tmp_path: Path) -> None:
    """The whole way, with pyinfra's own facts and connector: the second time nothing changes."""
    owner = pwd.getpwuid(os.geteuid()).pw_name
    files = (
        ManagedFile(str(tmp_path / "a place" / "it's.conf"), "one\n"),
        ManagedFile(str(tmp_path / "b.conf"), "two\n", mode="0600", owner=owner),
    )

    def deploy() -> tuple[int, int]:
        state = State(Inventory((["@local"], {})), Config())
        connect_all(state)
        add_op(state, managed.write_files, name="Write files of a test", files=files)
        run_ops(state)
        disconnect_all(state)
        (host,) = state.inventory
        return state.results[host].error_ops, state.meta[host].ops_change

    assert deploy() == (0, 1)
    assert [Path(file.path).read_text() for file in files] == ["one\n", "two\n"]
    assert [oct(Path(file.path).stat().st_mode & 0o7777) for file in files] == ["0o644", "0o600"]
    assert deploy() == (0, 0)
    Path(files[0].path).write_text("altered\n")
    assert deploy() == (0, 1)
    assert Path(files[0].path).read_text() == "one\n"
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == ["a place", "b.conf", "it's.conf"]


def test_a_directory_is_emptied_but_for_what_is_kept(given_host: Any, unchanged: Any) -> None:
    names = ["contents", "session_latest", "session_2026-11-29_14-36-12", "worker1.proofs.jsonl", "-f"]
    outcome = given_host.run(
        directories.empty, {Contents: names}, path="/var/lib/cluster/ray", keep=("*.jsonl", "*.node-manager-port")
    )
    (command,) = outcome.commands
    assert shlex.split(command) == [
        *("rm", "-rf", "--"),
        *(f"/var/lib/cluster/ray/{name}" for name in ("session_latest", "session_2026-11-29_14-36-12", "-f")),
    ]
    for left in (["contents"], ["contents", "worker1.proofs.jsonl"]):
        unchanged(given_host.run(directories.empty, {Contents: left}, path="/var/lib/cluster/ray", keep=("*.jsonl",)))
