"""Spans of a stub engine, sent by OTLP as vLLM sends its own: what is told of a request is what the stub really did.

Standard library only. A thread of its own sends them, in bunches; a receiver that is away costs spans, and no answer.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
import urllib.request
from collections import deque
from typing import Any

from facts.programs import direct

SEND_SECONDS = 0.5
MOST_WAITING = 100_000
TIMEOUT_SECONDS = 5.0
_LATENCY = "gen_ai.latency."


class Traces:
    """Sends spans to `url`, in the name of `node`."""

    def __init__(self, url: str, node: str) -> None:
        self.url, self.node = url, node
        self.lost = 0
        self._waiting: deque[dict[str, Any]] = deque(maxlen=MOST_WAITING)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send_all, daemon=True)
        self._thread.start()

    def add(self, traceparent: str, *, queue: float, prefill: float, decode: float) -> None:
        """A request that ends now. `traceparent` as it came (W3C Trace Context); lengths in seconds."""
        version, trace, parent, *_ = (*traceparent.split("-"), "", "")
        if version != "00" or len(trace) != 32:
            return
        ended, whole = time.time(), queue + prefill + decode
        latencies = {"e2e": whole, "time_in_queue": queue}
        latencies |= {"time_in_model_prefill": prefill, "time_in_model_decode": decode}
        self._waiting.append(
            {
                "traceId": trace,
                "spanId": secrets.token_hex(8),
                "parentSpanId": parent,
                "name": "llm_request",
                "startTimeUnixNano": str(int((ended - whole) * 1e9)),
                "endTimeUnixNano": str(int(ended * 1e9)),
                "attributes": [
                    {"key": f"{_LATENCY}{name}", "value": {"doubleValue": value}} for name, value in latencies.items()
                ],
            }
        )

    def close(self) -> None:
        """Send what waits."""
        self._stop.set()
        self._thread.join(2 * TIMEOUT_SECONDS)

    def _send_all(self) -> None:
        while not self._stop.wait(SEND_SECONDS):
            self._send()
        self._send()

    def _send(self) -> None:
        spans = []
        while self._waiting:
            spans.append(self._waiting.popleft())
        if not spans:
            return
        resource = {"attributes": [{"key": "cluster.node", "value": {"stringValue": self.node}}]}
        body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}
        call = urllib.request.Request(  # noqa: S310 (the address is the test's)
            self.url, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            direct.opened(call, TIMEOUT_SECONDS).close()
        except OSError:
            self.lost += len(spans)
