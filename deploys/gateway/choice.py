"""Which model a request is for, as HAProxy's rules: one backend a model, chosen by the request's own `model`.

Pure. With one model there is nothing to choose, and the engine itself answers `/v1/models` and refuses other names.
With several, the gateway lists those with an engine now, and refuses a name that is not declared, in OpenAI's shape.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Engine:
    """One place where an engine may listen."""

    name: str
    address: str
    port: int


@dataclass(frozen=True)
class Served:
    """One model and every place where an engine of it may listen: the health checks find out which of them serve."""

    model: str
    places: Sequence[Engine]
    maximum_length: int = 0


_LIST = ("path /v1/models", "path_beg /v1/models/")


def backend(models: Sequence[Served], one: Served) -> str:
    """Name of a model's backend."""
    return "engines" if len(models) == 1 else f"engines-{one.model}"


def rules(models: Sequence[Served]) -> list[str]:
    """`http-request` rules of the frontend: health, the list of models, and what is asked for."""
    serves = {one.model: f"{{ nbsrv({backend(models, one)}) ge 1 }}" for one in models}
    healthy = f"    http-request return status 200 {_json({'status': 'serving'})} if {{ path /health }}"
    if len(models) == 1:
        return [f"{healthy} {serves[models[0].model]}"]
    lines = [f"{healthy} {{ urlp(model) -m str {model} }} {served}" for model, served in serves.items()]
    lines += [f"{healthy} !{{ urlp(model) -m found }} {served}" for served in serves.values()]
    body = {"message": "no engine of this model serves", "type": "service_unavailable", "param": None, "code": 503}
    refused = f"    http-request return status 503 {_json({'error': body})}"
    lines.append(f"{refused} if {{ path /health }} {{ urlp(model) -m found }}")
    body = {"message": "/v1/models takes GET and HEAD", "type": "invalid_request_error", "param": None, "code": 405}
    told = f'status 405 content-type application/json lf-string "{_text({"error": body})}" hdr allow "GET, HEAD"'
    unread = "!{ method GET HEAD OPTIONS }"
    lines += [f"    http-request return {told} if {unread} {{ {path} }}" for path in _LIST]
    for one in models:
        shown = _text({"id": one.model, "object": "model", "created": 0, "owned_by": "cluster", **_length(one)})
        shown = shown.replace('\\"created\\": 0', '\\"created\\": %[date]')
        served = serves[one.model]
        lines += [
            f'    http-request return status 200 content-type application/json lf-string "{shown}" '
            f"if {{ path /v1/models/{one.model} }} {served}",
            f'    http-request set-var-fmt(txn.models) "%[var(txn.models)]%[var(txn.comma)]{shown}" '
            f"if {{ path /v1/models }} {served}",
            f'    http-request set-var-fmt(txn.comma) ", " if {{ path /v1/models }} {served}',
        ]
    known = " ".join(one.model for one in models)
    return [
        *lines,
        "    http-request return status 200 content-type application/json lf-string "
        '"{\\"object\\": \\"list\\", \\"data\\": [%[var(txn.models)]]}" if { path /v1/models }',
        "    http-request set-var(txn.model) req.body,json_query('$.model') if asks api",
        "    http-request set-var(txn.model) path,field(4,/) if { path_beg /v1/models/ }",
        f'    http-request return status 404 content-type application/json lf-string "{_unknown()}" '
        f"if {{ var(txn.model) -m found }} !{{ var(txn.model) -m str {known} }}",
    ]


def uses(models: Sequence[Served]) -> list[str]:
    """`use_backend` rules; a request that names no model goes to the default one."""
    return [
        f"    use_backend {backend(models, one)} if {{ var(txn.model) -m str {one.model} }}" for one in models[1:]
    ] + [f"    default_backend {backend(models, models[0])}"]


def _length(one: Served) -> dict[str, int]:
    return {"max_model_len": one.maximum_length} if one.maximum_length else {}


def _unknown() -> str:
    """OpenAI's own code for it. What was asked for is shortened and escaped: it comes from outside."""
    asked = "%[var(txn.model),bytes(0,120),json(utf8s)]"
    message = f"The model `{asked}` does not exist; GET /v1/models lists those that are served"
    error = {"message": message, "type": "invalid_request_error", "param": "model", "code": "model_not_found"}
    return _text({"error": error})


def _json(body: object) -> str:
    return f'content-type application/json string "{_text(body)}"'


def _text(body: object) -> str:
    return json.dumps(body).replace("\\", "\\\\").replace('"', '\\"')
