"""Look at engine replicas until told to stop.

Arguments: KEY-FILE FIRST-PORT LAST-PORT PERIOD-SECONDS LIMIT-SECONDS NAME=ADDRESS...

Runs on a host that may reach the replicas, from its standard input, with the system's Python. Prints one line of JSON
for each look: {at, node, status, state, reason}; `status` is that of GET /cluster/ready on the first port that answers,
0 when none does. Ends after LIMIT-SECONDS, or when nobody reads any more.
"""

import http.client
import json
import os
import sys
import threading
import time

key_file, first, last, period, limit = sys.argv[1:6]
places = dict(entry.split("=", 1) for entry in sys.argv[6:])
TIMEOUT_SECONDS = 2.0
try:
    with open(key_file) as stream:
        headers = {"Authorization": "Bearer " + stream.read().strip()}
except OSError:
    headers = {}


def look(address: str, port: int) -> tuple[int, dict[str, str]]:
    """Status and body of one question; OSError or HTTPException when nobody answers it."""
    connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT_SECONDS)
    try:
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


def watch(node: str, address: str) -> None:
    """Look at one node for ever. The port that answered last is asked first."""
    ports = list(range(int(first), int(last) + 1))
    while True:
        began = time.time()
        found = {"at": began, "node": node, "status": 0, "state": "", "reason": "nobody listens"}
        for port in ports:
            try:
                status, said = look(address, port)
            except ConnectionRefusedError:
                continue
            except (OSError, http.client.HTTPException) as error:
                # Silence is the host's, not the port's: the other ports would only take as long.
                found["reason"] = f"{type(error).__name__} {error}"
                break
            state, reason = str(said.get("state", "")), str(said.get("reason", ""))[:200]
            found.update(status=status, state=state, reason=reason)
            if status == 200:
                # It serves since it answered; one that does not serve did not when it was asked.
                found["at"] = time.time()
            ports.remove(port)
            ports.insert(0, port)
            break
        try:
            print(json.dumps(found), flush=True)
        except OSError:
            os._exit(0)
        time.sleep(max(began + float(period) - time.time(), 0.05))


for name in places:
    threading.Thread(target=watch, args=(name, places[name]), daemon=True).start()
time.sleep(float(limit))
