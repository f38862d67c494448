"""Ray's REST interface on the head: what is asked, with the cluster's token, and where its answers have what.

Standard library only.
"""

import json
import os
import urllib.request
from pathlib import Path
from typing import Any

from facts.programs import direct

NODES = "/api/v0/nodes?detail=1&limit=1000"
APPLICATIONS = "/api/serve/applications/"


def request(url: str, *, method: str = "GET", body: Any = None, token_file: str = "", seconds: float = 10.0) -> Any:
    """Decoded JSON of one call, None for an empty answer. OSError, ValueError as urllib and json raise them.

    The token is the one in `token_file`, by default the one that Ray's own environment names.
    """
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if path := token_file or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        headers["Authorization"] = f"Bearer {Path(path).read_text().strip()}"
    data = None if body is None else json.dumps(body).encode()
    call = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310 (http by design)
    with direct.opened(call, seconds) as answer:
        text = answer.read().decode()
    return json.loads(text) if text.strip() else None


def nodes(answer: Any) -> list[dict[str, Any]]:
    """The rows in an answer to NODES; KeyError or TypeError for another shape."""
    rows: list[dict[str, Any]] = answer["data"]["result"]["result"]
    return rows
