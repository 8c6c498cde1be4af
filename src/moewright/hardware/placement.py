"""Where the parts of a model are when it is served on several devices: a few fixed rules, stated here.

- Groups. The devices form groups of up to eight inside a node. A group holds one copy of everything but the routed
  experts and splits it by tensor parallelism (Megatron-LM, arXiv 1909.08053); groups share the sequences evenly.
- Routed experts are spread whole over all devices (expert parallelism).
- Latent and compressed attention have one key-value head, which cannot be split. In a group their weights are on every
  device and each device works on its share of the sequences (data-parallel attention, as DeepSeek-V3 is served, arXiv
  2412.19437, section 3.4).
- Router, norms and what merges residual streams are small and on every device.

That sizes divide evenly is not checked: fractions of a head or of a sequence are counted as they come.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from moewright.architecture.mixers import Attention, CompressedAttention, LatentAttention, MixtureOfAttention
from moewright.complaints import whole
from moewright.errors import UserError
from moewright.hardware.devices import Device
from moewright.records import Record

# Beyond eight, products of one layer get small and all-reduces long; servers of eight are the common unit.
LARGEST_GROUP = 8


@dataclass(frozen=True)
class Placement:
    """`groups` of `tensor` devices each."""

    tensor: int
    """Devices of a group, over which everything but the experts is split."""
    groups: int
    group_bandwidth: float
    """Bytes per second that a device sends inside its group, in one direction."""
    link_between_groups: str
    bandwidth_between_groups: float
    """Bytes per second that a device sends to other groups, in one direction."""

    @property
    def devices(self) -> int:
        """All devices, which share the experts."""
        return self.tensor * self.groups

    def sequences(self, batch: int) -> int:
        """Sequences of the busiest group."""
        return -(-batch // self.groups)


def place(device: Device, devices: int) -> Placement:
    """The placement on so many devices. Raises UserError for numbers that this device cannot be combined in."""
    whole(devices, "devices", 1, 100_000)
    node, network = device.node, device.network
    if devices <= node.devices:
        link, between = node.link, node.bandwidth
    elif network is None:
        raise UserError(f"devices: {device.name} has nodes of {node.devices} and no network; {devices} are too many")
    elif devices % node.devices:
        raise UserError(f"devices: {devices} is not a multiple of the {node.devices} in a node of {device.name}")
    else:
        link, between = network.link, network.bandwidth
    inside = min(devices, node.devices)
    tensor = max(size for size in range(1, min(inside, LARGEST_GROUP) + 1) if inside % size == 0)
    return Placement(tensor, devices // tensor, node.bandwidth, link, between)


def splits_by_sequence(mixer: Record) -> bool:
    """Whether a group splits this mixer by sequences instead of by heads."""
    return isinstance(mixer, LatentAttention | CompressedAttention)


def mixer_shards(mixer: Record, placement: Placement, sequences: int) -> int:
    """Over how many devices of a group with so many sequences a mixer's work is split."""
    return min(placement.tensor, sequences) if splits_by_sequence(mixer) else placement.tensor


def cache_shards(mixer: Record, placement: Placement, sequences: int) -> Any:
    """Over how many of them the cache is split: by key-value heads, each of which is kept whole."""
    if isinstance(mixer, Attention | MixtureOfAttention):
        return np.minimum(placement.tensor, mixer.num_kv_heads)
    return mixer_shards(mixer, placement, sequences)
