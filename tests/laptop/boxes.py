"""A container engine's part, done with namespaces: starts a service of a written compose file as it is there.

Root needed. Each box has its own network, mounts, processes and shared memory. Its root is this machine's, read-only,
under a layer with what the image and the mounts would add. Not done here: the image's build, limits of memory and
processors, tini (a shell hands the signal on), seccomp and AppArmor profiles.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

USER = "10001"
# Arguments: layer directory, image library, runtime, runtime's place, shared memory; then the command under setpriv.
SETUP = """
set -eu
layer=$1 library=$2 runtime=$3 place=$4 shm=$5
shift 5
mount -t tmpfs -o size=256m tmpfs "$layer"
mkdir -p "$layer/upper$place" "$layer/upper/usr/local/lib/cluster" "$layer/upper/etc" "$layer/upper/var/lib/cluster"
mkdir -p "$layer/work" "$layer/root"
cp -r "$library/." "$layer/upper/usr/local/lib/cluster/"
cp -a "$layer.etc" "$layer/upper/etc/cluster"
mount -t overlay overlay -o "lowerdir=/,upperdir=$layer/upper,workdir=$layer/work" "$layer/root"
mount --bind "$runtime" "$layer/root$place"
mount --bind "$layer.state" "$layer/root/var/lib/cluster"
mount --rbind /dev "$layer/root/dev"
mount -t tmpfs -o "size=$shm,mode=1777" tmpfs "$layer/root/dev/shm"
mount -t proc proc "$layer/root/proc"
mount --rbind /sys "$layer/root/sys"
mount -t tmpfs -o size=256m,mode=1777 tmpfs "$layer/root/tmp"
mount -o remount,ro "$layer/root"
chown -R 10001:10001 "$layer.state"
chroot "$layer/root" "$@" &
trap 'kill -TERM $!' TERM
status=0; wait $! || status=$?
trap - TERM
wait $! 2>/dev/null || status=$?
exit $status
"""
PRIVILEGES = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs"]
CLOSED = [*PRIVILEGES, "--bounding-set=-all", "--inh-caps=-all"]


def run(*arguments: str) -> str:
    """Output of a command that has to succeed."""
    return subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=30).stdout


@dataclass
class Box:
    """One running service."""

    name: str
    service: dict[str, Any]
    process: subprocess.Popen[bytes]
    log: Path
    root: Path
    environment: list[str] = field(default_factory=list)

    @property
    def first(self) -> str:
        """Process 1 of the box, as this machine numbers it; waits for one that is about to be there."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        deadline = time.monotonic() + 10
        while self.process.poll() is None and time.monotonic() < deadline:
            if found := children.read_text().split():
                return found[0]
            time.sleep(0.05)
        raise AssertionError(f"{self.name} has ended: {self.log.read_text()[-2000:]}")

    def healthy(self) -> subprocess.CompletedProcess[str]:
        """The service's own health check, asked where an engine asks it."""
        kind, *test = self.service["healthcheck"]["test"]
        assert kind == "CMD"
        return self.ask(*test)

    def ask(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command inside, with the service's rights and environment."""
        enter = ["nsenter", "--target", self.first, "--mount", "--net", "--pid", "--ipc", "chroot", str(self.root)]
        return subprocess.run(
            [*enter, *CLOSED, "env", "-i", *self.environment, *command],
            capture_output=True, text=True, check=False, timeout=20,
        )  # fmt: skip

    def stop(self, seconds: float) -> int:
        """What an engine does: the stop signal, a grace period, then none."""
        os.kill(int(self.first), signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        finally:
            self.process.kill()


@dataclass
class Engine:
    """Starts boxes from a compose file and what lies beside it."""

    directory: Path
    compose: dict[str, Any]
    values: dict[str, str]
    runtime: Path
    scratch: Path
    boxes: list[Box] = field(default_factory=list)

    def start(self, name: str) -> Box:
        """Start one service. One that shares a network is given the network of the holder."""
        service = self.compose["services"][name]
        holder = service.get("network_mode", f"service:{name}").partition(":")[2]
        address = self.compose["services"][holder]["networks"]["cluster"]["ipv4_address"]
        self.network(holder, address)
        layer = self.scratch / name
        layer.mkdir()
        (self.scratch / f"{name}.state").mkdir()
        self.etc(service, self.scratch / f"{name}.etc")
        environment = [f"{key}={value.replace('$$', '$')}" for key, value in service["environment"].items()]
        place = self.place(service)
        environment += [f"PATH={place}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME=/var/lib/cluster"]
        setup = [str(layer), str(self.context / "library"), str(self.runtime), place, service["shm_size"]]
        inside = [*CLOSED, "env", "-i", *environment, "/usr/local/lib/cluster/containers/programs/entrypoint.sh"]
        inside += [part.replace("$$", "$") for part in service["command"]]
        log = self.scratch / f"{name}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.space(holder), "unshare", "--mount", "--pid", "--ipc", "--fork",
                 "--kill-child", "sh", "-c", SETUP, "sh", *setup, *inside],
                stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        box = Box(name, service, process, log, layer / "root", environment)
        self.boxes.append(box)
        return box

    @property
    def context(self) -> Path:
        """What the image is built from."""
        return self.directory / str(self.compose["services"]["head"]["build"]["context"])

    def place(self, service: dict[str, Any]) -> str:
        """Where the service expects the runtime."""
        found = next(re.match(r"(/.*/runtime/[^/]+)/bin/", part) for part in service["command"] if "/runtime/" in part)
        assert found
        return found[1]

    def etc(self, service: dict[str, Any], etc: Path) -> None:
        """/etc/cluster with the mounted files; secrets keep owner and mode."""
        etc.mkdir()
        for entry in service.get("configs", []):
            source = self.directory / self.compose["configs"][entry["source"]]["file"]
            (etc / Path(entry["target"]).name).write_bytes(source.read_bytes())
        for entry in service["secrets"]:
            text = self.compose["secrets"][entry["source"]]["file"]
            source = Path(re.sub(r"\$\{(\w+)[^}]*\}", lambda match: self.values[match[1]], text))
            run("cp", "--preserve=mode,ownership", str(source), str(etc / Path(entry["target"]).name))

    def space(self, holder: str) -> str:
        """Name of the network namespace of one node."""
        return f"box-{os.getpid()}-{holder}"

    def network(self, holder: str, address: str) -> None:
        """A namespace with `eth0` on a bridge that lies in a namespace of its own: nothing reaches this machine."""
        switch, here = self.space("switch"), self.space(holder)
        spaces = run("ip", "netns", "list").split()
        if switch not in spaces:
            run("ip", "netns", "add", switch)
            run("ip", "-n", switch, "link", "add", "bridge", "type", "bridge")
            run("ip", "-n", switch, "link", "set", "bridge", "up")
        if here in spaces:
            return
        run("ip", "netns", "add", here)
        port = f"p{len(spaces)}"
        run("ip", "-n", here, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", switch)
        run("ip", "-n", switch, "link", "set", port, "master", "bridge", "up")
        run("ip", "-n", here, "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            run("ip", "-n", here, "link", "set", device, "up")

    def clean(self) -> None:
        """End what still runs and remove the networks."""
        for box in self.boxes:
            if box.process.poll() is None:
                box.process.kill()
                box.process.wait(10)
        for name in run("ip", "netns", "list").split():
            if name.startswith(f"box-{os.getpid()}-"):
                run("ip", "netns", "delete", name)

    def said(self) -> str:
        """What every box printed, for a test that fails."""
        return "\n".join(f"{shlex.quote(box.name)}: {box.log.read_text()[-2000:]}" for box in self.boxes)
