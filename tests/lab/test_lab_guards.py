"""The lock, the owner's mark, borrowed kernel settings, preflight, the development command.

All in temporary directories.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lab
from lab.__main__ import main
from lab.checks import TOOLS, _no_squashfs, missing_tools
from lab.lock import check_owner, claim, exclusive, release
from lab.processes import supervisor_pid
from lab.settings import borrow, give_back
from lab.system import LabError, run, write_whole

HOLDER = """
import sys
from pathlib import Path
from lab.lock import exclusive
from lab.paths import LabPaths
base = Path(sys.argv[1])
with exclusive(LabPaths(base / "home", base / "cache", base / "run")):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def paths(tmp_path: Path) -> lab.LabPaths:
    return lab.LabPaths(tmp_path / "home", tmp_path / "cache", tmp_path / "run")


def test_the_second_command_waits_and_then_names_the_first(paths: lab.LabPaths, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(lab.__file__).parent.parent)}
    arguments = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(LabError, match=rf"another cluster lab command \(pid {holder.pid}\) is running"),
            exclusive(paths, wait_seconds=0.3),
        ):
            pass
        holder.kill()
    with exclusive(paths, wait_seconds=1.0):
        assert paths.lock_file.read_text() == f"{os.getpid()}\n"


def test_a_lab_of_another_home_is_left_alone_while_that_home_exists(paths: lab.LabPaths, tmp_path: Path) -> None:
    other = lab.LabPaths(tmp_path / "other", tmp_path / "cache", paths.runtime)
    other.home.mkdir()
    claim(other)
    check_owner(other, something_is_up=True)
    check_owner(paths, something_is_up=False)
    with pytest.raises(LabError, match=r"the lab of .*/other is up on this machine"):
        check_owner(paths, something_is_up=True)
    other.home.rmdir()
    check_owner(paths, something_is_up=True)
    release(paths)
    assert not paths.owner_file.exists()


def test_settings_are_raised_once_and_put_back(paths: lab.LabPaths, tmp_path: Path) -> None:
    low, enough = tmp_path / "low", tmp_path / "enough"
    low.write_text("128\n")
    enough.write_text("9000\n")
    needed = {str(low): 4096, str(enough): 4096}
    borrow(paths, needed)
    borrow(paths, needed)
    assert (low.read_text(), enough.read_text()) == ("4096\n", "9000\n")
    give_back(paths)
    give_back(paths)
    assert (low.read_text(), enough.read_text()) == ("128\n", "9000\n")


def test_a_reused_pid_is_not_the_supervisor(paths: lab.LabPaths) -> None:
    directory = paths.host("compute0")
    directory.mkdir(parents=True)
    assert supervisor_pid(paths, "compute0") is None
    (directory / "supervisor.json").write_text(json.dumps({"pid": os.getpid(), "start_time_ticks": 1}))
    assert supervisor_pid(paths, "compute0") is None
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    (directory / "supervisor.json").write_text(json.dumps({"pid": os.getpid(), "start_time_ticks": ticks}))
    assert supervisor_pid(paths, "compute0") == os.getpid()


def test_missing_tools_come_with_one_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("lab.checks.command_environment", lambda: {"PATH": str(tmp_path)})
    (problem,) = missing_tools()
    assert all(tool in problem for tool, _ in TOOLS)
    assert "apt-get install --yes iproute2 mount nftables openssh-client systemd-container util-linux" in problem


def test_every_problem_is_one_line_with_a_fix(monkeypatch: pytest.MonkeyPatch, paths: lab.LabPaths) -> None:
    monkeypatch.setattr("lab.checks.os.geteuid", lambda: 1000)
    monkeypatch.setattr("lab.checks.MINIMUM_FREE_BYTES", 10**18)
    problems = lab.preflight(paths)
    assert problems[0].startswith("not root: ")
    assert sum("free some or set CLUSTER_" in problem for problem in problems) == 2
    assert all("\n" not in problem and ";" in problem for problem in problems)
    with pytest.raises(LabError, match="not root"):
        lab.up(1, lambda _phase, _detail: None, paths.cache, paths)


def test_faults_are_refused_with_the_choices(paths: lab.LabPaths) -> None:
    with pytest.raises(LabError, match=r"'melt' is no fault; choose from crash, freeze, thaw, cut, join"):
        lab.fault("melt", "compute0", paths)
    with pytest.raises(LabError, match="no lab is up"):
        lab.fault("crash", "compute0", paths)


def test_commands_that_fail_hang_or_miss_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"second$"):
        run(["sh", "-c", "echo first >&2; echo second >&2; exit 3"])
    with pytest.raises(LabError, match=r"no end after 0\.2 s"):
        run(["sleep", "5"], timeout_seconds=0.2)
    with pytest.raises(LabError, match="not found"):
        run([str(tmp_path / "missing")])


def test_files_are_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, "one", 0o600)
    write_whole(path, "two", 0o600)
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_the_development_command_tells_bad_usage_from_no_lab(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLUSTER_HOME", str(tmp_path))
    monkeypatch.setenv("CLUSTER_CACHE", str(tmp_path))
    assert main(["up", "0", str(tmp_path)]) == 2
    assert "1 to 64" in capsys.readouterr().err
    assert main(["status"]) == 1
    assert capsys.readouterr().out == "no lab is up\n"


def test_a_kernel_without_squashfs_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    known = tmp_path / "filesystems"
    known.write_text("nodev\tproc\n\text4\n\tsquashfs\n")
    assert _no_squashfs(known) == []

    def no_module(_arguments: list[str]) -> None:
        raise LabError("modprobe: module not found")

    monkeypatch.setattr("lab.checks.run", no_module)
    known.write_text("\text4\n")
    (problem,) = _no_squashfs(known)
    assert problem.startswith("this kernel mounts no squashfs")
