"""One HTTP request of the API for JSON: from the operator's machine or, sent over SSH, from the control node.

Standard library only. As a program it reads the order on standard input, so that no key is in a command line, and
prints the reply.
"""

import json
import sys
import urllib.error
import urllib.request
from typing import Any

from facts.programs import direct


def send(order: dict[str, Any]) -> dict[str, Any]:
    """{answer, node} or {error} for {url, key, seconds, body}; without a body it is a GET."""
    headers = {"Authorization": "Bearer " + order["key"]} if order["key"] else {}
    body = None
    if order.get("body") is not None:
        headers["Content-Type"] = "application/json"
        body = json.dumps(order["body"]).encode()
    url = order["url"]
    try:
        with direct.opened(urllib.request.Request(url, body, headers), order["seconds"]) as response:  # noqa: S310
            return {"answer": json.load(response), "node": response.headers.get("x-cluster-node", "")}
    except urllib.error.HTTPError as error:
        said = " ".join(error.read().decode(errors="replace").split())[:300]
        return {"error": f"{url}: {error.code} {error.reason}: {said}"}
    except (OSError, ValueError) as error:
        return {"error": f"{url}: {getattr(error, 'reason', None) or error}"}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(send(json.load(sys.stdin))))
