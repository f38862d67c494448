"""Give one engine other weights while it goes on serving: HEAD:PORT NODE WEIGHTS-DIRECTORY

Runs on the control node inside the runtime. It uses what vLLM offers to trainers (collective_rpc), so the engine is
real, alive and healthy by its own account; only what it says is garbage. Exit 1 when the node has no engine.
"""

import sys

from deploys.programs.private_names import call_replica
from facts.programs.engines import is_engine

_SECONDS = 120


def main() -> int:
    """Every engine on the node."""
    import ray
    from ray.util.state import list_actors

    address, node, weights = sys.argv[1:4]
    ray.init(address=address, namespace="serve", log_to_driver=False, logging_level="ERROR")
    names = {entry["NodeID"]: entry["NodeName"] for entry in ray.nodes()}
    done = 0
    for actor in list_actors(address=address, filters=[("state", "=", "ALIVE")], limit=1000, detail=True):
        # SERVE_REPLICA::APPLICATION#DEPLOYMENT#ID
        kind, _, rest = (actor.name or "").partition("::")
        deployment = rest.partition("#")[2].partition("#")[0]
        if kind == "SERVE_REPLICA" and is_engine(deployment) and names.get(actor.node_id) == node:
            call_replica(
                actor.name, "collective_rpc", ("reload_weights", None, (), {"weights_path": weights}), _SECONDS
            )
            done += 1
    print(f"scrambled {done} engines on {node}")
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
