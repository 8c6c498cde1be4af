"""Where the parts of a model are when it is served on several devices: a few fixed rules, stated here.

- Groups. The devices form groups of up to eight inside a node. A group holds one copy of everything but the routed
  experts and splits it by tensor parallelism (Megatron-LM, arXiv 1909.08053); groups share the sequences evenly.
- Routed experts are spread whole over all devices (expert parallelism).
- Key-value heads are kept whole: on more devices than heads, keys and values, and what makes them, are on several
  devices each.
- Latent and compressed attention have one key-value head, which cannot be split. In a group their weights are on every
  device and each device works on its share of the sequences (data-parallel attention, as DeepSeek-V3 is served, arXiv
  2412.19437, section 3.4). A runtime that stores every head's keys and values instead of the latent splits those.
- Router, norms and what merges residual streams are small and on every device. The projections around latent experts
  are too, as in Megatron-LM (moe_layer.py: duplicated) and SGLang (replicated).

That sizes divide evenly is not checked: fractions of a head or of a sequence are counted as they come. Routing is
taken as balanced: which experts a batch touches, and how many of them on one device, are expectations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from moewright.architecture.cache import AS_SMALL, CacheLayout, head_share
from moewright.architecture.inventory import Component, Weight
from moewright.architecture.mixers import (
    AnyAttention,
    AnyLatentAttention,
    AnyMixer,
    CompressedAttention,
    DifferentialAttention,
    MixtureOfAttention,
    ParallelMixers,
)
from moewright.architecture.sizes import F
from moewright.complaints import check_integer
from moewright.errors import UserError
from moewright.hardware.devices import Device

# Beyond eight, products of one layer get small and all-reduces long; servers of eight are the common unit.
LARGEST_GROUP = 8

ON_EVERY_DEVICE: tuple[Component, ...] = ("router", "latent_projections", "norm", "other")
"""Components that no device has only a share of."""


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
    check_integer(devices, "devices", 1, 100_000)
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


def splits_by_sequence(mixer: AnyMixer[F], layout: CacheLayout = AS_SMALL) -> bool:
    """Whether a group splits this mixer by sequences instead of by heads."""
    if isinstance(mixer, AnyLatentAttention):
        return layout.latent == "latent"
    return isinstance(mixer, CompressedAttention)


def mixer_shards(mixer: AnyMixer[F], placement: Placement, sequences: int, layout: CacheLayout = AS_SMALL) -> int:
    """Over how many devices of a group with so many sequences a mixer's work is split."""
    return min(placement.tensor, sequences) if splits_by_sequence(mixer, layout) else placement.tensor


def cache_shards(mixer: AnyMixer[F], placement: Placement, sequences: int, layout: CacheLayout = AS_SMALL) -> F | int:
    """Over how many of them the cache is split: by key-value heads, each of which is kept whole."""
    if isinstance(mixer, ParallelMixers):
        return cache_shards(mixer.attention, placement, sequences, layout)
    if isinstance(mixer, AnyAttention | DifferentialAttention | MixtureOfAttention):
        shards: F = np.minimum(placement.tensor, mixer.num_kv_heads)
        return shards
    return mixer_shards(mixer, placement, sequences, layout)


_WITHOUT_HEADS = ("kv_a_proj", "kv_a_norm", "q_a_proj", "q_a_norm", "kv_proj", "kv_norm", "rope_key_norm")
_WITHOUT_HEADS_BEGIN = ("indexer.", "compressor.")


def weight_share(weight: Weight[F], mixer: AnyMixer[F], tensor: Any) -> Any:
    """The share of a mixer's weight that the fullest of `tensor` devices holds when the mixer is split by heads.

    `tensor` is a number or a column.

    Key and value projections follow the key-value heads: where there are fewer than devices, several hold the same one
    (vLLM's QKVParallelLinear: num_kv_head_replicas). What makes latents, and indexers, are on every device (vLLM's
    deepseek_v2.py: ReplicatedLinear).
    """
    if isinstance(mixer, ParallelMixers):
        return weight_share(weight, mixer.attention, tensor)
    if isinstance(mixer, AnyAttention | DifferentialAttention) and weight.name in ("k_proj", "v_proj"):
        return head_share(mixer.num_kv_heads, tensor)
    if isinstance(mixer, AnyAttention | AnyLatentAttention | CompressedAttention) and (
        weight.name in _WITHOUT_HEADS or weight.name.startswith(_WITHOUT_HEADS_BEGIN)
    ):
        return 1
    return 1 / tensor


def distinct_experts(num_experts: F | float, top_k: F | float, tokens: F | float) -> F | float:
    """Expected number of distinct experts that `tokens` tokens use in one layer: E (1 - (1 - K/E)^T).

    Each token draws K different experts of E, all equally likely and independently of other tokens; an expert escapes
    one token with probability 1 - K/E. Real routing is less even and touches fewer.

    >>> distinct_experts(128, 8, tokens=16)
    82.4...
    """
    touched: F | float = num_experts * (1 - (1 - top_k / num_experts) ** tokens)
    return touched


def most_loaded(touched: F | float, experts: F | float, devices: int) -> F | float:
    """Expected number of touched experts on the device that has most of them, as a bound.

    With a mean of m to a device the largest of D Poisson counts is near m + sqrt(2 m ln D) (Gaussian extreme value);
    it cannot exceed the touched experts, nor those that live on one device.
    """
    mean = touched / devices
    bound = mean + np.sqrt(2 * mean * math.log(devices))
    most: F | float = np.minimum(np.minimum(bound, touched), np.maximum(experts / devices, 1.0))
    return most
