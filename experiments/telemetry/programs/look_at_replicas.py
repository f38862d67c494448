"""Look at engine replicas until told to stop.

Arguments: KEY-FILE FIRST-PORT LAST-PORT PERIOD-SECONDS LIMIT-SECONDS NAME=ADDRESS...

Runs on a host that may reach the replicas, from its standard input, with the system's Python. Prints one line of JSON
for each look: {at, node, status, state, reason}; `status` is that of GET /cluster/ready: 200 when any port of the node
says so, 0 when none answers. Ends after LIMIT-SECONDS, or when nobody reads any more.
"""

import http.client
import json
import os
import sys
import threading
import time

TIMEOUT_SECONDS = 2.0


class Unreachable(Exception):
    """The host does not answer at all."""


def look(address: str, port: int, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
    """Status and body of one question; OSError or HTTPException when nobody answers it, Unreachable for a dead host."""
    connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT_SECONDS)
    try:
        try:
            connection.connect()
        except ConnectionRefusedError:
            raise
        except OSError as error:
            raise Unreachable(f"{type(error).__name__} {error}") from None
        connection.request("GET", "/cluster/ready", headers=headers)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    try:
        said = json.loads(body)
    except ValueError:
        said = {}
    return response.status, said if isinstance(said, dict) else {}


def look_at(node: str, address: str, ports: range, headers: dict[str, str]) -> dict[str, object]:
    """The best of what a node's ports say: a replica that ends may still say so beside the one that serves."""
    found: dict[str, object] = {"at": time.time(), "node": node, "status": 0, "state": "", "reason": "nobody listens"}
    for port in ports:
        try:
            status, said = look(address, port, headers)
        except ConnectionRefusedError:
            continue
        except Unreachable as error:
            # Silence is the host's, not the port's: the other ports would only take as long.
            found["reason"] = str(error)
            break
        except (OSError, http.client.HTTPException) as error:
            found["reason"] = f"port {port}: {type(error).__name__} {error}"
            continue
        found["status"] = status
        found.update(state=str(said.get("state", "")), reason=str(said.get("reason", ""))[:200])
        if status == 200:
            # It serves since it answered; one that does not serve did not when it was asked.
            found["at"] = time.time()
            break
    return found


def watch(node: str, address: str, ports: range, period: float, headers: dict[str, str]) -> None:
    """Look at one node for ever."""
    while True:
        began = time.time()
        found = look_at(node, address, ports, headers)
        try:
            print(json.dumps(found), flush=True)
        except OSError:
            os._exit(0)
        time.sleep(max(began + period - time.time(), 0.05))


def key_headers(file: str) -> dict[str, str]:
    """What the replicas ask for, where there is a key."""
    try:
        with open(file) as stream:
            return {"Authorization": "Bearer " + stream.read().strip()}
    except OSError:
        return {}


def main() -> None:
    """Look at every node in a thread of its own, until the time is over."""
    key_file, first, last, period, limit = sys.argv[1:6]
    ports, headers = range(int(first), int(last) + 1), key_headers(key_file)
    for entry in sys.argv[6:]:
        node, _, address = entry.partition("=")
        arguments = (node, address, ports, float(period), headers)
        threading.Thread(target=watch, args=arguments, daemon=True).start()
    time.sleep(float(limit))


if __name__ == "__main__":
    main()
