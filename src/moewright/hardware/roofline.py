"""How long a pass takes: each operation needs the longer of its FLOPs over the peak and its bytes over the bandwidth.

Williams, Waterman and Patterson 2009, "Roofline". Operations follow each other, so their times add. Communication hides
behind them at the fast end and does not at the slow end; gaps between kernels and latencies always add.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from moewright.architecture.spec import Architecture
from moewright.hardware.devices import Device
from moewright.hardware.efficiency import ENDS, End, factors
from moewright.hardware.placement import Placement
from moewright.hardware.work import Load, pass_traffic, pass_work, touched_experts

Bound = Literal["memory", "compute", "communication", "overhead"]


@dataclass(frozen=True)
class PassTime:
    """Seconds of one pass at one end of the efficiency ranges. Numbers or columns."""

    components: dict[str, tuple[Any, Any]]
    """By component: seconds in operations that memory bounds, seconds in operations that compute bounds."""
    communication: Any
    """Seconds on the links, hidden or not."""
    overhead: Any
    """Seconds of gaps between kernels and of latencies."""
    total: Any

    def bound(self) -> Bound:
        """What takes most of the time (of a single architecture)."""
        shares: dict[Bound, float] = {
            "memory": sum(memory for memory, _ in self.components.values()),
            "compute": sum(compute for _, compute in self.components.values()),
            "communication": self.communication,
            "overhead": self.overhead,
        }
        return max(shares, key=lambda name: shares[name])


def pass_times(
    architecture: Architecture, device: Device, load: Load, placement: Placement
) -> tuple[PassTime, PassTime]:
    """Seconds of one pass at the fast and at the slow end of the device's efficiency ranges."""
    ends = {end: factors(device.efficiency, end) for end in ENDS}
    components: dict[End, dict[str, tuple[Any, Any]]] = {end: {} for end in ENDS}
    for work in pass_work(architecture, load, placement):
        peak = device.peak_flops[device.compute_dtype(work.dtype)]
        for end, reached in ends.items():
            skew = work.skew if end == "slow" else 1.0
            memory = skew * work.bytes / (device.memory_bandwidth * reached.memory)
            compute = skew * work.flops / (peak * reached.compute)
            in_memory, in_compute = components[end].get(work.component, (0.0, 0.0))
            components[end][work.component] = (
                in_memory + np.where(memory >= compute, memory, 0.0),
                in_compute + np.where(memory < compute, compute, 0.0),
            )
    traffic = pass_traffic(architecture, load, placement)
    sending = traffic.group_bytes / placement.group_bandwidth
    sending = sending + traffic.between_bytes / placement.bandwidth_between_groups
    experts = touched_experts(architecture, load, placement)

    def at(end: End) -> PassTime:
        reached = ends[end]
        busy: Any = sum(memory + compute for memory, compute in components[end].values())
        communication = sending / reached.communication
        overhead = (
            architecture.num_layers * reached.seconds_per_layer
            + traffic.collectives * reached.seconds_per_collective
            + experts * reached.seconds_per_expert
        )
        together = np.maximum(busy, communication) if end == "fast" else busy + communication
        return PassTime(components[end], communication, overhead, together + overhead)

    return at("fast"), at("slow")
