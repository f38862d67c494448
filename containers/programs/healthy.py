"""Whether a container's service works, asked of Ray's API: node | application | http, see `main`.

    healthy.py node DASHBOARD-URL NAME ADDRESS    Ray lists this node as alive, under its own name and address
    healthy.py application DASHBOARD-URL ENGINES  Serve runs the application, with so many engines that have answered
    healthy.py http URL                           somebody answers, whoever may ask

One look, one line, exit 0 or 1; the container engine asks again. Standard library only: it starts every few seconds.
"""

import http.client
import os
import sys

from facts.programs import direct, ray_rest
from facts.programs.engines import running

SECONDS = 4.0  # below the timeout of the health checks, so that the line is said


class UnhealthyError(Exception):
    """What is wrong, in one line."""


def node(dashboard: str, name: str, address: str) -> str:
    """Ray keeps the dead beside the living: a node that came back is there twice, and one entry has to be alive."""
    rows = ray_rest.nodes(ray_rest.request(f"{dashboard}{ray_rest.NODES}", seconds=SECONDS))
    mine = [row for row in rows if row["node_name"] == name]
    alive = [row for row in mine if row["state"] == "ALIVE"]
    if not mine:
        raise UnhealthyError(f"Ray has no node {name}; it has {', '.join(sorted({r['node_name'] for r in rows}))}")
    if not alive:
        raise UnhealthyError(f"Ray says that {name} is {mine[-1]['state']}")
    if alive[-1]["node_ip"] != address:
        raise UnhealthyError(f"Ray has {name} at {alive[-1]['node_ip']} instead of {address}")
    return f"{name} is alive at {address}"


def application(dashboard: str, engines: str) -> str:
    """An engine is RUNNING when it gave the golden answer, and stays so while it does (cluster_engine.py)."""
    found = ray_rest.request(f"{dashboard}{ray_rest.APPLICATIONS}", seconds=SECONDS).get("applications", {})
    if not found:
        raise UnhealthyError("the application is not deployed")
    answered = 0
    for name, state in found.items():
        if state["status"] != "RUNNING":
            raise UnhealthyError(f"application {name} is {state['status']}: {state.get('message', '')[:300]}")
        answered += running(state)
    if answered < int(engines):
        raise UnhealthyError(f"{answered} of {engines} engines have answered")
    return f"{answered} engines have answered"


def answers(url: str) -> str:
    """401 is an answer as well: the key is not for whoever looks after the container."""
    status = direct.status(url, SECONDS)
    if status >= 500:
        raise UnhealthyError(f"{url} answers {status}")
    return f"{url} answers {status}"


def main() -> int:
    """Exit 0 when it holds, 1 when it does not, 2 when nobody knows what was asked.

    `node` without arguments takes them from the environment, for an image that is started without a compose file.
    """
    arguments = sys.argv[1:]
    if arguments == ["node"]:
        arguments += [os.environ.get(name, "") for name in ("CLUSTER_DASHBOARD", "CLUSTER_NODE_NAME", "VLLM_HOST_IP")]
    try:
        match arguments:
            case ["node", dashboard, name, address]:
                print(node(dashboard, name, address))
            case ["application", dashboard, engines]:
                print(application(dashboard, engines))
            case ["http", url]:
                print(answers(url))
            case _:
                print("usage: healthy.py node DASHBOARD NAME ADDRESS | application DASHBOARD ENGINES | http URL")
                return 2
    except UnhealthyError as error:
        print(error)
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
        print(f"{type(error).__name__}: {error}")
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
