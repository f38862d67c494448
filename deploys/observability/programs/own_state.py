"""What this project's own services and Ray say of a cluster, as samples. Pure; standard library only.

The watch service has heard every replica's word on itself; Ray's dashboard tells of nodes and of Serve's replicas.
Ray's own exporters stay closed: they would answer everyone on every address.
"""

from collections.abc import Iterator
from typing import Any

from deploys.observability.programs.prometheus_text import Sample

# Name of a sample -> key of a replica in the watch's state.
_COUNTS = {
    "cluster_replica_generated_tokens_total": "generated_tokens",
    "cluster_replica_prompt_tokens_total": "prompt_tokens",
    "cluster_replica_kv_cache_usage_ratio": "kv_cache_usage",
    "cluster_replica_heard_seconds": "heard",
}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _rows(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    return None if isinstance(value, bool) or not isinstance(value, int | float) else float(value)


def watch(state: Any) -> Iterator[tuple[str, Sample]]:
    """Node and sample of all that the watch's `/cluster/state` tells."""
    for row in _rows(_mapping(state).get("nodes")):
        node = str(row.get("name", ""))
        alive = row.get("alive")
        if isinstance(alive, bool):
            yield node, ("cluster_node_alive", {}, float(alive))
        yield node, ("cluster_node_state", {"state": str(row.get("state", ""))}, 1.0)
    for row in _rows(_mapping(state).get("replicas")):
        node = str(row.get("node", ""))
        where = {"replica": str(row.get("replica", "")), "port": str(row.get("port", ""))}
        yield node, ("cluster_replica_state", {**where, "state": str(row.get("state", ""))}, 1.0)
        for name, key in _COUNTS.items():
            if (value := _number(row.get(key))) is not None:
                yield node, (name, where, value)
        for key, value in _mapping(row.get("requests")).items():
            if (found := _number(value)) is not None:
                yield node, (f"cluster_replica_requests_{key}", where, found)
        proofs = _mapping(row.get("proofs"))
        for key in ("asked", "failed"):
            if (found := _number(proofs.get(key))) is not None:
                yield node, (f"cluster_replica_proofs_{key}_total", where, found)
        seconds = _number(_mapping(proofs.get("last")).get("seconds"))
        if seconds is not None:
            yield node, ("cluster_replica_proof_seconds", where, seconds)


def ray_nodes(summary: Any, names: dict[str, str]) -> Iterator[tuple[str, Sample]]:
    """Node and sample of Ray's summary of its nodes; `names` are the nodes' names by address."""
    for row in _rows(_mapping(_mapping(summary).get("data")).get("summary")):
        raylet = _mapping(row.get("raylet"))
        node = names.get(str(row.get("ip") or raylet.get("nodeManagerAddress", "")), str(raylet.get("nodeName", "")))
        values = {"ray_node_cpu_utilization": row.get("cpu")}
        memory = row.get("mem")
        if isinstance(memory, list) and len(memory) >= 4:
            values |= {"ray_node_mem_total": memory[0], "ray_node_mem_used": memory[3]}
        for key, names_of in (
            ("networkSpeed", ("ray_node_network_send_speed", "ray_node_network_receive_speed")),
            ("diskIoSpeed", ("ray_node_disk_io_read_speed", "ray_node_disk_io_write_speed")),
        ):
            speeds = row.get(key)
            if isinstance(speeds, list):
                values |= dict(zip(names_of, speeds, strict=False))
        for name, value in values.items():
            if (found := _number(value)) is not None:
                yield node, (name, {}, found)
        for index, gpu in enumerate(_rows(row.get("gpus"))):
            for name, key in (("ray_node_gpus_utilization", "utilizationGpu"), ("ray_node_gram_used", "memoryUsed")):
                if (found := _number(gpu.get(key))) is not None:
                    yield node, (name, {"gpu": str(gpu.get("index", index))}, found)


def ray_replicas(answer: Any, names: dict[str, str]) -> Iterator[tuple[str, Sample]]:
    """Node and sample of every replica that Ray Serve knows."""
    for application, state in _mapping(_mapping(answer).get("applications")).items():
        for deployment, found in _mapping(_mapping(state).get("deployments")).items():
            about = {"application": str(application), "deployment": str(deployment)}
            for row in _rows(_mapping(found).get("replicas")):
                node = names.get(str(row.get("node_ip", "")), "")
                labels = {**about, "replica": str(row.get("replica_id", "")), "state": str(row.get("state", ""))}
                yield node, ("ray_serve_replica_state", labels, 1.0)
