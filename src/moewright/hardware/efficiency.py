"""What share of a device's peaks real software reaches, as ranges, each with its source.

A roofline with the peaks themselves is a bound that nobody reaches. Every time that moewright prints is therefore a
range: all factors at their good end, and all at their bad end.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from moewright.records import Record

End = Literal["fast", "slow"]
ENDS: tuple[End, End] = ("fast", "slow")


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"expected [low, high], found {value[0]:g} above {value[1]:g}")
    return value


_Fraction = Annotated[float, Field(gt=0, le=1)]
_Duration = Annotated[float, Field(ge=0, le=1)]
Fractions = Annotated[tuple[_Fraction, _Fraction], Field(strict=False), AfterValidator(_ordered)]
Seconds = Annotated[tuple[_Duration, _Duration], Field(strict=False), AfterValidator(_ordered)]


class Efficiency(Record):
    """(low, high) fractions of the peaks, and (low, high) seconds that no peak explains."""

    memory: Fractions = (0.4, 0.9)
    """High: copies reach some 0.9 of the datasheet on HBM parts (BabelStream results, University of Bristol). Low:
    assumed; with it the range reaches down to the slowest of the published rates that it was compared with (one
    sequence of Mixtral-8x7B in int8 on one A100, gpt-fast, mixtral-moe/README.md, 2024)."""
    compute: Fractions = (0.35, 0.8)
    """High: DeepGEMM's best dense fp8 products on H800, 1550 of 1979 TFLOP/s (its README, 2025); attention 0.75
    (FlashAttention-3, arXiv 2407.08608). Low: assumed for grouped products of small experts."""
    communication: Fractions = (0.4, 0.8)
    """High: NCCL's all-reduce reaches some 360 of 450 GB/s in a node of eight H100 (nccl-tests' bus bandwidth). Low:
    assumed, for the small messages of decoding."""
    seconds_per_layer: Seconds = (5e-6, 60e-6)
    """Gaps between a layer's kernels. Assumed: ten kernels of 0.5 us in a captured graph, or of 6 us without one."""
    seconds_per_expert: Seconds = (0.0, 0.0)
    """For runtimes that start every touched expert by itself; grouped kernels do not."""
    seconds_per_collective: Seconds = (5e-6, 30e-6)
    """Latency of one all-reduce or all-to-all. Assumed: one-shot kernels inside a node, NCCL's small messages."""


SPEED_OF_LIGHT = Efficiency(
    memory=(1.0, 1.0),
    compute=(1.0, 1.0),
    communication=(1.0, 1.0),
    seconds_per_layer=(0.0, 0.0),
    seconds_per_collective=(0.0, 0.0),
)
"""All peaks reached and nothing else costs time: the roofline itself."""


@dataclass(frozen=True)
class Factors:
    """One end of an `Efficiency`."""

    memory: float
    compute: float
    communication: float
    seconds_per_layer: float
    seconds_per_expert: float
    seconds_per_collective: float


def factors(efficiency: Efficiency, end: End) -> Factors:
    """All factors at their fast or their slow end."""
    fraction, duration = (1, 0) if end == "fast" else (0, 1)
    return Factors(
        memory=efficiency.memory[fraction],
        compute=efficiency.compute[fraction],
        communication=efficiency.communication[fraction],
        seconds_per_layer=efficiency.seconds_per_layer[duration],
        seconds_per_expert=efficiency.seconds_per_expert[duration],
        seconds_per_collective=efficiency.seconds_per_collective[duration],
    )
