"""The cluster's OpenAI-compatible API, as the operator's machine sees it."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cli.clusters import ClusterInventory
from cli.errors import DOES_NOT_HOLD, OperatorError

ANSWER_SECONDS = 180.0


@dataclass(frozen=True)
class Answer:
    """One answer, with the node that gave it."""

    question: str
    answer: str
    node: str
    model: str
    seconds: float
    completion_tokens: int

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def api_key(cluster: ClusterInventory) -> str | None:
    """The cluster's API key, or None where the API is on loopback and wants none."""
    settings = cluster.control.settings
    if not settings.api_key_required:
        return None
    path = Path(settings.secrets["api-key"])
    try:
        return path.read_text().strip()
    except OSError as error:
        raise OperatorError(
            f"{cluster.name}: API key {path}: {error.strerror}; "
            f"it is made by `cluster -c {cluster.name} up` on this machine"
        ) from None


def ask(
    cluster: ClusterInventory, question: str, *, max_tokens: int, temperature: float, seconds: float = ANSWER_SECONDS
) -> Answer:
    """Ask one question. OperatorError (exit 1) when the API does not answer, with what to look at."""
    settings = cluster.control.settings
    body = {
        "model": settings.model.name,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": max_tokens,
        "temperature": temperature,
    }
    headers = {"Content-Type": "application/json"}
    key = api_key(cluster)
    if key:
        headers["Authorization"] = f"Bearer {key}"
    url = f"{settings.endpoint}/chat/completions"
    call = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers, method="POST")  # noqa: S310
    started = time.monotonic()
    try:
        with urllib.request.urlopen(call, timeout=seconds) as response:  # noqa: S310 (http by design)
            answer = json.load(response)
        text = answer["choices"][0]["message"]["content"] or ""
        node = answer.get("system_fingerprint") or ""
        tokens = int((answer.get("usage") or {}).get("completion_tokens") or 0)
    except urllib.error.HTTPError as error:
        said = " ".join(error.read().decode(errors="replace").split())[:300]
        raise OperatorError(f"{url}: {error.code} {error.reason}: {said}", exit_code=DOES_NOT_HOLD) from None
    except (OSError, KeyError, IndexError, ValueError) as error:
        raise OperatorError(
            f"{url}: {getattr(error, 'reason', None) or error}; see `cluster -c {cluster.name} status`",
            exit_code=DOES_NOT_HOLD,
        ) from None
    return Answer(
        question, text.strip(), node, str(answer.get("model", "")), round(time.monotonic() - started, 3), tokens
    )
