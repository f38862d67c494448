"""Every fact's command, run for real on this machine, which need have neither GPU nor any vendor's tool."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import FactValueError

import facts.parse
from facts import amd, clock, commands, cpu, host, memory, network, npu, nvidia
from facts.parse.sections import parse_sections

REPOSITORY = Path(__file__).parents[2]
EVERY_FACT: list[tuple[Any, tuple[str, ...]]] = [
    (nvidia.Gpus(), ()),
    (nvidia.Topology(), ()),
    (amd.Gpus(), ()),
    (npu.Npus(), ()),
    (cpu.Cpu(), ()),
    (memory.Memory(), ()),
    (memory.SharedMemory(), ()),
    (memory.Disk(), ("/",)),
    (network.Interfaces(), ()),
    (network.Resolution(), ("localhost",)),
    (network.Listening(), ()),
    (clock.Clock(), ()),
    (host.Host(), ()),
]


def identify(value: Any) -> str:
    return str(getattr(value, "name", ""))


@pytest.mark.parametrize(("fact", "arguments"), EVERY_FACT, ids=identify)
def test_command_runs_and_its_output_is_parsed(fact: Any, arguments: tuple[str, ...], shell: Any) -> None:
    report = fact.process(shell(fact.command(*arguments)))
    assert json.loads(json.dumps(report.to_json()))


@pytest.mark.parametrize(("fact", "arguments"), EVERY_FACT, ids=identify)
def test_command_succeeds_with_no_tool_but_the_shell(
    fact: Any, arguments: tuple[str, ...], shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = fact.command(*arguments)
    bare = command.replace(':/usr/local/sbin:/usr/sbin:/sbin:/opt/rocm/bin:/usr/lib/wsl/lib"', '"')
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "sh").symlink_to("/bin/sh")
    assert parse_sections(shell(bare))


def test_pyinfra_prints_a_report_as_json() -> None:
    # In a process of its own: pyinfra's command line patches the standard library.
    command = [sys.executable, "-m", "pyinfra", "@local", "fact", "facts.memory.Disk", "path=/", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, cwd=REPOSITORY)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("{")]
    (hosts,) = json.loads(line).values()
    assert hosts["@local"]["mount_point"] == "/"


@pytest.mark.skipif(bool(shutil.which("nvidia-smi")), reason="this machine has nvidia-smi")
def test_nvidia_tool_is_missing_here(shell: Any) -> None:
    fact = nvidia.Gpus()
    report = fact.process(shell(fact.command()))
    assert (report.tool, report.gpus) == ("missing", ())


@pytest.mark.skipif(Path("/opt/rocm").exists() or Path("/dev/kfd").exists(), reason="this machine has ROCm")
def test_amd_tools_are_missing_here(shell: Any) -> None:
    fact = amd.Gpus()
    report = fact.process(shell(fact.command()))
    assert (report.tool, report.source, report.gpus) == ("missing", "", ())


def test_tools_are_found_and_their_failure_is_kept(shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A stand-in for a driver that is not loaded: the real tool exits 9 with this text.
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf 'NVIDIA-SMI has failed'\nexit 9\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    fact = nvidia.Gpus()
    report = fact.process(shell(fact.command()))
    assert (report.tool, report.detail) == ("failed", "nvidia-smi exited 9: NVIDIA-SMI has failed")


def test_disk_of_a_path_that_does_not_exist_yet(shell: Any, tmp_path: Path) -> None:
    fact = memory.Disk()
    report = fact.process(shell(fact.command(str(tmp_path / "not yet" / "it's $HOME; false"))))
    assert report.free_bytes > 0
    assert tmp_path.is_relative_to(report.mount_point)


def test_own_name_is_resolved_without_an_argument(shell: Any) -> None:
    fact = network.Resolution()
    assert fact.process(shell(fact.command())).host_name == os.uname().nodename


def test_listening_sees_a_socket_of_this_process(shell: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        fact = network.Listening()
        found = [item for item in fact.process(shell(fact.command())).sockets if item.port == port]
    assert [item.address for item in found] == ["127.0.0.1"]
    if shutil.which("ss"):
        assert found[0].process_id == os.getpid()


def test_clock_reads_between_question_and_answer(shell: Any) -> None:
    fact = clock.Clock()
    asked = time.time()
    report = fact.process(shell(fact.command()))
    assert asked <= report.epoch_seconds <= time.time()


@pytest.mark.parametrize("value", ["", "-rf", "--option"])
def test_values_that_look_like_options_are_refused(value: str) -> None:
    with pytest.raises(FactValueError, match="no usable argument"):
        commands.argument(value)


def test_relative_path_is_refused() -> None:
    with pytest.raises(FactValueError, match="not an absolute path"):
        memory.Disk().command("relative")


def test_hostile_name_is_quoted(shell: Any, tmp_path: Path) -> None:
    target = tmp_path / "made"
    fact = network.Resolution()
    report = fact.process(shell(fact.command(f"x'; touch {target}; '")))
    assert report.addresses == ()
    assert not target.exists()


def test_parsers_do_not_know_pyinfra() -> None:
    for module in pkgutil.iter_modules(facts.parse.__path__):
        source = Path(str(importlib.import_module(f"facts.parse.{module.name}").__file__)).read_text()
        assert "import pyinfra" not in source
        assert "from pyinfra" not in source


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "section a is absent; found: none"),
        (["##begin a", "text"], "no end line after 1 lines"),
        (["##begin b", "##end b 0"], "section a is absent; found: b"),
        (["##begin a", "##end b 0"], "section a: no end line"),
    ],
)
def test_output_without_its_sections_is_a_value_error(lines: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_sections(lines, "a")
