"""What the watch service knows: the last word of every replica, rates from counters, latency, a short history.

Pure, standard library only; times are unix seconds and come from the caller. Everything that was said by another
process is clipped and typed here, so that nothing downstream has to trust it; memory is bounded by the declared nodes
and ports, and by the length of the history.
"""

import math
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

# What a replica says of itself; and what only the one who asks can say.
SAID = ("serving", "starting", "draining", "wedged", "wrong")
SILENT, GONE, UNREADABLE = "silent", "gone", "unreadable"

RATE_SECONDS = 8.0
LATENCY_SECONDS = 60.0
GONE_SECONDS = 20.0
SILENT_SECONDS = 600.0
TEXT = 400
FAILURES = 200
LARGEST = 1e15

HISTOGRAMS = {
    "ttft_seconds": "vllm:time_to_first_token_seconds",
    "inter_token_seconds": "vllm:inter_token_latency_seconds",
}
Buckets = dict[float, float]


def text(value: Any, length: int = TEXT) -> str:
    """A string of at most `length` characters; other things than strings and numbers are left out."""
    return str(value)[:length] if isinstance(value, str | int | float) else ""


def number(value: Any) -> float | None:
    """A number that can be reckoned with (no NaN, nothing beyond LARGEST), or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST < value < LARGEST:
        return None
    return value


def sequence(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def mapping(value: Any) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def proof(answer: Any, *, node: str, address: str, port: int) -> dict[str, Any] | None:
    """A replica's word on itself, clipped and typed; None when it is none. Its place is where it was asked."""
    said = mapping(answer)
    if said.get("state") not in SAID or not isinstance(said.get("replica"), str):
        return None
    proofs, requests = mapping(said.get("proofs")), mapping(said.get("requests"))
    last = mapping(proofs.get("last"))
    return {
        "node": node,
        "address": address,
        "port": port,
        "replica": text(said["replica"], 120),
        "model": text(said.get("model"), 120),
        "engine": text(said.get("engine"), 60),
        "state": said["state"],
        "reason": text(said.get("reason")),
        "since": number(said.get("since")),
        "started": number(said.get("started")),
        "proofs": {
            "asked": number(proofs.get("asked")) or 0,
            "failed": number(proofs.get("failed")) or 0,
            "last": {
                "at": number(last.get("at")),
                "correct": last.get("correct") is True,
                "seconds": number(last.get("seconds")),
                "answer": text(last.get("answer")),
                "detail": text(last.get("detail")),
            }
            if last
            else None,
        },
        "requests": {key: number(requests.get(key)) or 0 for key in ("running", "waiting", "finished")},
        "kv_cache_usage": number(said.get("kv_cache_usage")),
        "generated_tokens": number(said.get("generated_tokens")) or 0,
        "prompt_tokens": number(said.get("prompt_tokens")) or 0,
    }


def verify_record(record: Any) -> dict[str, Any]:
    """What `cluster verify` left; ValueError that says what is wrong with it."""
    if not isinstance(record, dict):
        raise ValueError("it is no JSON object")
    at, ok, failures = number(record.get("at")), record.get("ok"), record.get("failures")
    if at is None or (ok is not None and not isinstance(ok, bool)) or not isinstance(failures, list):
        raise ValueError("it has no `at`, `ok` and `failures` as `cluster verify` writes them")
    return {
        "at": at,
        "ok": ok,
        "checks": number(record.get("checks")),
        "seconds": number(record.get("seconds")),
        "failures": [
            {
                "name": text(entry.get("name")),
                "ok": False if entry.get("ok") is False else None,
                "detail": text(entry.get("detail"), 1000),
                "remedy": text(entry.get("remedy"), 1000),
            }
            for entry in failures[:FAILURES]
            if isinstance(entry, dict)
        ],
    }


def histogram(metrics: str, name: str) -> Buckets:
    """Upper bound -> cumulative count of a Prometheus histogram, over all label sets; empty when there is none."""
    found: Buckets = {}
    for match in re.finditer(rf'^{re.escape(name)}_bucket{{[^\n]*?le="([^"]+)"[^\n]*}} ([0-9.e+]+)$', metrics, re.M):
        try:
            bound, count = float(match[1]), float(match[2])
        except ValueError:
            continue
        if bound > 0 and count < LARGEST:
            found[bound] = found.get(bound, 0.0) + count
    return found


def quantile(buckets: Buckets, share: float) -> float | None:
    """The value below which `share` of what was counted lies, linear within a bucket; None when nothing was counted."""
    bounds = sorted(buckets)
    if not bounds or buckets[bounds[-1]] <= 0:
        return None
    wanted, lower, below = share * buckets[bounds[-1]], 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= wanted:
            if math.isinf(bound):
                return lower  # all that is known is that it is more
            inside = buckets[bound] - below
            return lower + (bound - lower) * ((wanted - below) / inside if inside else 1.0)
        lower, below = bound, buckets[bound]
    return lower


@dataclass
class Replica:
    """One place where an engine may listen, and what was heard from there."""

    said: dict[str, Any]
    heard: float
    missed: float | None = None  # since when nothing usable came
    counters: deque[tuple[float, float, float]] = field(default_factory=deque)
    latencies: deque[tuple[float, dict[str, Buckets]]] = field(default_factory=deque)

    def hear(self, said: dict[str, Any], at: float) -> None:
        """A new word; another replica, or counters that went back, begin a new series."""
        tokens, finished = said["generated_tokens"], said["requests"]["finished"]
        other = said["replica"] != self.said["replica"]
        if other or (self.counters and (tokens < self.counters[-1][1] or finished < self.counters[-1][2])):
            self.counters.clear()
            self.latencies.clear()
        self.said, self.heard, self.missed = said, at, None
        self.counters.append((at, tokens, finished))
        while len(self.counters) > 2 and at - self.counters[0][0] > RATE_SECONDS:
            self.counters.popleft()

    def measure(self, metrics: str, at: float) -> None:
        """The engine's own latency histograms, as they stand now."""
        found = {key: histogram(metrics, name) for key, name in HISTOGRAMS.items()}
        if self.latencies and any(
            found[key].get(math.inf, 0) < self.latencies[-1][1][key].get(math.inf, 0) for key in found
        ):
            self.latencies.clear()
        self.latencies.append((at, found))
        while len(self.latencies) > 2 and at - self.latencies[1][0] > LATENCY_SECONDS:
            self.latencies.popleft()

    def rates(self, at: float) -> tuple[float, float]:
        """Generated tokens and finished requests a second, over the last seconds."""
        if self.missed is not None or len(self.counters) < 2 or at - self.counters[-1][0] > RATE_SECONDS:
            return 0.0, 0.0
        (since, tokens, finished), (until, more_tokens, more_finished) = self.counters[0], self.counters[-1]
        seconds = until - since
        return ((more_tokens - tokens) / seconds, (more_finished - finished) / seconds) if seconds > 0 else (0.0, 0.0)

    def recent(self, key: str, at: float) -> Buckets:
        """What was counted in a histogram during the last minute."""
        if len(self.latencies) < 2 or at - self.latencies[-1][0] > LATENCY_SECONDS:
            return {}
        before, now = self.latencies[0][1][key], self.latencies[-1][1][key]
        return {bound: count - before.get(bound, 0.0) for bound, count in now.items()}

    def shown(self, at: float) -> dict[str, Any]:
        """For the page: what it said, with what it does now."""
        tokens, _ = self.rates(at)
        quiet = {"requests": {**self.said["requests"], "running": 0, "waiting": 0}} if self.missed is not None else {}
        return {**self.said, **quiet, "heard": round(self.heard, 1), "tokens_per_second": round(tokens, 1)}


class Replicas:
    """All replicas by (node, port), and the history of their sum."""

    def __init__(self, history_points: int) -> None:
        self.known: dict[tuple[str, int], Replica] = {}
        self.history: deque[dict[str, Any]] = deque(maxlen=history_points)

    def hear(self, said: dict[str, Any], at: float) -> None:
        """A replica answered."""
        key = (said["node"], said["port"])
        if key not in self.known:
            self.known[key] = Replica(said, at)
        self.known[key].hear(said, at)

    def miss(self, node: str, address: str, port: int, why: str, detail: str, at: float) -> None:
        """Nothing usable came. A place that was never heard from counts only when something sits there in silence."""
        key = (node, port)
        replica = self.known.get(key)
        if replica is None:
            if why != "silent":
                return
            blank = proof({"state": "wrong", "replica": ""}, node=node, address=address, port=port)
            replica = self.known[key] = Replica(blank or {}, at)
        if replica.missed is None:
            replica.missed = at
        state = {"refused": GONE, "broken": UNREADABLE}.get(why, SILENT)
        since = replica.said["since"] if replica.said["state"] == state else replica.missed
        replica.said = {**replica.said, "state": state, "reason": detail[:TEXT], "since": since}
        if at - replica.missed > (GONE_SECONDS if why == "refused" else SILENT_SECONDS):
            del self.known[key]

    def idle(self, nodes: Iterable[str]) -> bool:
        """Whether on each of these nodes an engine serves, and none has work."""
        serving = {node for (node, _), replica in self.known.items() if replica.said["state"] == "serving"}
        return serving.issuperset(nodes) and not any(any(self._queue(replica)) for replica in self.known.values())

    def record(self, at: float) -> None:
        """Add a point to the history."""
        load = self.load(at)
        point = {key: load[key] for key in ("tokens_per_second", "requests_per_second", "running", "waiting")}
        point |= {key: (load[key] or {}).get("median") for key in HISTOGRAMS}
        each = {
            f"{node}:{port}": [round(replica.rates(at)[0], 1), *self._queue(replica)]
            for (node, port), replica in sorted(self.known.items())
        }
        self.history.append({"at": round(at, 2), **point, "replicas": each})

    @staticmethod
    def _queue(replica: Replica) -> tuple[float, float]:
        if replica.missed is not None:
            return 0, 0
        return replica.said["requests"]["running"], replica.said["requests"]["waiting"]

    def load(self, at: float) -> dict[str, Any]:
        """The sum over all replicas, now."""
        rates = [replica.rates(at) for replica in self.known.values()]
        queues = [self._queue(replica) for replica in self.known.values()]
        latency: dict[str, Any] = {}
        for key in HISTOGRAMS:
            total: Buckets = {}
            for replica in self.known.values():
                for bound, count in replica.recent(key, at).items():
                    total[bound] = total.get(bound, 0.0) + count
            middle, high = quantile(total, 0.5), quantile(total, 0.99)
            latency[key] = (
                None
                if middle is None or high is None
                else {"median": round(middle, 4), "p99": round(high, 4), "count": int(total[max(total)])}
            )
        return {
            "tokens_per_second": round(sum(rate[0] for rate in rates), 1),
            "requests_per_second": round(sum(rate[1] for rate in rates), 2),
            "running": sum(queue[0] for queue in queues),
            "waiting": sum(queue[1] for queue in queues),
            **latency,
        }

    def shown(self, at: float) -> list[dict[str, Any]]:
        """Every replica for the page, by node and port."""
        return [replica.shown(at) for _, replica in sorted(self.known.items())]
