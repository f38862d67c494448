"""A host's inventory data, parsed once at the boundary into frozen parts: each role's are in its folder's settings.py.

Pure. SettingsError names the host and the key, so a malformed inventory stops before anything changes. pyinfra is
imported only where it is asked: whoever reads an inventory need not wait for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from deploys.compute_base.settings import Accelerators, Directories, Network, Runtime, System, WayIn
from deploys.depot.settings import Depot
from deploys.gateway.settings import Gateway
from deploys.observability.settings import Observability
from deploys.part import Part
from deploys.pxe_server.settings import BootPlan
from deploys.ray_head.settings import Ray
from deploys.vllm.settings import Application, EnginePlan, Model, NodeFit
from deploys.watch.settings import Watch
from hardware.model import ProfileError, check_address


class SettingsError(ValueError):
    """Host data that cannot be used; the message says which host, which key and what is expected."""


class Settings(Part, frozen=True):
    """Everything the deploys, the facts and the verification need to know of one host."""

    cluster: str
    profile: str
    node: str
    role: Literal["control", "compute"]
    control_node: str
    network: Network
    way_in: WayIn
    system: System
    accelerators: Accelerators
    directories: Directories
    secrets: Mapping[str, str]
    runtime: Runtime
    depot: Depot
    ray: Ray
    applications: tuple[Application, ...]
    fit: NodeFit | None
    gateway: Gateway
    watch: Watch
    observability: Observability
    netboot: BootPlan | None

    @property
    def head_address(self) -> str:
        """Address of the node that runs the Ray head and the API."""
        return self.network.peers[self.control_node]

    @property
    def model(self) -> Model:
        """The default model: it answers requests that name none."""
        return self.applications[0].model

    @property
    def serving(self) -> EnginePlan:
        """How the default model is served."""
        return self.applications[0].serving

    @property
    def mine(self) -> Application | None:
        """The application whose engine this host runs."""
        return self.application_of(self.node)

    def application_of(self, node: str) -> Application | None:
        """The application whose engine a node runs; None for a node without one."""
        return next((application for application in self.applications if node in application.nodes), None)

    @property
    def is_control(self) -> bool:
        """Whether this host is the control node."""
        return self.role == "control"

    @property
    def boots_nodes(self) -> bool:
        """Whether this host is a control node that boots compute nodes."""
        return self.is_control and self.netboot is not None and bool(self.netboot.machines)

    @property
    def is_booted(self) -> bool:
        """Whether this node's system comes from the control node, so that nothing of it outlives a boot."""
        return self.netboot is not None and any(machine.node == self.node for machine in self.netboot.machines)

    @property
    def runs_engine(self) -> bool:
        """Whether an engine is declared on this host."""
        return self.ray.engine_slots > 0

    @property
    def api_key_required(self) -> bool:
        """The API is open only on loopback; anywhere else it wants a key."""
        return not self.head_address.startswith("127.")

    @property
    def endpoint(self) -> str:
        """Base address of the OpenAI-compatible API."""
        scheme = "https" if self.gateway.certificate else "http"
        return f"{scheme}://{self.head_address}:{self.gateway.port}/v1"


def parse(host: str, data: Mapping[str, Any] | None) -> Settings:
    """Settings from the plain `settings` value of host data; SettingsError says what is missing, unknown or wrong."""
    if not isinstance(data, Mapping):
        raise SettingsError(
            f"{host}: host data has no `settings`; build the inventory with inventories.composition.compose.compose()"
        )
    where = f"{host}: settings"
    try:
        settings = msgspec.convert(data, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where}{_said(str(error))}; compare with inventories/composition") from None
    except UnicodeEncodeError as error:
        raise SettingsError(f"{where}: {error.object[:40]!r} is half a character; write it anew") from None
    if settings.control_node not in settings.network.peers:
        raise SettingsError(f"{where}: control node {settings.control_node!r} is not among the peers")
    try:
        for name, address in settings.network.peers.items():
            check_address(address, f"{where}: {name}")
    except ProfileError as error:
        raise SettingsError(str(error)) from None
    if not settings.applications:
        raise SettingsError(f"{where}: no application; compare with inventories/composition")
    return settings


def _said(message: str) -> str:
    """A message of msgspec's, with the key before what is wrong with it: `.ray.ports: missing gcs`."""
    wrong, _, path = message.partition(" - at `$")
    for pattern, words in (
        (r"Object missing required field `(.*)`", "missing {}"),
        (r"Object contains unknown field `(.*)`", "unknown {}"),
    ):
        if found := re.fullmatch(pattern, wrong):
            wrong = words.format(found.group(1))
    wrong = re.sub(r"^Expected `([aeiou]?)", lambda found: f"expected {'an' if found[1] else 'a'} {found[1]}", wrong)
    wrong = (wrong[0].lower() + wrong[1:]).replace("`", "")
    return f"{path.removesuffix('`')}: {wrong}"


def of(host: Any) -> Settings:
    """Settings of a pyinfra host; DeployError, on which pyinfra stops with one line, for what cannot be used."""
    from pyinfra.api.exceptions import DeployError

    try:
        return parse(host.name, host.data.get("settings"))
    except SettingsError as error:
        raise DeployError(str(error)) from None
