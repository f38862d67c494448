"""Run a command and leave nothing of it behind: keep_together.py COMMAND ARGUMENT...

For machines without systemd, whose control groups would do this. An engine's processes outlive the Ray worker that
started them when that is killed; here they become children of this program (PR_SET_CHILD_SUBREAPER, prctl(2)), which
ends them when the command has ended or when it is told to stop. Standard library only; Linux.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time

_PR_SET_CHILD_SUBREAPER = 36
# A raylet that is told to end takes leave of the head and ends its workers within a second; whoever stops this program
# stops the whole node.
GRACE_SECONDS = 3.0
TIDY_SECONDS = 2.0


def descendants(root: int) -> set[int]:
    """Processes below `root`, however deep."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 (names are all that is wanted)
        if entry.isdigit():
            with contextlib.suppress(OSError, IndexError), open(f"/proc/{entry}/stat", "rb") as stream:
                parents[int(entry)] = int(stream.read().rsplit(b")", 1)[1].split()[1])
    found, grew = {root}, True
    while grew:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grew = bool(more)
    return found - {root}


def end_all(number: int) -> None:
    """Send a signal to every descendant that does not end by itself."""
    for pid in descendants(os.getpid()):
        if not tidies_up(pid):
            send(pid, number)


def send(pid: int, number: int) -> None:
    """Send a signal to a process that may have ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def tidies_up(pid: int) -> bool:
    """Whether a process is Python's that removes the shared memory of others, once those have ended."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            return b"multiprocessing.resource_tracker" in stream.read()
    except OSError:
        return False


def wait_for_none(seconds: float) -> None:
    """Wait until no descendant is left, or so long."""
    deadline = time.monotonic() + seconds
    while descendants(os.getpid()) and time.monotonic() < deadline:
        reap()
        time.sleep(0.05)


def reap() -> None:
    """Collect what has ended, without waiting."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def main() -> int:
    """Exit with the command's status once everything that it started is gone."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        print("prctl: no child subreaper on this kernel", file=sys.stderr)
    command = sys.argv[1:]
    child: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def pass_on(got: int, _frame: object) -> None:
        if child is None:
            early.append(got)
        elif child.poll() is None:
            # All at once: Ray ends its processes one after the other, and waits for each.
            end_all(got)
            signal.alarm(int(GRACE_SECONDS))

    def lose_patience(_got: int, _frame: object) -> None:
        if child is not None and child.poll() is None:
            child.kill()

    # Before there is a child: one that is asked to stop while it starts it must not leave it behind.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    signal.signal(signal.SIGALRM, lose_patience)
    child = subprocess.Popen(command)
    for got in early:
        pass_on(got, None)
    status = child.wait()
    end_all(signal.SIGTERM)
    wait_for_none(GRACE_SECONDS)
    end_all(signal.SIGKILL)
    wait_for_none(TIDY_SECONDS)
    for pid in descendants(os.getpid()):
        send(pid, signal.SIGKILL)
    reap()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
