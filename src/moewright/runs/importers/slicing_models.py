"""The models of the "Slicing and Dicing" sweeps as architectures, and the run table's columns that follow from them."""

from moewright.architecture import Architecture, Layer, Norm
from moewright.architecture.counts import (
    active_params,
    active_params_non_embedding,
    total_params,
    total_params_non_embedding,
)
from moewright.architecture.feed_forwards import Dense, ExpertGroup, FeedForward, MoE, SharedExpert
from moewright.architecture.mixers import Attention
from moewright.runs.importers.slicing_names import Group
from moewright.runs.importers.slicing_sizes import VOCAB_SIZE, Size

Described = dict[str, float | str]


def describe_models(
    sizes: list[Size], groups: list[tuple[Group, ...]], shared: list[float]
) -> dict[str, list[float | str]]:
    """Columns of counts and shapes, one value per run; each distinct model is built once."""
    described: dict[tuple[Size, tuple[Group, ...], float], Described] = {}
    rows = []
    for key in zip(sizes, groups, shared, strict=True):
        if key not in described:
            described[key] = _describe(*key)
        rows.append(described[key])
    return {name: [row[name] for row in rows] for name in rows[0]}


def backbone(size: Size, groups: tuple[Group, ...], shared_multiplier: float) -> Architecture:
    """The model of one run; widths in units of 4 d as the sweep writes them. One group of one expert is dense."""
    d = size.hidden_size
    feed_forward: FeedForward
    if sum(group.experts for group in groups) == 1 and not shared_multiplier:
        feed_forward = Dense(size=_width(groups[0].multiplier, d))
    else:
        feed_forward = MoE(
            groups=tuple(
                ExpertGroup(count=g.experts, expert_size=_width(g.multiplier, d), top_k=min(g.top_k, g.experts))
                for g in groups
            ),
            router_per_group=len(groups) > 1,
            shared=SharedExpert(expert_size=_width(shared_multiplier, d)) if shared_multiplier else None,
        )
    heads = size.num_heads or 1  # heads change no count
    mixer = Attention(num_heads=heads, num_kv_heads=heads, head_dim=d // heads, qk_norm="full")
    layer = Layer(mixer=mixer, feed_forward=feed_forward, norms="post")
    return Architecture(vocab_size=VOCAB_SIZE, hidden_size=d, layers=(layer,) * size.num_layers, norm=Norm())


def _describe(size: Size, groups: tuple[Group, ...], shared: float) -> Described:
    model = backbone(size, groups, shared)
    top_k = sum(group.top_k for group in groups)
    used = sum(group.top_k * group.multiplier for group in groups)
    return {
        "hidden_size": size.hidden_size,
        "num_layers": size.num_layers,
        "num_heads": size.num_heads or float("nan"),
        "vocab_size": VOCAB_SIZE,
        "num_experts": sum(group.experts for group in groups),
        "top_k": top_k,
        "expert_size": 4 * size.hidden_size * used / top_k,
        "shared_size": 4 * size.hidden_size * shared,
        "expert_groups": "+".join(f"{g.experts}x{_width(g.multiplier, size.hidden_size)}k{g.top_k}" for g in groups),
        "num_groups": len(groups),
        "expert_multiplier": used / top_k,
        "expert_ratio": sum(group.experts * group.multiplier for group in groups),
        "shared_multiplier": shared,
        "total_width": sum(group.experts * group.multiplier for group in groups) + shared,
        "active_width": used + shared,
        "total_params": total_params(model),
        "active_params": active_params(model),
        "total_params_non_embedding": total_params_non_embedding(model),
        "active_params_non_embedding": active_params_non_embedding(model),
    }


def _width(multiplier: float, hidden_size: int) -> int:
    return max(1, round(multiplier * 4 * hidden_size))
