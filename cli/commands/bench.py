"""`cluster bench`: load on the cluster's API, and its latencies: the short form of an experiment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import display
from operate import ownership
from operate.api import api_key, application_of, reachable
from operate.clusters import ClusterInventory
from operate.errors import DOES_NOT_HOLD, HOLDS, INTERRUPTED, OperatorError

if TYPE_CHECKING:
    from experiments.load.short_form import Asked, Done

_MILLISECONDS = ("ttft_ms", "itl_ms", "end_to_end_ms")


@click.command("bench")
@click.option(
    "--rate",
    "rates",
    type=float,
    multiple=True,
    metavar="R",
    help="Requests a second, an open loop; again for more steps.",
)
@click.option(
    "--users",
    type=click.IntRange(1, 4096),
    multiple=True,
    metavar="N",
    help="Users who ask one after the other; again for more steps.",
)
@click.option(
    "--sweep", "sweep_from", type=float, default=0.0, metavar="R", help="Raise the rate from R until it is not held."
)
@click.option(
    "--trace",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Replay a timed trace in the format of `vllm bench serve`.",
)
@click.option(
    "--trace-unit",
    "trace_unit_seconds",
    type=float,
    default=1.0,
    show_default=True,
    metavar="S",
    help="Seconds of the trace's unit; 0.001 for milliseconds.",
)
@click.option(
    "--trace-block",
    "trace_block_tokens",
    type=int,
    default=16,
    show_default=True,
    metavar="N",
    help="Tokens of each of the trace's hash ids.",
)
@click.option(
    "--speed", type=float, default=1.0, show_default=True, help="How many times as fast the trace is replayed."
)
@click.option(
    "--arrivals",
    type=click.Choice(["constant", "poisson", "bursts"]),
    default="poisson",
    show_default=True,
    help="How the requests of a rate come.",
)
@click.option(
    "--burstiness",
    type=float,
    default=0.0,
    metavar="B",
    help="Of bursts: below 1 burstier than Poisson.  [default: 0.25]",
)
@click.option(
    "--duration",
    "duration_seconds",
    type=float,
    default=30.0,
    show_default=True,
    metavar="S",
    help="Seconds of each step, after its warm-up.",
)
@click.option("--requests", type=click.IntRange(0), default=0, metavar="N", help="At most so many requests a step.")
@click.option(
    "--warm-up",
    "warm_up_seconds",
    type=float,
    default=5.0,
    show_default=True,
    metavar="S",
    help="Seconds of each step that do not count.",
)
@click.option(
    "--input-tokens",
    default="128",
    show_default=True,
    metavar="LENGTHS",
    help="128, uniform:64-256, normal:256,64, lognormal:256,0.5, exponential:256, list:12,80",
)
@click.option("--output-tokens", default="64", show_default=True, metavar="LENGTHS", help="The same, of the answers.")
@click.option("--turns", default="1", show_default=True, metavar="LENGTHS", help="The same, turns of a conversation.")
@click.option(
    "--prefix-groups",
    "groups",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Groups of conversations that share a prefix.",
)
@click.option(
    "--prefix-tokens", type=click.IntRange(0), default=0, metavar="N", help="Length of the prefix of each group."
)
@click.option(
    "--goodput",
    "objectives",
    multiple=True,
    metavar="NAME:LIMIT",
    help="An objective in AIPerf's words, such as time_to_first_token:200 (ms).",
)
@click.option("--no-check", is_flag=True, help="Do not ask the model's golden question in between.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed asks the same at the same times.")
@click.option("--model", default="", metavar="NAME", help="Which model, of several.  [default: the inventory's first]")
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIRECTORY",
    help="Keep every request (Parquet), the figures, and vLLM's shape of them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.pass_obj
def command(
    name: str, /, objectives: tuple[str, ...], no_check: bool, model: str, to: Path | None, as_json: bool, **asked: Any
) -> None:
    """Put load on the cluster's API and show its latencies.

    Without --rate, --users, --sweep or --trace: one user. Percentiles are of all samples after the warm-up; TTFT counts
    from the first byte sent. Ctrl-C ends the load, and what was measured until then is shown.

    Exit status: 0 all requests were answered, 1 some were not, 2 nothing could be measured.
    """
    cluster = ownership.load(name)
    from experiments.errors import ExperimentError
    from experiments.load import objectives as wanted
    from experiments.load.client import Endpoint
    from experiments.load.short_form import Asked, measure

    if not any(asked[way] for way in ("rates", "users", "sweep_from", "trace")):
        asked["users"] = (1,)
    settings, served = cluster.control.settings, application_of(cluster, model).model
    if "question" not in served.golden:
        raise OperatorError(f"{served.name} takes no chats, which the load is made of; give --model another one")
    if not reachable(settings.head_address, settings.gateway.port):
        raise OperatorError(
            f"{settings.endpoint}: nothing listens there, seen from this machine; see `{cluster.command} status`, and "
            "run it on the cluster's network: a way through SSH would be in the figures"
        )
    try:
        order = Asked(
            **asked, objectives=wanted.parse(objectives), golden=None if no_check else _golden(cluster, model)
        )
        order.steps()
        endpoint = Endpoint(settings.endpoint, served.name, api_key(cluster) or "")
        # Lines, and no line that is alive: what draws it would be in the figures.
        said = display.words()
        done = measure(endpoint, order, to=to, begun=lambda step: said.print(f"load {step.name}", markup=False))
    except ExperimentError as error:
        raise OperatorError(str(error)) from None
    _tell(cluster, order, done, to, as_json)
    if done.stopped:
        sys.exit(INTERRUPTED)
    sys.exit(DOES_NOT_HOLD if any(record.failed for record in done.records) else HOLDS)


def _golden(cluster: ClusterInventory, model: str) -> Any:
    from experiments.answers import Question

    golden = application_of(cluster, model).model.golden
    if not golden.get("expected"):
        return None  # taken when the weights were fetched: only the engines know it
    return Question(str(golden["question"]), int(golden["max_tokens"]), str(golden["expected"]))


def _tell(cluster: ClusterInventory, asked: Asked, done: Done, to: Path | None, as_json: bool) -> None:
    words = display.words()
    if done.stopped:
        words.print("stopped; the figures are of what had ended by then", style="yellow", markup=False)
    said = done.to_json()
    if limit := said["client"]["limit"]:
        words.print(f"{limit}: the figures are the client's as much as the cluster's", style="yellow", markup=False)
    if to is not None:
        words.print(f"kept in {to}", markup=False)
    if as_json:
        display.emit({"cluster": cluster.name, "endpoint": cluster.control.settings.endpoint, **said})
        return
    columns = ["step", "requests", "failed", "requests/s", "tokens/s"]
    columns += [f"{what} {share}" for what in ("TTFT ms", "ITL ms", "end to end ms") for share in ("P50", "P99")]
    if asked.objectives:
        columns.append("goodput/s")
    display.table("", columns, [_row(step, step["step"]) for step in said["steps"]])
    by_node = [
        _row(figures, f"{step['step']} {node}") for step in said["steps"] for node, figures in step["nodes"].items()
    ]
    if len({node for step in said["steps"] for node in step["nodes"]}) > 1:
        display.table("by node", ["step and node", *columns[1:]], by_node)
    for kind, number in _failures(said["steps"]).items():
        words.print(f"{number} requests: {kind}", style="red", markup=False)
    if asked.sweep_from:
        for point in done.points:
            words.print(f"rate {point.rate:g}/s: {point.limit or 'held'}", markup=False)
        display.results().print(f"highest rate that was held: {said['sweep']['highest']:g}/s", markup=False)


def _row(figures: dict[str, Any], name: str) -> list[str]:
    row = [name, str(figures["requests"]), str(figures["failed"])]
    row += [_shown(figures[rate]) for rate in ("requests_a_second", "output_tokens_a_second")]
    row += [_shown(figures[what][share]) for what in _MILLISECONDS for share in ("p50", "p99")]
    if "goodput" in figures:
        row.append(_shown(figures["goodput"]["requests_a_second"]))
    return row


def _failures(steps: list[dict[str, Any]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for step in steps:
        for kind, number in step["kinds"].items():
            if kind not in ("right", "answered"):
                found[kind] = found.get(kind, 0) + number
    return found


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
