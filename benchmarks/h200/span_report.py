"""Markdown of one engine over two nodes: starts, speeds, NCCL's words, faults. Pure; milliseconds and seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.report import markdown
from experiments.report.markdown import shown


def report(result: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    parts = [
        "# One engine over two nodes\n",
        markdown.about(result["machine"], result["versions"], result["started"]),
        "Head and two workers as separate Ray nodes of one machine, a GPU each. `pipeline-sockets`: SmolLM2-135M cut "
        "in two stages; `tensor-*`: an 8B shape with random weights cut in two; `one-gpu`: the same on one card. "
        "`sockets`: for the cluster each node's NCCL takes the other for another host, for bare vLLM the card's own "
        "link is off. "
        "The cluster is asked through its gateway.\n",
    ]
    if result["starts"]:
        parts += ["Seconds from the start of the first process or service:\n", _starts(result["starts"]), ""]
    if result["speeds"]:
        parts += ["`vllm bench serve`, prompts of 128 tokens, answers of 64:\n", _speeds(result), ""]
    if result["nccl"]:
        parts += ["What NCCL says:\n", _nccl(result["nccl"]), ""]
    if result["faults"]:
        parts += [
            "Faults under eight requests at once, seconds after the fault. Lost: under way at it, and not answered.\n",
            _faults(result["faults"]),
            "",
            *(f"- {found['fault']} ({found['node']}): {_named(found)}" for found in result["faults"]),
            "",
        ]
    return "\n".join([*parts, markdown.listed_misses(result["misses"])])


def _starts(starts: Mapping[str, Mapping[str, float]]) -> str:
    steps = ["Ray's nodes", "replica", "engine core", "rank", "engine proven", "right answer"]
    rows = [[name, *(shown(found.get(step), 1) for step in steps)] for name, found in starts.items()]
    return markdown.table(["start", *steps], rows)


def _speeds(result: Mapping[str, Any]) -> str:
    rows = []
    for name, by_number in result["speeds"].items():
        for number, found in by_number.items():
            predicted = result.get("predicted", {}).get(name, {}).get(number, {})
            rows.append(
                [
                    f"{name}, {number} at once",
                    *(shown(found["first_token_ms"][share], 1) for share in ("p50", "p99")),
                    shown(predicted.get("first_token_ms"), 1),
                    *(shown(found["between_tokens_ms"][share], 2) for share in ("p50", "p99")),
                    shown(predicted.get("between_tokens_ms"), 2),
                    shown(found["tokens_a_second"], 0),
                    str(found["failed"]),
                ]
            )
    head = ["lane", "first token p50 ms", "p99", "predicted", "between tokens p50 ms", "p99", "predicted", "tokens/s"]
    return markdown.table([*head, "failed"], rows)


def _nccl(words: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [
            name,
            ", ".join(said["versions"]) or "-",
            ", ".join(said["networks"]) or "-",
            ", ".join(said["interfaces"]) or "-",
            ", ".join(f"{way} ({number})" for way, number in said["ways"].items()) or "-",
        ]
        for name, said in words.items()
    ]
    return markdown.table(["lane", "NCCL", "network", "interface", "ways between ranks (channels)"], rows)


def _faults(faults: list[Mapping[str, Any]]) -> str:
    rows = [
        [
            found["fault"],
            shown(found["seen"], 1),
            shown(found["ready_again"], 1),
            shown(found["recovered"], 1),
            f"{found['under_way_lost']} of {found['under_way']}",
            str(found["under_way_lost_without_a_byte"]),
            f"{found['later_failed']} of {found['later']}",
            str(found["hung"]),
            shown(found["longest_seconds"], 1),
        ]
        for found in faults
    ]
    head = [
        "fault",
        "seen",
        "ready again",
        "right answer",
        "lost",
        "of these no byte",
        "later failed",
        "hung",
        "longest",
    ]
    return markdown.table(head, rows)


def _named(found: Mapping[str, Any]) -> str:
    said = "; ".join(f"{when} s: {words}" for words, when in found["said"].items() if words)
    return f"named {found['named']!r}. {said}"
