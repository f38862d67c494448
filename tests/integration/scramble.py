"""Give one engine other weights while it goes on serving: HEAD:PORT NODE WEIGHTS-DIRECTORY

Run on the control node inside the runtime. It uses what vLLM offers to trainers (collective_rpc), so the engine is
real, alive and healthy by its own account; only what it says is garbage.
"""

import pickle
import sys
import uuid

import ray
from ray.serve._private.common import RequestMetadata
from ray.util.state import list_actors

address, node, weights = sys.argv[1:4]
ray.init(address=address, namespace="serve", log_to_driver=False, logging_level="ERROR")
names = {entry["NodeID"]: entry["NodeName"] for entry in ray.nodes()}


def call(actor_name: str, *arguments: object) -> object:
    """One collective_rpc on the replica's engine."""
    request = f"scramble-{uuid.uuid4()}"
    metadata = RequestMetadata(request_id=request, internal_request_id=request, call_method="collective_rpc")
    handle = ray.get_actor(actor_name, namespace="serve")
    return ray.get(handle.handle_request.remote(pickle.dumps(metadata), *arguments), timeout=120)


done = 0
for actor in list_actors(address=address, filters=[("state", "=", "ALIVE")], limit=1000, detail=True):
    engine = (actor.name or "").startswith("SERVE_REPLICA::") and "#ProvenLLMServer:" in actor.name
    if engine and names.get(actor.node_id) == node:
        call(actor.name, "reload_weights", None, (), {"weights_path": weights})
        done += 1
print(f"scrambled {done} engines on {node}")
sys.exit(0 if done else 1)
