"""A host's inventory data, parsed once at the boundary into frozen dataclasses.

Pure. SettingsError names the host and the key, so a malformed inventory stops before anything changes. pyinfra is
imported only where it is asked: whoever reads an inventory need not wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar, cast

_Part = TypeVar("_Part")


class SettingsError(ValueError):
    """Host data that cannot be used; the message says which host, which key and what is expected."""


@dataclass(frozen=True)
class Ports:
    """TCP ports of one Ray node, all pinned."""

    gcs: int
    node_manager_first: int
    node_manager_last: int
    object_manager: int
    runtime_env_agent: int
    agent_grpc: int
    metrics: int
    agent_http: int
    dashboard: int
    dashboard_metrics: int
    client: int
    worker_first: int
    worker_last: int
    engine_first: int
    engine_last: int
    watch: int


@dataclass(frozen=True)
class Ray:
    """What one node declares to Ray. `engine_slots` is the custom resource that keeps engines to one a node."""

    cpus: int
    gpus: int
    engine_slots: int
    object_store_bytes: int
    ports: Ports


@dataclass(frozen=True)
class Directories:
    """Absolute paths on the host."""

    runtime: str
    package_cache: str
    models: str
    library: str
    configuration: str
    state: str
    ray: str


@dataclass(frozen=True)
class Runtime:
    """Which locked runtime: the accelerator kind and the Python it is built for."""

    kind: Literal["cpu", "cuda", "rocm"]
    python: str


@dataclass(frozen=True)
class Model:
    """The served model: where it comes from, where it lies, and the answer that proves it."""

    name: str
    source: Mapping[str, str]
    directory: str
    golden: Mapping[str, Any]
    maximum_length: int
    mixture_of_experts: bool
    attention_heads: int
    engine: Mapping[str, Any]
    engine_kind: str
    task: str
    dtypes: tuple[str, ...]
    limits: Mapping[str, Any]


@dataclass(frozen=True)
class Fit:
    """Whether a model fits this node, by the profile; `ok` None: the host's own memory has to tell, or nobody knows.

    `other_bytes`: of the other engines on the same machine. `reserve_bytes`: for the system and Ray.
    """

    model: str
    ok: bool | None
    detail: str
    remedy: str
    needed_bytes: int
    available_bytes: int | None
    other_bytes: int
    reserve_bytes: int


@dataclass(frozen=True)
class Serving:
    """How many engines of a model, and how each is cut."""

    mode: Literal["replicas", "span"]
    replicas: int
    tensor_parallel: int
    pipeline_parallel: int
    expert_parallel: bool
    dtype: str
    enforce_eager: bool
    engine: Mapping[str, Any]


@dataclass(frozen=True)
class Application:
    """One served model: what it is, how its engines run, and the nodes that run them. `name` is Ray Serve's for it."""

    name: str
    model: Model
    serving: Serving
    nodes: tuple[str, ...]

    @property
    def resource(self) -> str:
        """Ray's custom resource of its nodes: it keeps its engines there, one a node."""
        return f"engine:{self.name}"


@dataclass(frozen=True)
class Gateway:
    """What the public endpoint asks of its callers. `certificate`: a PEM file with its key, on the control node."""

    certificate: str
    request_bytes: int
    request_seconds: int
    requests_per_minute: int
    log_prompts: bool


@dataclass(frozen=True)
class Machine:
    """One node that boots from the control node."""

    node: str
    mac_address: str
    address: str
    secure_boot: bool
    wake_on_lan: bool
    kernel_arguments: tuple[str, ...]
    refused_packages: tuple[str, ...]
    largest_load_bytes: int


@dataclass(frozen=True)
class Netboot:
    """What the control node boots, on which network; `proxy` where another server hands out the addresses.

    `network_drivers`: what the image needs for the cards of all nodes, whether their MAC addresses are known or not.
    """

    network: str
    proxy: bool
    router: str
    name_servers: tuple[str, ...]
    http_port: int
    machines: tuple[Machine, ...]
    without_mac: tuple[str, ...]
    network_drivers: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """Everything the deploys, the facts and the verification need to know of one host."""

    cluster: str
    profile: str
    node: str
    role: Literal["control", "compute"]
    address: str
    interface: str
    peers: Mapping[str, str]
    control_node: str
    login_user: str
    service_user: str
    service_manager: Literal["systemd", "supervisor"]
    manage_system: bool
    shared_files: bool
    shared_machine: bool
    depot_port: int
    runtime: Runtime
    package_sources: Mapping[str, str]
    api_port: int
    applications: tuple[Application, ...]
    gateway: Gateway
    netboot: Netboot | None
    engine_ports: Mapping[str, tuple[int, ...]]
    parts: Mapping[str, tuple[str, ...]]
    links: tuple[Mapping[str, Any], ...]
    secrets: Mapping[str, str]
    directories: Directories
    accelerators: tuple[str, ...]
    environment: Mapping[str, str]
    fit: Fit | None
    kernel_arguments: tuple[str, ...]
    ray: Ray

    @property
    def head_address(self) -> str:
        """Address of the node that runs the Ray head and the API."""
        return self.peers[self.control_node]

    @property
    def model(self) -> Model:
        """The default model: it answers requests that name none."""
        return self.applications[0].model

    @property
    def serving(self) -> Serving:
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
        return f"{scheme}://{self.head_address}:{self.api_port}/v1"


def parse(host: str, data: Mapping[str, Any] | None) -> Settings:
    """Settings from the plain `settings` value of host data; SettingsError says what is missing or unknown."""
    if not isinstance(data, Mapping):
        raise SettingsError(
            f"{host}: host data has no `settings`; build the inventory with inventories.composition.compose.compose()"
        )
    where = f"{host}: settings"
    values = dict(data)
    try:
        ray = dict(values["ray"])
        ray["ports"] = _build(Ports, ray["ports"], f"{where}.ray.ports")
        values["ray"] = _build(Ray, ray, f"{where}.ray")
        values["runtime"] = _build(Runtime, values["runtime"], f"{where}.runtime")
        values["applications"] = tuple(
            _application(entry, f"{where}.applications[{index}]") for index, entry in enumerate(values["applications"])
        )
        values["gateway"] = _build(Gateway, values["gateway"], f"{where}.gateway")
        values["netboot"] = _netboot(values["netboot"], f"{where}.netboot")
        values["engine_ports"] = {node: tuple(ports) for node, ports in values["engine_ports"].items()}
        values["directories"] = _build(Directories, values["directories"], f"{where}.directories")
        values["parts"] = {node: tuple(parts) for node, parts in values["parts"].items()}
        values["fit"] = _build(Fit, values["fit"], f"{where}.fit") if values["fit"] else None
        values["links"] = tuple(values["links"])
        values["accelerators"] = tuple(values["accelerators"])
        values["kernel_arguments"] = tuple(values["kernel_arguments"])
    except KeyError as error:
        raise SettingsError(f"{where}: {error.args[0]!r} is missing; compare with inventories/composition") from None
    except TypeError as error:
        raise SettingsError(f"{where}: {error}; compare with inventories/composition") from None
    settings = _build(Settings, values, where)
    if settings.control_node not in settings.peers:
        raise SettingsError(f"{where}: control node {settings.control_node!r} is not among the peers")
    if not settings.applications:
        raise SettingsError(f"{where}: no application; compare with inventories/composition")
    return settings


def _application(values: Mapping[str, Any], where: str) -> Application:
    model = dict(values["model"])
    model.setdefault("engine", {})
    model["dtypes"] = tuple(model["dtypes"])
    parts = {
        **values,
        "model": _build(Model, model, f"{where}.model"),
        "serving": _build(Serving, values["serving"], f"{where}.serving"),
        "nodes": tuple(values["nodes"]),
    }
    return _build(Application, parts, where)


def of(host: Any) -> Settings:
    """Settings of a pyinfra host; DeployError, on which pyinfra stops with one line, for what cannot be used."""
    from pyinfra.api.exceptions import DeployError

    try:
        return parse(host.name, host.data.get("settings"))
    except SettingsError as error:
        raise DeployError(str(error)) from None


def _netboot(values: Mapping[str, Any] | None, where: str) -> Netboot | None:
    if values is None:
        return None
    machines = []
    for machine in values["machines"]:
        listed = {key: tuple(machine[key]) for key in ("kernel_arguments", "refused_packages")}
        machines.append(_build(Machine, {**machine, **listed}, f"{where}.machines"))
    lists = {key: tuple(values[key]) for key in ("name_servers", "without_mac", "network_drivers")}
    return _build(Netboot, {**values, **lists, "machines": tuple(machines)}, where)


def _build(part: type[_Part], values: Mapping[str, Any], where: str) -> _Part:
    names = {entry.name for entry in fields(cast(Any, part))}
    missing, unknown = sorted(names - set(values)), sorted(set(values) - names)
    if missing or unknown:
        said = [f"missing {', '.join(missing)}"] * bool(missing) + [f"unknown {', '.join(unknown)}"] * bool(unknown)
        raise SettingsError(f"{where}: {' and '.join(said)}; compare with inventories/composition")
    return part(**values)
