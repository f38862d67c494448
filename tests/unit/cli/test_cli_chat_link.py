"""The way through SSH: a real sshd of the test's own, on loopback, and the server that stands for the gateway."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from operate import clusters
from operate.chat.answer import Answer
from operate.chat.failures import ChatError, Unreachable
from operate.chat.link import Forward, Link
from tests.openai_server import OpenAiServer, Place, Reply, chunk

SSH_ADDRESS = "127.0.6.20"


@dataclass(frozen=True)
class Sshd:
    """Where it listens and what lets one in."""

    port: int
    directory: Path
    process: subprocess.Popen[bytes]

    @property
    def command(self) -> list[str]:
        """ssh to it."""
        return [
            *("ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-i", str(self.directory / "key")),
            *("-o", f"UserKnownHostsFile={self.directory / 'known_hosts'}", "-p", str(self.port)),
            f"{getpass.getuser()}@{SSH_ADDRESS}",
        ]


def free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def separation() -> Iterator[None]:
    """The empty directory that sshd wants when root starts it; Debian's service makes it, where that runs."""
    directory = Path("/run/sshd")
    missing = os.geteuid() == 0 and not directory.exists()
    if missing:
        directory.mkdir(mode=0o755)
    yield
    if missing:
        directory.rmdir()


@pytest.fixture(scope="module")
def sshd(separation: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """sshd on a loopback address, with keys made here; whoever runs the test may log in."""
    program = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin")
    if not program:
        pytest.skip("no sshd on this machine (Debian: openssh-server)")
    directory, port = tmp_path_factory.mktemp("sshd"), free_port(SSH_ADDRESS)
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)], check=True)
    public = (directory / "host.pub").read_text().split()
    (directory / "known_hosts").write_text(f"[{SSH_ADDRESS}]:{port} {public[0]} {public[1]}\n")
    (directory / "sshd_config").write_text(
        f"ListenAddress {SSH_ADDRESS}\nPort {port}\nHostKey {directory}/host\nAuthorizedKeysFile {directory}/key.pub\n"
        f"PidFile {directory}/pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
    )
    configuration = ["-f", str(directory / "sshd_config")]
    judged = subprocess.run([program, "-t", *configuration], capture_output=True, text=True, check=False)
    if judged.returncode:
        pytest.skip(f"sshd cannot run here: {judged.stderr.strip()}")
    process = subprocess.Popen([program, "-D", "-e", *configuration], stderr=(directory / "log").open("wb"))
    try:
        deadline = time.monotonic() + 30
        while "listening" not in (directory / "log").read_text():
            assert process.poll() is None and time.monotonic() < deadline, (directory / "log").read_text()
        yield Sshd(port, directory, process)
    finally:
        process.terminate()
        process.wait()


def over_ssh(place: Place, sshd: Sshd, port: int) -> clusters.ClusterInventory:
    """The inventory as that of hosts behind SSH, whose API is at `port`."""
    text = Path(place.inventory).read_text().replace("api_port=", f"api_port={port} or ")
    connection = {
        "ssh_user": getpass.getuser(),
        "ssh_hostname": SSH_ADDRESS,
        "ssh_port": sshd.port,
        "ssh_key": str(sshd.directory / "key"),
        "ssh_known_hosts_file": str(sshd.directory / "known_hosts"),
        "ssh_config_file": "/dev/null",
    }
    text = text.replace('connector="loopback"', f"connection={connection!r}")
    path = Path(place.inventory).with_name("over_ssh.py")
    path.write_text(text)
    return clusters.read(str(path))


def test_a_conversation_through_ssh(
    sshd: Sshd, place: Place, server: OpenAiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing listens when the way is looked for, so it is SSH's; then the API comes, and answers through it."""
    monkeypatch.setenv("CLUSTER_HOME", str(place.home))
    port = free_port(server.address)
    link = Link(over_ssh(place, sshd, port))
    try:
        api = link.api()
        assert link.forwarded
        with pytest.raises(ChatError, match="before the answer began"):
            api.stream({}, Answer("", 0.0), lambda piece: None)
        with OpenAiServer(server.address, port) as late:
            late.replies.append(Reply([chunk("Pa"), 0.05, chunk("ris."), chunk(finish="stop")]))
            got = Answer("?", time.monotonic())
            link.api().stream({}, got, lambda piece: None)
            assert (got.answer, got.node) == ("Paris.", "worker1")
            assert link.api() is api
    finally:
        link.close()
    assert not link.forwarded


def test_a_way_that_is_gone_is_opened_again(
    sshd: Sshd, place: Place, server: OpenAiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER_HOME", str(place.home))
    link = Link(over_ssh(place, sshd, free_port(server.address)))
    try:
        first = link.api()
        forward = link._forward
        assert forward
        os.kill(forward._process.pid, signal.SIGKILL)
        forward._process.wait()
        assert link.api() is not first
    finally:
        link.close()


def test_the_socket_is_for_this_user_alone_and_goes_away(sshd: Sshd, server: OpenAiServer) -> None:
    forward = Forward(sshd.command, server.address, server.port)
    directory = Path(forward.socket).parent
    assert forward.alive and directory.stat().st_mode & 0o077 == 0
    forward.close()
    assert not forward.alive and not directory.exists()


def test_it_ends_with_the_program_that_opened_it(
    sshd: Sshd, server: OpenAiServer, repository: Path, tmp_path: Path
) -> None:
    """Even when that program is killed: the far end reads from a pipe that is closed then."""
    code = (
        "import sys\nfrom operate.chat.link import Forward\n"
        "forward = Forward(sys.argv[3:], sys.argv[1], int(sys.argv[2]))\n"
        "print(forward._process.pid, flush=True)\nsys.stdin.read()\n"
    )
    arguments = [sys.executable, "-c", code, server.address, str(server.port), *sshd.command]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    program = subprocess.Popen(
        arguments, cwd=repository, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert program.stdout
    ssh = int(program.stdout.readline())
    program.kill()
    program.wait()
    deadline = time.monotonic() + 30
    while _runs(ssh):
        assert time.monotonic() < deadline, "ssh outlived the program"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    """Whether it is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_host_that_does_not_let_one_in(sshd: Sshd, server: OpenAiServer, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    command = [str(tmp_path / "other") if part.endswith("/key") else part for part in sshd.command]
    with pytest.raises(Unreachable, match=r"no way to .* through SSH: .*Permission denied.*; try `ssh "):
        Forward([*command[:1], "-o", "IdentitiesOnly=yes", *command[1:]], server.address, server.port)


def test_a_host_that_is_not_there(sshd: Sshd, server: OpenAiServer) -> None:
    command = [str(free_port(SSH_ADDRESS)) if part == str(sshd.port) else part for part in sshd.command]
    with pytest.raises(Unreachable, match="Connection refused"):
        Forward(command, server.address, server.port)
