"""The order in which runs of two things take turns: A/A blocks first, then blocks in which A and B change places. Pure.

A block has four runs, there and back: A B B A, then B A A B. What drifts evenly within a block (a machine that grows
warm, a neighbour that comes) weighs on both sides alike and is not in the difference; what is new in each block is in
its noise. An A/A block has the same shape, but both sides are A: what it shows is noise.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

A, B = "A", "B"
SIDES = (A, B)
RUNS_OF_A_BLOCK = 4
MOST_AGAIN = 2


@dataclass(frozen=True)
class Turn:
    """One run of the plan: in which block, in which place of it (0 to 3), for which side, and what is measured for it.

    `alike` blocks measure A for both sides; `measured` is what has to be run.
    """

    block: int
    place: int
    side: str
    alike: bool

    @property
    def measured(self) -> str:
        """A, or B."""
        return A if self.alike else self.side


@dataclass(frozen=True)
class Run:
    """What one run came to. `figures` are positive numbers by name, each of the whole run (such as "rate=4 ttft_p50").

    `block` is None where runs were not interleaved; `began` is unix seconds. A run that is not `valid` counts nowhere;
    `reason` says why.
    """

    side: str
    block: int | None
    place: int
    alike: bool
    began: float
    figures: dict[str, float] = field(default_factory=dict)
    valid: bool = True
    reason: str = ""


def turns(alike: int, different: int) -> list[Turn]:
    """`alike` A/A blocks, then `different` A/B blocks, every second one the other way round.

    ValueError below one A/A block or two A/B blocks: from those no noise can be told.
    """
    if alike < 1 or different < 2:
        raise ValueError(f"{alike} A/A and {different} A/B blocks: give at least 1 and 2")
    found = []
    for block in range(alike + different):
        one, other = SIDES if block % 2 == 0 else SIDES[::-1]
        order = (one, other, other, one)
        found += [Turn(block, place, side, block < alike) for place, side in enumerate(order)]
    return found


async def take(
    plan: Sequence[Turn], measure: Callable[[Turn], Awaitable[Run]], *, again: int = MOST_AGAIN
) -> list[Run]:
    """Run the plan in its order, one run at a time. What `measure` raises ends it.

    A run that is not valid is repeated at once, `again` times at most; the last one stands, whatever it is.
    """
    found = []
    for turn in plan:
        run = await measure(turn)
        for _ in range(again):
            if run.valid:
                break
            run = await measure(turn)
        found.append(run)
    return found
