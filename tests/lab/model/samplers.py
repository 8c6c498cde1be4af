"""Random mixtures and architectures: small, odd, and all that the lab trains. Sizes are drawn independently."""

import random
from typing import Any

import torch
from torch import Tensor, nn

from moewright.architecture.feed_forwards import Activation, Dense, ExpertGroup, MoE, Router, SharedExpert
from moewright.architecture.mixers import Attention, LatentAttention, Rope, Window
from moewright.architecture.spec import Architecture, Layer, Norm
from moewright.experiment.routing import Capacity
from moewright.lab.fast.elementwise import ACTIVATIONS as TRAINED

ACTIVATIONS: tuple[Activation, ...] = tuple(TRAINED)
SCORES = ("softmax", "sigmoid", "sqrt_softplus")


def flag(r: random.Random, chance: float = 0.5) -> bool:
    return r.random() < chance


def random_dense(r: random.Random) -> Dense:
    return Dense(size=r.randrange(1, 9), gated=flag(r), bias=flag(r), activation=r.choice(ACTIVATIONS))


def random_moe(r: random.Random) -> MoE:
    settings: dict[str, Any] = {
        "score": r.choice(SCORES),
        "score_after_top_k": flag(r, 0.3),
        "normalize": flag(r),
        "scale": r.choice((1.0, 0.5, 2.5)),
        "bias": flag(r, 0.3),
        "selection_bias": r.choice((None, "buffer", "parameter")),
        "weigh": "input" if flag(r, 0.3) else "output",
    }
    if flag(r, 0.25):  # group-limited routing
        num_groups, size = r.choice((2, 3, 4)), r.randrange(1, 5)
        top_groups = r.randrange(1, num_groups + 1)
        settings |= {"num_groups": num_groups, "top_groups": top_groups, "score": r.choice(SCORES)}
        counts, top_ks = [num_groups * size], [r.randrange(1, top_groups * size + 1)]
    else:
        counts = (
            [r.randrange(1, 17) for _ in range(1)] if flag(r) else [r.randrange(1, 8) for _ in range(r.choice((2, 3)))]
        )
        top_ks = [r.randrange(1, min(count, 6) + 1) if flag(r, 0.8) else count for count in counts]
    several = len(counts) > 1
    shared = None
    if flag(r, 0.6):
        shared = SharedExpert(
            count=r.choice((1, 1, 2, 3)),
            expert_size=r.randrange(1, 6),
            combine=r.choice(("sum", "average", "gated")),
            bias=flag(r),
        )
    latent = r.randrange(1, 7) if flag(r, 0.4) else None
    return MoE(
        groups=tuple(
            ExpertGroup(count=count, expert_size=r.randrange(1, 8), top_k=top_k)
            for count, top_k in zip(counts, top_ks, strict=True)
        ),
        router=Router(**settings),
        router_per_group=several and flag(r),
        combine_groups="average" if several and flag(r) else "sum",
        shared=shared,
        gated=flag(r),
        output_bias=latent is None and flag(r, 0.3),
        latent_size=latent,
        latent_norm=latent is not None and flag(r),
        latent_bias=latent is not None and flag(r),
        activation=r.choice(ACTIVATIONS),
        parallel_dense=random_dense(r) if flag(r, 0.3) else None,
    )


def random_capacity(r: random.Random) -> Capacity | None:
    if flag(r, 0.4):
        return None
    return Capacity(
        factor=r.choice((0.3, 0.5, 0.75, 1.0, 1.25, 2.0, 3.0)),
        rounding=r.choice(("ceil", "floor")),
        multiple=r.choice((1, 1, 2, 4)),
        drop=r.choice(("position", "score")),
    )


def random_valid(r: random.Random, batch: int, length: int) -> Tensor | None:
    """Padding at the ends of the sequences; now and then a sequence of nothing else."""
    if flag(r, 0.4):
        return None
    lengths = torch.tensor([0 if flag(r, 0.2) else r.randrange(length + 1) for _ in range(batch)])
    return torch.arange(length) < lengths[:, None]


def random_mixer(r: random.Random) -> Attention | LatentAttention:
    rope = Rope(theta=100.0, fraction=r.choice((1.0, 0.5))) if flag(r, 0.7) else None
    window = Window(size=r.randrange(1, 6), kind=r.choice(("sliding", "chunked"))) if flag(r, 0.4) else None
    if flag(r, 0.4):
        return LatentAttention(
            num_heads=r.randrange(1, 4),
            q_lora_rank=r.choice((None, 3, 5)),
            kv_lora_rank=r.randrange(2, 7),
            qk_nope_head_dim=r.randrange(1, 6),
            qk_rope_head_dim=r.choice((2, 4)),
            v_head_dim=r.randrange(1, 7),
            bias=flag(r),
            rope=rope,
            window=window,
        )
    kv_heads = r.choice((1, 2, 3))
    return Attention(
        num_heads=kv_heads * r.choice((1, 2)),
        num_kv_heads=kv_heads,
        head_dim=r.choice((2, 4, 6)),
        qkv_bias=flag(r),
        output_bias=flag(r),
        qk_norm=r.choice((None, "per_head", "full", "unweighted")),
        output_gate=r.choice((None, "per_channel", "per_head")),
        output_gate_bias=flag(r),
        rope=rope,
        window=window,
    )


def random_architecture(r: random.Random) -> Architecture:
    """Unlike layers, the first ones dense now and then."""
    layers = [
        Layer(
            mixer=random_mixer(r),
            feed_forward=random_dense(r) if flag(r, 0.3) else random_moe(r),
            norms=r.choice(("pre", "post", "sandwich", "parallel")),
        )
        for _ in range(r.randrange(1, 5))
    ]
    return Architecture(
        vocab_size=r.randrange(5, 40),
        hidden_size=r.randrange(1, 12),
        layers=tuple(layers),
        tie_embeddings=flag(r),
        norm=Norm(kind=r.choice(("rms", "layer")), bias=flag(r)),
        lm_head_bias=flag(r),
    )


def fill(module: nn.Module, seed: int, dtype: torch.dtype = torch.float64) -> None:
    """Random weights, large enough that scores differ; selection biases as well."""
    module.to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            width = tensor.shape[-1] if tensor.dim() > 1 else 4
            values = torch.randn(tensor.shape, generator=generator, dtype=torch.float64) * width**-0.5
            tensor.copy_(0.1 * values if "selection_bias" in name else values + ("norm" in name))
