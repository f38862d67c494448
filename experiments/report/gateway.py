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
    """What the figures miss of the targets, or do not prove of them, and figures that are not there. Pure.

    By the 95 % interval over the blocks where there is one: equal runs lie further apart than the targets are wide.
    """
    missed = []
    for part in ("stub", "engine"):
        for concurrent, measured in result.get(part, {}).get("concurrent", {}).items():
            where = f"{part}, {concurrent} at once"
            for share, most in (("p50", ADDED_P50_MS), ("p99", ADDED_P99_MS)):
                added = measured["added_first_token_ms"][share]
                between = _interval(measured, f"first_token_{share}_ms")
                if added is None:
                    missed.append(f"{where}: no {share} of the time to first token")
                elif between is not None:
                    missed += _beyond(
                        where, f"{{}} ms added to the {share} of first tokens; target {most:g}", between, most
                    )
                elif added > most:
                    missed.append(f"{where}: {added:.2f} ms added to the {share} of first tokens; target {most:g}")
            late = measured.get("stub_late", {}).get("first", {})
            for share, most in (("p50_ms", STUB_LATE_P50_MS), ("p99_ms", STUB_LATE_P99_MS)):
                if late.get(share) is not None and late[share] > most:
                    missed.append(
                        f"{where}: the stub's first tokens were {late[share]:.2f} ms late ({share[:3]}): noise"
                    )
            if int(concurrent) == RATIO_CONCURRENT:
                ratio, between = measured["requests_ratio"], _interval(measured, "requests_ratio")
                said = f"{{}} of the direct requests a second; target {LEAST_RATIO}"
                if between is not None:
                    missed += _beyond(where, said, between, LEAST_RATIO, at_least=True)
                elif ratio is None or ratio < LEAST_RATIO:
                    missed.append(f"{where}: {said.format(ratio)}")
    return missed


def _interval(measured: Mapping[str, Any], name: str) -> tuple[float, float, float] | None:
    """Mean of the blocks, low and high end of its 95 % interval; None where blocks were too few for one."""
    found = measured.get("paired", {}).get(name, {})
    return (found["mean"], found["low"], found["high"]) if found.get("low") is not None else None


def _beyond(
    where: str, said: str, between: tuple[float, float, float], target: float, *, at_least: bool = False
) -> list[str]:
    """What an interval says of a target: nothing where all of it holds, missed where none does, else not proven."""
    mean, low, high = between
    worst, best = (-low, -high) if at_least else (high, low)
    limit = -target if at_least else target
    if worst <= limit:
        return []
    digits = 4 if at_least else 2
    figure = f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
    return [f"{where}: {'' if best > limit else 'not proven: '}{said.format(figure)}"]


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
