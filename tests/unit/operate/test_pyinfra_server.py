"""Work in forks of one process that has pyinfra loaded: real pyinfra, on this machine alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from operate import pyinfra_server


def command(*words: str, **environment: str) -> tuple[str, str, int]:
    """Output, errors and exit status of a command that pyinfra runs here."""
    work = pyinfra_server.start("pyinfra", ["-y", "@local", "exec", "--", *words], {**os.environ, **environment})
    work.stdin.close()
    said, errors = work.stdout.read(), work.stderr.read()
    status = work.wait()
    work.close()
    return said, errors, status


def test_work_has_its_own_environment_and_says_how_it_ended() -> None:
    said, errors, status = command("echo", "$GREETING", GREETING="hello-there")
    assert status == 0 and "hello-there" in said + errors
    _, _, status = command("false")
    assert status not in (0, -1)


def test_facts_of_a_host_that_is_there() -> None:
    order = {
        "groups": {"control": [["@local", {}]]},
        "requests": {"@local": [["kernel", "pyinfra.facts.server.Kernel", {}], ["none", "facts.nothing.Nothing", {}]]},
        "connect_seconds": 5,
        "fact_seconds": 20,
    }
    work = pyinfra_server.start("observe", [], os.environ)
    with work.stdin:
        work.stdin.write(json.dumps(order))
    found = json.loads(work.stdout.read())["@local"]
    assert work.wait() == 0
    work.close()
    assert found["connected"] and found["facts"]["kernel"]["value"] == os.uname().sysname
    assert "No module named 'facts.nothing'" in found["facts"]["none"]["error"]


def test_several_threads_at_once() -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: command("echo", f"number-{number}"), range(4)))
    for number, (said, errors, status) in enumerate(found):
        assert status == 0 and f"number-{number}" in said + errors


def test_work_is_stopped_by_a_signal_with_all_that_it_started() -> None:
    work = pyinfra_server.start("pyinfra", ["-y", "@local", "exec", "--", "sleep", "87654"], os.environ)
    work.stdin.close()
    deadline = time.monotonic() + 30
    while not _sleeps(work.process) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _sleeps(work.process)
    work.signal(signal.SIGKILL)
    assert work.ended(within=10) and work.wait() == -1
    assert not _sleeps(work.process)
    work.close()


def test_a_server_that_was_killed_is_started_again() -> None:
    work = pyinfra_server.start("pyinfra", ["--version"], os.environ)
    assert work.wait() == 0
    work.close()
    server = int(Path(f"/proc/{work.process}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(server, signal.SIGKILL)
    os.waitid(os.P_PID, server, os.WEXITED | os.WNOWAIT)
    assert command("echo", "again")[2] == 0


def test_the_server_ends_with_the_process_that_started_it() -> None:
    program = textwrap.dedent(
        """
        import os
        from operate import pyinfra_server
        work = pyinfra_server.start("pyinfra", ["--version"], os.environ)
        work.wait()
        print(pyinfra_server._SERVER._process.pid, flush=True)
        os.kill(os.getpid(), 9)
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    server = int(done.stdout)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{server}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{server}").exists()


def _sleeps(group: int) -> bool:
    found = subprocess.run(["pgrep", "-g", str(group), "-f", "sleep 87654"], capture_output=True, check=False)
    return found.returncode == 0
