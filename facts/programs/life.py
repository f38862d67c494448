"""What every engine says of its own life, asked all at once: life.py SECONDS, places on standard input as JSON.

Standard library only; prints one JSON line: the bodies of GET /cluster/proof, in the order of the places
([[node, address, port], ...]). Where nothing listens there is no engine; one that accepts and does not answer is
told as silent.
"""

import concurrent.futures
import http.client
import json
import sys
from typing import Any


def ask(place: list[Any], seconds: float) -> dict[str, Any] | None:
    """One engine's report, or None where nothing listens."""
    node, address, port = place
    connection = http.client.HTTPConnection(address, port, timeout=seconds)
    try:
        try:
            connection.connect()
        except ConnectionRefusedError:
            return None
        connection.request("GET", "/cluster/proof")
        report: dict[str, Any] = json.loads(connection.getresponse().read())
        return {**report, "node": node, "address": address, "port": port}
    except (OSError, ValueError, TypeError, http.client.HTTPException) as error:
        reason = f"no report within {seconds:.0f} s" if isinstance(error, TimeoutError) else str(error)
        return {"node": node, "address": address, "port": port, "state": "silent", "reason": reason}
    finally:
        connection.close()


def main() -> None:
    """Reports of all places that have an engine."""
    places, seconds = json.load(sys.stdin), float(sys.argv[1])
    with concurrent.futures.ThreadPoolExecutor(max(len(places), 1)) as pool:
        print(json.dumps([report for report in pool.map(lambda place: ask(place, seconds), places) if report]))


if __name__ == "__main__":
    main()
