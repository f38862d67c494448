"""The cluster's OpenAI-compatible API, as the operator's machine sees it."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deploys.vllm.settings import Application
from facts import sources
from facts.programs import api_request
from facts.programs.golden import asked, is_right
from operate.clusters import ClusterInventory
from operate.errors import DOES_NOT_HOLD, OperatorError
from operate.ssh import ssh_command

ANSWER_SECONDS = 180.0
REACH_SECONDS = 3.0
STATE_SECONDS = 5.0


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
            f"{cluster.name}: API key {path}: {error.strerror}; it is made by `{cluster.command} up` on this machine"
        ) from None


def application_of(cluster: ClusterInventory, model: str = "") -> Application:
    """The declared application of a model, the default one for ""; OperatorError that lists those that there are."""
    applications = cluster.control.settings.applications
    found = [application for application in applications if not model or model in application.model.names]
    if not found:
        known = ", ".join(application.model.name for application in applications)
        raise OperatorError(f"{cluster.name} does not serve {model!r}; it serves {known}")
    return found[0]


def served_name(cluster: ClusterInventory, model: str) -> str:
    """The name by which the API knows a model, whichever of its names is given; another word stays as it is."""
    applications = cluster.control.settings.applications
    return next((one.model.name for one in applications if not model or model in one.model.names), model)


def ask_golden(cluster: ClusterInventory, model: str = "") -> tuple[Answer, bool]:
    """Ask a model its own golden question; the answer, and whether it is right as far as the inventory tells.

    A golden answer that was taken when the weights were fetched is not known here: the engines compare it themselves.
    """
    golden = application_of(cluster, model).model.golden
    question = asked(golden)
    answer = ask(
        cluster,
        question,
        max_tokens=int(golden["max_tokens"]),
        temperature=0.0,
        completion="question" not in golden,
        model=model,
    )
    return answer, is_right(str(golden.get("expected", "")), answer.answer)


def ask(
    cluster: ClusterInventory,
    question: str,
    *,
    max_tokens: int,
    temperature: float,
    seconds: float = ANSWER_SECONDS,
    completion: bool | None = None,
    model: str = "",
) -> Answer:
    """Ask one question, as a chat or, where the model takes a bare prompt, as a completion.

    OperatorError (exit 1) when the API does not answer, with what to look at; exit 2 for a model that is not declared.
    """
    settings, served = cluster.control.settings, application_of(cluster, model).model
    if completion is None:
        completion = served.task in ("completion", "fill-mask")
    what = {"prompt": question} if completion else {"messages": [{"role": "user", "content": question}]}
    body = {"model": served.name, **what, "max_tokens": max_tokens, "temperature": temperature}
    order = {
        "url": f"{settings.endpoint}/{'' if completion else 'chat/'}completions",
        "key": api_key(cluster) or "",
        "body": body,
        "seconds": seconds,
    }
    started = time.monotonic()
    reply = _reply(cluster, order)
    if "error" in reply:
        raise OperatorError(f"{reply['error']}; see `{cluster.command} status`", exit_code=DOES_NOT_HOLD)
    try:
        answer = reply["answer"]
        choice = answer["choices"][0]
        text = (choice["text"] if completion else choice["message"]["content"]) or ""
        tokens = int((answer.get("usage") or {}).get("completion_tokens") or 0)
    except (KeyError, IndexError, TypeError) as error:
        raise OperatorError(f"{order['url']}: unexpected answer, no {error}", exit_code=DOES_NOT_HOLD) from None
    return Answer(
        question,
        text.strip(),
        str(reply.get("node") or ""),
        str(answer.get("model", "")),
        round(time.monotonic() - started, 3),
        tokens,
    )


def state(cluster: ClusterInventory, *, seconds: float = STATE_SECONDS) -> dict[str, Any] | None:
    """What the control node's watch service knows (docs/web-page.md); None where it does not answer."""
    url = f"{cluster.control.settings.endpoint.removesuffix('/v1')}/cluster/state"
    try:
        found = _reply(cluster, {"url": url, "key": api_key(cluster) or "", "seconds": seconds}).get("answer")
    except OperatorError:
        return None  # no key yet: the cluster was never up
    return found if isinstance(found, dict) else None


def _reply(cluster: ClusterInventory, order: dict[str, Any]) -> dict[str, Any]:
    """From here, or from the control node where the operator is not on the cluster's network."""
    settings = cluster.control.settings
    if reachable(settings.head_address, settings.gateway.port):
        return api_request.send(order)
    if "ssh_user" not in cluster.control.data:
        return {"error": f"{order['url']}: nothing listens there"}
    # The program is an argument and the order its input.
    program = shlex.join(["python3", "-c", sources.text("facts.programs.api_request")])
    try:
        done = subprocess.run(
            [*ssh_command(cluster.control), program],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            timeout=order["seconds"] + 30,
            check=False,
        )
        reply: dict[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return {"error": f"{order['url']}: no answer within {order['seconds']:.0f} s"}
    except ValueError:
        return {"error": f"{order['url']}: {' '.join(done.stderr.split())[-300:] or 'no answer'}"}
    return reply


def reachable(address: str, port: int) -> bool:
    """Whether something accepts connections there, from this machine."""
    try:
        with socket.create_connection((address, port), timeout=REACH_SECONDS):
            return True
    except OSError:
        return False
