"""Ask every engine replica the golden question, each on its own: HEAD-ADDRESS:PORT DEPLOYMENT-PREFIX SECONDS

Runs inside the locked runtime as a Ray driver and prints one JSON line: a list of proofs, or {"unreachable": reason}.
A request through the API reaches one replica that the router picks; this reaches each of them.
"""

import asyncio  # noqa: F401 (Ray wants it imported before its own use of it)
import contextlib
import io
import json
import pickle
import sys
import uuid


def main() -> object:
    """Proofs of all replicas, in the order in which they were found."""
    address, prefix, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    import ray
    from ray.serve._private.common import RequestMetadata
    from ray.util.state import list_actors

    ray.init(address=address, namespace="serve", log_to_driver=False, logging_level="ERROR")
    nodes = {node["NodeID"]: node for node in ray.nodes()}
    actors = [
        actor
        for actor in list_actors(address=address, filters=[("state", "=", "ALIVE")], limit=1000, detail=True)
        if (actor.name or "").startswith(prefix)
    ]
    calls = {}
    proofs = []
    for actor in actors:
        node = nodes.get(actor.node_id, {})
        about = {"node": node.get("NodeName", ""), "address": node.get("NodeManagerAddress", ""), "replica": actor.name}
        request = f"proof-{uuid.uuid4()}"
        metadata = RequestMetadata(request_id=request, internal_request_id=request, call_method="prove")
        try:
            handle = ray.get_actor(actor.name, namespace="serve")
            calls[handle.handle_request.remote(pickle.dumps(metadata))] = about
        except Exception as error:
            proofs.append({**about, "correct": False, "answer": "", "detail": str(error)[:300]})
    done, late = ray.wait(list(calls), num_returns=len(calls), timeout=seconds) if calls else ([], [])
    for reference in done:
        try:
            proofs.append({**calls[reference], **ray.get(reference)})
        except Exception as error:
            proofs.append({**calls[reference], "correct": False, "answer": "", "detail": str(error)[:300]})
    for reference in late:
        detail = f"no answer within {seconds:.0f} s"
        proofs.append({**calls[reference], "correct": False, "answer": "", "detail": detail})
    return proofs


with contextlib.redirect_stdout(io.StringIO()):
    try:
        result = main()
    except Exception as error:
        result = {"unreachable": " ".join(f"{type(error).__name__}: {error}".split())[:400]}
print(json.dumps(result), flush=True)
