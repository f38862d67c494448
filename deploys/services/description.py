"""A long-running process of a node, described once for whatever runs it: systemd, supervisor, a container engine.

Pure. Every service carries the digest of its whole configuration in its environment, so that a running process tells
which configuration it was started with: a restart that was missed is seen by the next run, however it was missed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

DIGEST_VARIABLE = "CLUSTER_CONFIGURATION"
MIB = 1024**2
# Every service's, and every login's: Ray holds a socket for each worker and each object transfer.
OPEN_FILES = 65535
# A service ends within this when it is told to; what waits for more than its own process waits a little longer.
STOP_SECONDS = 20
# A service's log; one more is kept. A node has less than ten of them, so that they stay below 20 MB.
LOG_BYTES = 1_000_000
ROOT = "root"


@dataclass(frozen=True)
class Limits:
    """What a service may take at most, where each is kept apart from the others; None: all that its node has.

    `shared_memory_bytes` is what it needs in /dev/shm beyond a container's usual 64 MiB; 0 is nothing.
    """

    memory_bytes: int | None = 256 * MIB
    processors: float | None = 0.5
    processes: int = 256
    shared_memory_bytes: int = 0


@dataclass(frozen=True)
class Readiness:
    """How to see from beside a service that it does its work: a look of containers/programs/healthy.py.

    Until `start_seconds` have passed, a look that fails says nothing.
    """

    look: Literal["node", "application", "http"]
    arguments: tuple[str, ...]
    start_seconds: int


@dataclass(frozen=True)
class Service:
    """A daemon. It is started at boot and whenever it ended, for whatever reason.

    `inputs`: digests of files that it reads; when one changes, it must be restarted. `after`: services of the same host
    that start before it. `user`: whom it runs as; "" is the cluster's service user. `ports`: TCP ports that it listens
    on at its node's address, and for what. `reload_signal`: what makes it read its configuration again. `confinement`:
    more lines of its systemd unit. `readiness`: None where only its process can be watched.
    """

    name: str
    description: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    user: str = ""
    ports: Mapping[int, str] = field(default_factory=dict)
    limits: Limits = Limits()
    readiness: Readiness | None = None
    reload_signal: str = ""
    confinement: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Digest of all that decides how this service runs on a host."""
        as_root, user = self.user == ROOT, "" if self.user == ROOT else self.user
        more = [user, self.confinement] if user or self.confinement else []
        text = json.dumps([self.command, sorted(self.environment.items()), self.inputs, as_root, *more])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def whole_environment(self) -> dict[str, str]:
        """Its environment, with the digest in it, in the order of the names."""
        return dict(sorted({**self.environment, DIGEST_VARIABLE: self.digest}.items()))
