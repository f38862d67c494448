"""How fast one rank does things, at three levels: best, likely, worst. Pure; bytes, FLOPs and seconds.

A calibrated rate is the same at all three levels; a datasheet's is taken times an assumed share, with that assumption's
range. A figure that neither a calibration nor the catalogue has is a MissingFigure: nothing is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from hardware.model import Accelerator, Node, RuntimeKind
from hardware.planner import assumptions
from hardware.planner.assumptions import Assumption
from hardware.planner.calibration import Calibration
from hardware.planner.errors import MissingFigure

Level = Literal["best", "likely", "worst"]
LEVELS: tuple[Level, ...] = ("best", "likely", "worst")


@dataclass(frozen=True)
class Device:
    """What one rank runs on: an accelerator, or a node's processor. Figures are the catalogue's, None: not known.

    `reserve_bytes` of a host's memory are no engine's: the system and Ray have them.
    """

    name: str
    node: str
    runtime_kind: RuntimeKind
    architecture: str
    memory_bytes: float | None = None
    memory_bytes_per_second: float | None = None
    half_flops_per_second: float | None = None
    eight_bit_flops_per_second: float | None = None
    peer_bytes_per_second: float | None = None
    shares_system_memory: bool = False
    system_memory_bytes: float | None = None
    reserve_bytes: float = 0.0


def device_of(node: Node, accelerator: Accelerator | None) -> Device:
    """A rank's device; without an accelerator, the node's processor and memory."""
    system = node.memory_bytes.value if node.memory_bytes else None
    if accelerator is None:
        bandwidth = node.memory_bandwidth_bytes_per_second
        return Device(
            name=node.processor or f"processor of {node.board}",
            node=node.name,
            runtime_kind="cpu",
            architecture="cpu",
            memory_bytes=system,
            memory_bytes_per_second=bandwidth.value if bandwidth else None,
            shares_system_memory=True,
            system_memory_bytes=system,
            reserve_bytes=assumptions.HOST_RESERVE_BYTES if node.reserve_bytes is None else node.reserve_bytes,
        )
    half, eight = accelerator.half_precision_dense_flops_per_second, accelerator.eight_bit_dense_flops_per_second
    peer = accelerator.peer_bandwidth_bytes_per_second
    return Device(
        name=accelerator.name,
        node=node.name,
        runtime_kind=accelerator.runtime_kind,
        architecture=accelerator.architecture,
        memory_bytes=accelerator.memory_bytes.value,
        memory_bytes_per_second=accelerator.memory_bandwidth_bytes_per_second.value,
        half_flops_per_second=half.value if half else None,
        eight_bit_flops_per_second=eight.value if eight else None,
        peer_bytes_per_second=peer.value if peer else None,
        shares_system_memory=accelerator.shares_system_memory,
        system_memory_bytes=system,
    )


@dataclass(frozen=True)
class Rates:
    """What `timing` divides by. All are achieved rates, none a peak.

    `step_seconds` is what host and device cannot do at the same time, `host_seconds` and `sequence_seconds` what the
    host does meanwhile, `request_seconds` what a request takes on its way to its first step and back,
    `distributed_seconds` what a step costs more when an engine has several ranks. Products of few
    rows and those of experts have rates of their own where they were measured.
    """

    memory_bytes_per_second: float
    expert_bytes_per_second: float
    attention_bytes_per_second: float
    flops_per_second: float
    attention_flops_per_second: float
    kernel_seconds: float
    launch_seconds: float
    step_seconds: float
    host_seconds: float
    sequence_seconds: float
    request_seconds: float = 0.0
    distributed_seconds: float = 0.0
    few_rows_flops_per_second: float | None = None
    expert_flops_per_second: float | None = None

    def shared_by(self, engines: int) -> Rates:
        """Rates of one of several engines that work at the same time on one machine."""
        if engines <= 1:
            return self
        few, experts = self.few_rows_flops_per_second, self.expert_flops_per_second
        return replace(
            self,
            memory_bytes_per_second=self.memory_bytes_per_second / engines,
            expert_bytes_per_second=self.expert_bytes_per_second / engines,
            attention_bytes_per_second=self.attention_bytes_per_second / engines,
            flops_per_second=self.flops_per_second / engines,
            attention_flops_per_second=self.attention_flops_per_second / engines,
            kernel_seconds=self.kernel_seconds * engines,
            launch_seconds=self.launch_seconds * engines,
            step_seconds=self.step_seconds * engines,
            host_seconds=self.host_seconds * engines,
            sequence_seconds=self.sequence_seconds * engines,
            request_seconds=self.request_seconds * engines,
            distributed_seconds=self.distributed_seconds * engines,
            few_rows_flops_per_second=few / engines if few is not None else None,
            expert_flops_per_second=experts / engines if experts is not None else None,
        )


def pick(assumption: Assumption, level: Level) -> float:
    """The value of an assumption at a level."""
    return {"best": assumption.best, "likely": assumption.likely, "worst": assumption.worst}[level]


def rates(device: Device, calibration: Calibration | None, precision: str, level: Level) -> Rates:
    """Rates of a device for products in `precision` (float32, float16, bfloat16, fp8, int8).

    Raises MissingFigure for a memory bandwidth or a FLOP rate that is in no catalogue and in no calibration.
    """
    known = calibration or Calibration(hardware=device.name, engine="")
    memory = known.memory_bytes_per_second
    if memory is None:
        if device.memory_bytes_per_second is None:
            raise MissingFigure(_missing(device, "memory bandwidth", "memory_bandwidth_bytes_per_second"))
        memory = device.memory_bytes_per_second * pick(assumptions.MEMORY_FRACTION, level)
    flops = known.flops(precision)
    if flops is None:
        known_peak = peak(device, precision)
        if known_peak is None:
            raise MissingFigure(_missing(device, f"FLOP/s in {precision}", "half_precision_dense_flops_per_second"))
        flops = known_peak * pick(assumptions.COMPUTE_FRACTION, level)
    kernel = assumptions.PROCESSOR_KERNEL_SECONDS if device.runtime_kind == "cpu" else assumptions.KERNEL_SECONDS
    return Rates(
        memory_bytes_per_second=memory,
        expert_bytes_per_second=_or(known.expert_bytes_per_second, memory, assumptions.EXPERT_FRACTION, level),
        attention_bytes_per_second=_or(known.attention_bytes_per_second, memory, assumptions.ATTENTION_FRACTION, level),
        flops_per_second=flops,
        attention_flops_per_second=_or(
            known.attention_flops_per_second, flops, assumptions.ATTENTION_COMPUTE_FRACTION, level
        ),
        kernel_seconds=_or(known.kernel_seconds, 1.0, kernel, level),
        # On a CPU an operator's cost is in `kernel_seconds`: nothing runs beside the host.
        launch_seconds=0.0
        if device.runtime_kind == "cpu"
        else _or(known.launch_seconds, 1.0, assumptions.LAUNCH_SECONDS, level),
        step_seconds=_or(known.step_seconds, 1.0, assumptions.STEP_SECONDS, level),
        host_seconds=_or(known.host_seconds, 1.0, assumptions.HOST_SECONDS, level),
        sequence_seconds=_or(known.sequence_seconds, 1.0, assumptions.SEQUENCE_SECONDS, level),
        request_seconds=_or(known.request_seconds, 1.0, assumptions.REQUEST_SECONDS, level),
        distributed_seconds=_or(known.distributed_seconds, 1.0, assumptions.DISTRIBUTED_SECONDS, level),
        few_rows_flops_per_second=known.few_rows_flops(precision),
        expert_flops_per_second=_expert_flops(known, flops, precision, level),
    )


def _expert_flops(known: Calibration, flops: float, precision: str, level: Level) -> float | None:
    """None where few rows were measured: that is then what experts get."""
    if known.expert_flops_per_second is None and known.few_rows_flops(precision) is not None:
        return None
    return _or(known.expert_flops_per_second, flops, assumptions.EXPERT_COMPUTE_FRACTION, level)


def memory_size(device: Device, calibration: Calibration | None) -> float:
    """Bytes that the driver (or, on a CPU, the system) has: measured, else the catalogue's.

    A container's limit is the profile's, and what is measured in it is the machine's memory: the smaller one counts.
    """
    if calibration is not None and calibration.memory_bytes is not None:
        stated = device.memory_bytes if device.runtime_kind == "cpu" else None
        return calibration.memory_bytes if stated is None else min(calibration.memory_bytes, stated)
    if device.memory_bytes is None:
        raise MissingFigure(_missing(device, "memory size", "memory_bytes"))
    return device.memory_bytes


def peak(device: Device, precision: str) -> float | None:
    """The datasheet's dense FLOP/s in a type, None where it has none."""
    if precision in ("float16", "bfloat16"):
        return device.half_flops_per_second
    if precision in ("fp8", "int8"):
        return device.eight_bit_flops_per_second
    return None


def _or(measured: float | None, base: float, assumption: Assumption, level: Level) -> float:
    return measured if measured is not None else base * pick(assumption, level)


def _missing(device: Device, what: str, field: str) -> str:
    return (
        f"{device.node}: no figure for the {what} of {device.name}; run `cluster calibrate`, or add {field} with its "
        "source to the hardware profile"
    )
