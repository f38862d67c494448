"""Pure parsers for what Ray, the service manager and the managed files say. Strings in, plain values out.

Raises ValueError with what and where.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from facts.parse.report import Report
from facts.parse.shape import figure, mapping, mappings
from facts.programs.engines import standing


@dataclass(frozen=True)
class FileState(Report):
    """One file on a host."""

    path: str
    sha256: str
    mode: str
    owner: str


@dataclass(frozen=True)
class ServiceState(Report):
    """One service as its manager has it at this moment; whether that is health is judged in facts/health/services.py.

    - `active`: a process runs that the manager calls started. Between two starts of a crash loop there is none.
    - `enabled`: it is started at boot. `configuration`: the digest that its process was started with.
    - `manager_state`: the manager's own words ("activating/auto-restart", "BACKOFF"); "" where nobody knows it.
    - `restarts`: how often it was started anew by itself; `up_seconds`: since when it runs, None where it does not.
    - `last_words`: what it wrote last, asked for only where it does not run, or not for long.
    """

    name: str
    active: bool
    enabled: bool
    configuration: str
    manager_state: str = ""
    restarts: int | None = None
    up_seconds: float | None = None
    last_words: str = ""


def parse_json_line(lines: list[str], what: str) -> Any:
    """The last line of output as JSON; ValueError with the head of what was there instead."""
    text = next((line for line in reversed(lines) if line.strip()), "")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{what}: expected JSON, got {' '.join(lines)[:200]!r}") from None


def parse_digests(lines: list[str]) -> dict[str, FileState]:
    """Path -> FileState from `stat` lines (`s MODE OWNER PATH`) and `sha256sum` lines (`h DIGEST  PATH`)."""
    attributes: dict[str, tuple[str, str]] = {}
    digests: dict[str, str] = {}
    for line in lines:
        kind, _, rest = line.partition(" ")
        if kind == "s":
            mode, owner, path = (*rest.split(" ", 2), "", "", "")[:3]
            attributes[path] = (mode.rjust(4, "0"), owner)
        elif kind == "h":
            digest, _, path = rest.partition("  ")
            digests[path] = digest
    return {path: FileState(path, digests[path], *attributes[path]) for path in sorted(digests) if path in attributes}


# systemd's ActiveState and supervisor's statename where a process runs and has begun its work.
_RUNNING = ("active", "reloading", "refreshing", "RUNNING")
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_WORDS_CHARACTERS = 300


def parse_services(lines: list[str]) -> dict[str, ServiceState]:
    """Service name -> ServiceState.

    From lines `service NAME ACTIVE ENABLED CONFIGURATION [SUBSTATE RESTARTS UP_SECONDS]` and `said NAME TEXT`; "-"
    stands for what is not known. Other lines are left out.
    """
    found: dict[str, ServiceState] = {}
    for line in lines:
        parts = line.split()
        if len(parts) >= 5 and parts[0] == "service":
            _, name, active, enabled, configuration, *rest = parts
            sub_state, restarts, up_seconds = (*rest, "-", "-", "-")[:3]
            words = [word for word in (active, sub_state) if word not in ("-", "none")]
            found[name] = ServiceState(
                name,
                active in _RUNNING,
                enabled in ("enabled", "program"),
                "" if configuration == "-" else configuration,
                "/".join(dict.fromkeys(words)),
                int(restarts) if restarts.isdecimal() else None,
                float(up_seconds) if up_seconds.isdecimal() and active in _RUNNING else None,
            )
        elif len(parts) >= 3 and parts[0] == "said" and parts[1] in found:
            text = " ".join(_COLOUR.sub("", line).split()[2:])
            found[parts[1]] = replace(found[parts[1]], last_words=text[:_WORDS_CHARACTERS])
    return found


@dataclass(frozen=True)
class RayNode(Report):
    """One node as Ray's control store knows it."""

    name: str
    address: str
    alive: bool
    head: bool
    cpus: float | None
    gpus: float | None
    engine_slots: float | None
    why_dead: str


@dataclass(frozen=True)
class NodesReport(Report):
    """Ray's nodes, or why they could not be asked for: that there are none and that nobody answers are two things.

    `unread`: what of the answer could not be read; a resource is None then, and the rest stands.
    """

    nodes: tuple[RayNode, ...]
    unreachable: str = ""
    unread: tuple[str, ...] = ()


def parse_ray_nodes(answer: Any) -> NodesReport:
    """Nodes of Ray's state API (`/api/v0/nodes?detail=1`); ValueError when it reports a failure."""
    if isinstance(answer, dict) and "unreachable" in answer:
        return NodesReport((), str(answer["unreachable"]))
    if not isinstance(answer, dict) or not answer.get("result"):
        raise ValueError(f"Ray's state API: {str(answer)[:300]}")
    data = mapping(answer.get("data"), "Ray's state API, data")
    result = mapping(data.get("result"), "Ray's state API, data.result")
    listed = result.get("result")
    if not isinstance(listed, list):
        raise ValueError(f"Ray's state API, nodes: a list was expected, got {str(listed)[:200]!r}")
    unread: list[str] = []
    nodes = []
    for row in listed:
        if not isinstance(row, dict):
            unread.append(f"Ray's state API: {str(row)[:80]!r} is no node")
            continue
        where = f"Ray's state API, node {str(row.get('node_name'))[:80]}"
        resources = row.get("resources_total") or {}
        if not isinstance(resources, dict):
            unread.append(f"{where}: resources_total is {str(resources)[:80]!r}")
            resources = dict.fromkeys(("CPU", "GPU", "engine"), None)
        nodes.append(
            RayNode(
                name=str(row.get("node_name") or ""),
                address=str(row.get("node_ip") or ""),
                alive=row.get("state") == "ALIVE",
                head=bool(row.get("is_head_node")),
                cpus=_amount(resources.get("CPU", 0), f"{where}, CPU", unread),
                gpus=_amount(resources.get("GPU", 0), f"{where}, GPU", unread),
                engine_slots=_amount(resources.get("engine", 0), f"{where}, engine", unread),
                why_dead=str(row.get("state_message") or ""),
            )
        )
    return NodesReport(tuple(nodes), unread=tuple(unread))


def _amount(value: Any, where: str, unread: list[str]) -> float | None:
    try:
        return figure(value, where)
    except ValueError as error:
        unread.append(str(error))
        return None


@dataclass(frozen=True)
class Replica(Report):
    """One Serve replica."""

    application: str
    deployment: str
    state: str
    node_address: str
    actor: str


@dataclass(frozen=True)
class ServeState(Report):
    """What Ray Serve says of its applications. `applications` has the status of each.

    `status` and `message` are those of the first that does not run, else RUNNING; UNREACHABLE when Serve does not
    answer, NOT_STARTED when it has none.
    """

    status: str
    message: str
    replicas: tuple[Replica, ...]
    applications: Mapping[str, str] = field(default_factory=dict)


def parse_serve(answer: Any) -> ServeState:
    """State of all applications from Serve's REST interface."""
    if not isinstance(answer, dict):
        raise ValueError(f"Ray Serve: expected an object, got {str(answer)[:200]}")
    if "unreachable" in answer:
        return ServeState("UNREACHABLE", str(answer["unreachable"]), ())
    known = mapping(answer.get("applications") or {}, "Ray Serve, applications")
    if not known:
        return ServeState("NOT_STARTED", "", ())
    # One application that cannot be read is not known to run; the others are.
    states = {name: state if isinstance(state, dict) else {} for name, state in known.items()}
    applications = {name: standing(state) for name, state in states.items()}
    first = next((name for name, status in applications.items() if status != "RUNNING"), next(iter(states)))
    return ServeState(
        applications[first],
        str(states[first].get("message") or "").strip(),
        tuple(replica for name, state in states.items() for replica in _replicas(name, state)),
        applications,
    )


def _replicas(application: str, state: dict[str, Any]) -> list[Replica]:
    """What can be read of an application's replicas."""
    deployments = state.get("deployments")
    listed = [
        (name, deployment.get("replicas"))
        for name, deployment in (deployments.items() if isinstance(deployments, dict) else ())
        if isinstance(deployment, dict)
    ]
    return [
        Replica(application, name, *(str(replica.get(key) or "") for key in ("state", "node_ip", "actor_name")))
        for name, replicas in listed
        for replica in (replicas if isinstance(replicas, list) else ())
        if isinstance(replica, dict)
    ]


@dataclass(frozen=True)
class Proof(Report):
    """What one engine replica answered to the golden question, and whether it was right."""

    node: str
    address: str
    replica: str
    answer: str
    correct: bool
    seconds: float
    detail: str
    model: str = ""


@dataclass(frozen=True)
class ProofsReport(Report):
    """Proofs of all replicas, or why they could not be asked."""

    proofs: tuple[Proof, ...]
    unreachable: str = ""


def parse_proofs(answer: Any) -> ProofsReport:
    """From the list that facts/programs/prove.py prints; ValueError for anything else."""
    if isinstance(answer, dict):
        return ProofsReport((), str(answer.get("unreachable", answer)))
    return ProofsReport(
        tuple(
            Proof(
                node=str(row.get("node", "")),
                address=str(row.get("address", "")),
                replica=str(row.get("replica", "")),
                answer=str(row.get("answer", "")),
                correct=bool(row.get("correct")),
                seconds=_amount(row.get("seconds", 0), "seconds", []) or 0.0,
                detail=str(row.get("detail", "")),
                model=str(row.get("model", "")),
            )
            for row in mappings(answer, "proof of the replicas")
        )
    )


LIVES = ("serving", "starting", "draining", "wedged", "wrong", "silent")


def parse_life(answer: Any) -> list[dict[str, Any]]:
    """Reports of the engines as facts/programs/life.py prints them, each with node, address, port, state and reason."""
    reports = []
    for row in mappings(answer, "life of the engines"):
        told = {**row, "node": str(row.get("node", "")), "reason": str(row.get("reason", ""))}
        if told.get("state") not in LIVES:
            told |= {"state": "silent", "reason": f"no state that is known: {str(row.get('state'))[:80]!r}"}
        reports.append(told)
    return reports


def parse_model_directory(answer: Any) -> dict[str, Any]:
    """{state, problems, bytes} as facts/programs/model_state.py prints it."""
    found = mapping(answer, "model directory")
    state, problems = found.get("state"), found.get("problems")
    if state not in ("missing", "unknown", "corrupt", "whole") or not isinstance(problems, list):
        raise ValueError(f"model directory: no state that is known in {str(answer)[:200]}")
    size = int(figure(found.get("bytes", 0), "model directory, bytes"))
    return {"state": state, "problems": [str(problem) for problem in problems], "bytes": size}
