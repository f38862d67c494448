"""What `gateway` computes from its runs, and its Markdown. Pure; milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.load import tool as load_tool
from experiments.report import markdown
from experiments.report.markdown import shown

ADDED_P50_MS, ADDED_P99_MS, LEAST_RATIO, RATIO_CONCURRENT = 2.0, 5.0, 0.99, 64
# A stub that is later than this says that the machine had other work: the figures beside it say little.
STUB_LATE_P50_MS, STUB_LATE_P99_MS = 1.0, 5.0
DIRECT, REPLICA, GATEWAY = "direct", "replica", "gateway"
_LATE = ("p50_ms", "p99_ms")
_TIMES = ("added_first_token_ms", "added_between_tokens_ms")


def compared(direct: Mapping[str, Any], gateway: Mapping[str, Any]) -> dict[str, Any]:
    """What the gateway adds to each percentile (milliseconds), and its share of the throughput. Pure."""

    def difference(name: str, share: str) -> float | None:
        with_gateway, without = gateway[name][share], direct[name][share]
        return None if with_gateway is None or without is None else round(with_gateway - without, 3)

    def share_of(name: str) -> float | None:
        return round(gateway[name] / direct[name], 4) if gateway[name] and direct[name] else None

    return {
        "added_first_token_ms": {share: difference("first_token_ms", share) for share in load_tool.SHARES},
        "added_between_tokens_ms": {share: difference("between_tokens_ms", share) for share in load_tool.SHARES},
        "requests_ratio": share_of("requests_a_second"),
        "tokens_ratio": share_of("tokens_a_second"),
    }


def targets_missed(result: Mapping[str, Any]) -> list[str]:
    """What the figures miss of the targets, and figures that are not there. Pure."""
    missed = []
    for part in ("stub", "engine"):
        for concurrent, measured in result.get(part, {}).get("concurrent", {}).items():
            where = f"{part}, {concurrent} at once"
            for share, most in (("p50", ADDED_P50_MS), ("p99", ADDED_P99_MS)):
                added = measured["added_first_token_ms"][share]
                if added is None:
                    missed.append(f"{where}: no {share} of the time to first token")
                elif added > most:
                    missed.append(f"{where}: {added:.2f} ms added to the {share} of first tokens; target {most:g}")
            late = measured.get("stub_late", {}).get("first", {})
            for share, most in (("p50_ms", STUB_LATE_P50_MS), ("p99_ms", STUB_LATE_P99_MS)):
                if late.get(share) is not None and late[share] > most:
                    missed.append(
                        f"{where}: the stub's first tokens were {late[share]:.2f} ms late ({share[:3]}): noise"
                    )
            ratio = measured["requests_ratio"]
            if int(concurrent) == RATIO_CONCURRENT and (ratio is None or ratio < LEAST_RATIO):
                missed.append(f"{where}: {ratio} of the direct requests a second; target {LEAST_RATIO}")
    return missed


def unlike(processes: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Why bare engine and replicas do not run alike; empty when they do. Pure."""
    if len(processes["bare"]) != 1 or not processes["replicas"]:
        return [f"{len(processes['bare'])} bare engines and {len(processes['replicas'])} replicas seen; not compared"]
    bare = processes["bare"][0]
    return [
        f"the bare engine runs on processors {bare['processors']}, a replica on {replica['processors']}"
        for replica in processes["replicas"]
        if replica["processors"] != bare["processors"]
    ]


def report(result: Mapping[str, Any]) -> str:
    """The results as Markdown. Pure."""
    options = result["options"]
    parts = [
        "# What the gateway adds\n",
        markdown.about(result["machine"], result["versions"], result["started"]),
        f"Load: `vllm bench serve`, {options['output_tokens']} tokens an answer on average, one request after the "
        f"other for each of those at once. Gateway: HAProxy with the {options['configuration']} configuration.\n",
    ]
    if "stub" in result:
        speed = result["stub"]["engine"]
        parts += [
            f"## Stub engine: first token after {speed['ttft_ms']:g} ms, then one each {speed['itl_ms']:g} ms\n",
            comparison_table(result["stub"]["concurrent"]),
            "",
        ]
        late = [
            [number, *(shown(measured["stub_late"][kind][share], 2) for kind in ("first", "next") for share in _LATE)]
            for number, measured in result["stub"]["concurrent"].items()
        ]
        head = ["at once", "first token p50 ms", "p99 ms", "next tokens p50 ms", "p99 ms"]
        parts += ["How late the stub wrote its tokens (both kinds of runs):\n", markdown.table(head, late), ""]
    if "engine" in result:
        processes = result["engine"].get("processes", {})
        threads = {kind: [core["threads"] for core in cores] for kind, cores in processes.items()}
        parts += [
            "## Real engine: bare vLLM beside a replica behind the gateway\n",
            comparison_table(result["engine"]["concurrent"]),
            "",
            *parts_of_it(result["engine"]["concurrent"]),
            *paired_table(result["engine"]["concurrent"]),
            "Least and most of single runs; a difference smaller than that says little:\n",
            runs_table(result["engine"]["concurrent"]),
            "",
            f"Flags of both: `{' '.join(result['engine']['flags'])}`. Threads of the engine processes: {threads}.\n",
        ]
    parts += [
        f"Targets: at most {ADDED_P50_MS:g} ms added to the first token in the middle and {ADDED_P99_MS:g} ms at p99; "
        f"at least {LEAST_RATIO} of the direct requests a second at {RATIO_CONCURRENT} at once.\n",
        markdown.listed_misses(result["misses"]),
    ]
    return "\n".join(parts)


def parts_of_it(measured: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Where what was added comes from: the gateway on the way, or another engine process than the bare one. Pure."""
    rows = [
        [
            f"{number} at once, {what}",
            *(shown(found[key][times][share], 2) for times in _TIMES for share in ("p50", "p99")),
            shown(found[key]["requests_ratio"], 4),
        ]
        for number, found in measured.items()
        for key, what in (("replica_over_direct", "replica - bare"), ("gateway_over_replica", "gateway - replica"))
        if key in found
    ]
    head = ["of that", "first token p50 ms", "p99 ms", "between tokens p50 ms", "p99 ms", "requests/s ratio"]
    return [markdown.table(head, rows), ""] if rows else []


def paired_table(measured: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the gateway adds block by block, with 95 % intervals, as Markdown; nothing where it was not kept. Pure."""

    def said(found: Mapping[str, Any], digits: int) -> str:
        low, high = shown(found["low"], digits), shown(found["high"], digits)
        return f"{shown(found['mean'], digits)} ({low} to {high})"

    rows = [
        [
            number,
            str(found["paired"]["requests_ratio"]["pairs"]),
            *(said(found["paired"][f"first_token_{share}_ms"], 2) for share in load_tool.SHARES),
            said(found["paired"]["requests_ratio"], 4),
        ]
        for number, found in measured.items()
        if "paired" in found
    ]
    head = ["at once", "blocks", "first token p50, ms added", "p90", "p99", "requests/s ratio"]
    return (
        ["Gateway beside bare, block by block, with 95 % intervals:\n", markdown.table(head, rows), ""] if rows else []
    )


def runs_table(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """How far runs of one lane lie apart, as Markdown. Pure."""
    rows = []
    for number, found in measured.items():
        for lane, name in ((DIRECT, "bare"), (REPLICA, REPLICA), (GATEWAY, GATEWAY)):
            each = found.get(lane, {}).get("each", [])
            columns = (
                [run[key] for run in each if run[key] is not None]
                for key in ("requests_a_second", "first_token_p50_ms", "first_token_p99_ms")
            )
            if each:
                spans = [f"{min(values):.1f} - {max(values):.1f}" if values else "-" for values in columns]
                rows.append([f"{number} at once, {name}", str(len(each)), *spans])
    return markdown.table(["lane", "runs", "requests/s", "first token p50 ms", "p99 ms"], rows)


def comparison_table(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """Direct beside gateway for each number at once, as Markdown. Pure."""
    rows = []
    for number, found in measured.items():
        first = {kind: found[kind]["first_token_ms"] for kind in (DIRECT, GATEWAY)}
        rows.append(
            [
                number,
                f"{found[DIRECT]['requests']} + {found[GATEWAY]['requests']}",
                *(
                    f"{shown(first[DIRECT][share], 1)} / {shown(first[GATEWAY][share], 1)}"
                    for share in load_tool.SHARES
                ),
                *(shown(found["added_first_token_ms"][share], 2) for share in load_tool.SHARES),
                shown(found["requests_ratio"], 4),
                shown(found["tokens_ratio"], 4),
                shown(found["gateway_processor_ms_a_request"], 2),
            ]
        )
    head = ["at once", "requests", "first token p50 ms", "p90 ms", "p99 ms", "added p50", "added p90", "added p99"]
    return markdown.table([*head, "requests/s ratio", "tokens/s ratio", "gateway CPU ms a request"], rows)
