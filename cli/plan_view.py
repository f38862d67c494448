"""The plan as people read it. No machine is touched."""

from __future__ import annotations

from cli import display
from hardware.model import GIB
from hardware.planner import plan, serving_line
from hardware.planner.kernels import describe
from hardware.planner.links import LinkRow
from hardware.planner.placement import Hardware
from hardware.planner.plan import Candidate, Plan
from hardware.planner.prediction import Interval, Prediction


def show(made: Plan, over: tuple[LinkRow, ...], changes: tuple[str, ...], engine: str) -> None:
    """The plan for people: one table of placements, then the recommendation and its reasons."""
    console = display.results()
    model, hardware = made.model, made.hardware
    size = f"{made.parameters / 1e9:.2f} B parameters"
    if model.is_mixture:
        size += f" ({made.active_parameters / 1e9:.2f} B active)"
    console.print(
        f"{model.name}: {size}, {describe(model.quantisation)}, served in {model.dtype}; "
        f"{model.kv_cache_bytes_per_token() / 1024:.4g} KiB of cache a token",
        markup=False,
    )
    what = f" with {', '.join(changes)}" if changes else ""
    console.print(
        f"{made.cluster}{what}: {_hardware(hardware)}; {engine}; "
        f"prompt {made.workload.prompt_tokens}, output {made.workload.output_tokens}, context "
        f"{made.options.max_model_len} tokens",
        markup=False,
    )
    said = "kernels" if made.support.ok else "no kernels"
    console.print(f"{said}: {made.support.kernel or '-'} ({made.support.source})", markup=False)
    for reason in made.support.reasons:
        console.print(f"  {reason}", markup=False)
    console.print()
    display.table(
        "placements; TTFT and ITL in ms, likely (low to high)",
        ("placement", "cache left", "users", "tokens/s", "TTFT", "ITL", "limit"),
        [row for candidate in made.candidates for row in _rows(candidate, candidate is made.recommended)],
    )
    for reason in made.left_out:
        console.print(f"- {reason}", markup=False)
    if over:
        console.print()
        _show_links(over)
    if made.recommended is not None:
        console.print()
        _show_recommended(made, made.recommended)
    console.print(f"intervals: {made.interval_source}", style="dim", markup=False)
    if made.calibrated:
        past = made.past_error.sentence() if made.past_error else "nothing was predicted before it was measured"
        console.print(f"predictions so far on this hardware: {past}", style="dim", markup=False)


def _hardware(hardware: Hardware) -> str:
    """`2 nodes with 1 x NVIDIA H200 each`; a machine that plays several nodes is said to be one."""
    each = f"{hardware.devices_per_node} x {hardware.device.name}"
    if hardware.one_machine:
        return f"{_count(hardware.nodes, 'node')} on one machine, {hardware.device.name}"
    return f"{_count(hardware.nodes, 'node')} with {each}" + (" each" if hardware.nodes > 1 else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _rows(candidate: Candidate, best: bool) -> list[tuple[str, ...]]:
    mark = "> " if best else "  "
    name = mark + candidate.placement.name + (" (optional link)" if candidate.optional_link else "")
    if not candidate.predictions:
        return [(name, "-", "-", "-", "-", "-", candidate.refusal or f"fits; {plan.UNTIMED}")]
    rank = min(candidate.memory, key=lambda entry: entry.kv_tokens)
    left = f"{rank.kv_bytes / GIB:.2f} GiB a rank, {rank.kv_tokens} tokens"
    return [
        (
            name if index == 0 else "",
            left if index == 0 else "",
            _users(entry),
            _interval(entry.tokens_per_second, 1.0),
            _interval(entry.ttft_seconds, 1e3),
            _interval(entry.itl_seconds, 1e3),
            f"{entry.limit} {entry.limit_share:.0%}",
        )
        for index, entry in enumerate(candidate.predictions)
    ]


def _users(entry: Prediction) -> str:
    return f"{entry.concurrency}" + (f" ({entry.waiting} wait)" if entry.waiting else "")


def _interval(interval: Interval, scale: float) -> str:
    low, likely, high = (value * scale for value in (interval.low, interval.likely, interval.high))
    digits = 0 if likely >= 100 else 1
    return f"{likely:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _show_links(over: tuple[LinkRow, ...]) -> None:
    few, many = over[0].predictions[0], over[0].predictions[-1]
    rows = []
    for row in over:
        first, last = row.predictions[0], row.predictions[-1]
        rows.append(
            (
                row.link + (" (not in the profile)" if row.assumed else ""),
                str(row.sharding),
                _interval(first.itl_seconds, 1e3),
                _interval(first.ttft_seconds, 1e3),
                _interval(last.tokens_per_second, 1.0),
                f"{last.limit} {last.limit_share:.0%}",
            )
        )
    display.table(
        "one engine over all nodes, by link",
        (
            "link",
            "engine",
            f"ITL ms, {_count(few.concurrency, 'user')}",
            f"TTFT ms, {_count(few.concurrency, 'user')}",
            f"tokens/s, {_count(many.concurrency, 'user')}",
            "limit",
        ),
        rows,
    )


def _show_recommended(made: Plan, best: Candidate) -> None:
    from rich.text import Text

    console = display.results()
    console.print(Text.assemble(("take ", "bold"), (best.placement.name, "bold green")))
    for rank in best.memory:
        parts = (
            ("weights", rank.weights_bytes),
            ("activations", rank.activation_bytes),
            ("runtime", rank.context_bytes),
            ("graphs", rank.graph_bytes),
            ("communicators", rank.communicator_bytes),
            ("cache", max(0.0, rank.kv_bytes)),
        )
        listed = ", ".join(f"{name} {size / GIB:.2f}" for name, size in parts if size)
        stage = f"stage {rank.stage}" if len(best.memory) > 1 else "each rank"
        console.print(
            f"  {stage}: of {rank.memory_bytes / GIB:.2f} GiB, {listed}: one request of {rank.length_tokens} tokens "
            f"takes {rank.sequence_bytes / GIB:.2f}",
            markup=False,
        )
        if rank.system_left_bytes is not None:
            console.print(f"  left for the system: {rank.system_left_bytes / GIB:.2f} GiB", markup=False)
    arguments = plan.engine_arguments(made, best)
    if arguments:
        console.print("  engine: " + ", ".join(f"{key}={value!r}" for key, value in arguments.items()), markup=False)
    serving = serving_line.serving(made, best)
    console.print(f"  inventory: {serving or 'it has no words for this'}", markup=False, soft_wrap=True)
    others = [candidate for candidate in made.candidates if candidate is not best]
    if others:
        console.print("why not the others:")
        for candidate in others:
            console.print(f"  {candidate.placement.name}: {candidate.lost}", markup=False)
