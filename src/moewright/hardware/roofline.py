"""How long a pass takes: each operation needs the longer of its FLOPs over the peak and its bytes over the bandwidth.

Williams, Waterman and Patterson 2009, "Roofline". Operations follow each other, so their times add. Communication hides
behind them at the fast end and does not at the slow end; gaps between kernels and latencies always add.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from moewright.architecture.spec import Architecture
from moewright.hardware.devices import Device
from moewright.hardware.efficiency import End, factors
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


def pass_time(architecture: Architecture, device: Device, load: Load, placement: Placement, end: End) -> PassTime:
    """Seconds of one pass at one end of the device's efficiency ranges."""
    reached = factors(device.efficiency, end)
    components: dict[str, tuple[Any, Any]] = {}
    busy: Any = 0.0
    for work in pass_work(architecture, load, placement):
        skew = work.skew if end == "slow" else 1.0
        memory = skew * work.bytes / (device.memory_bandwidth * reached.memory)
        peak = device.peak_flops[device.compute_dtype(work.dtype)]
        compute = skew * work.flops / (peak * reached.compute)
        seconds = np.maximum(memory, compute)
        before = components.get(work.component, (0.0, 0.0))
        components[work.component] = (
            before[0] + np.where(memory >= compute, seconds, 0.0),
            before[1] + np.where(memory < compute, seconds, 0.0),
        )
        busy = busy + seconds
    traffic = pass_traffic(architecture, load, placement)
    communication = (
        traffic.group_bytes / placement.group_bandwidth + traffic.between_bytes / placement.bandwidth_between_groups
    ) / reached.communication
    overhead = (
        architecture.num_layers * reached.seconds_per_layer + traffic.collectives * reached.seconds_per_collective
    )
    if reached.seconds_per_expert:
        overhead = overhead + touched_experts(architecture, load, placement) * reached.seconds_per_expert
    together = np.maximum(busy, communication) if end == "fast" else busy + communication
    return PassTime(components, communication, overhead, together + overhead)
