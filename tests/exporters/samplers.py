"""Random small architectures: within a target's means, or with anything that the spec can say.

Sizes are drawn independently, so that an exporter that confuses two of them is found.
"""

import random
from collections.abc import Callable
from typing import Any

from moewright import Architecture
from moewright.architecture.feed_forwards import Dense, ExpertGroup, MoE, NoFeedForward, Router, SharedExpert
from moewright.architecture.mixers import Attention, LatentAttention, Mixer, NoMixer, Rope, ShortConvolution, Window
from moewright.architecture.spec import Layer, Norm

Sampler = Callable[[random.Random], Architecture]
YARN = {
    "rope_type": "yarn",
    "factor": 40.0,
    "beta_fast": 32,
    "beta_slow": 1,
    "original_max_position_embeddings": 4096,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
}


def flag(r: random.Random, share: float = 0.5) -> bool:
    return r.random() < share


def attention(r: random.Random, **extra: object) -> Attention:
    heads = r.choice((2, 4, 6))
    sizes = {"num_heads": heads, "num_kv_heads": r.choice((1, 2, heads)), "head_dim": r.choice((4, 8, 12))}
    return Attention(**{**sizes, "rope": Rope(theta=float(r.choice((10_000, 500_000)))), **extra})  # type: ignore[arg-type]


def latent(r: random.Random) -> LatentAttention:
    return LatentAttention(
        num_heads=r.choice((2, 4)),
        q_lora_rank=r.choice((None, 9, 20)),
        kv_lora_rank=r.randrange(5, 30),
        qk_nope_head_dim=r.choice((4, 6, 10)),
        qk_rope_head_dim=r.choice((4, 8)),
        v_head_dim=r.choice((4, 6, 12)),
        rope=Rope(theta=50_000.0, scaling=YARN if flag(r) else None),
    )


def experts(r: random.Random, router: Router, shared: SharedExpert | None, least_k: int = 1) -> MoE:
    per_group = r.randrange(3, 7)
    count = router.num_groups * per_group
    top_k = r.randrange(least_k, min(count, 6)) if router.num_groups == 1 else 2 * router.top_groups
    return MoE(
        groups=(ExpertGroup(count=count, expert_size=r.randrange(4, 40), top_k=top_k),), router=router, shared=shared
    )


def model(r: random.Random, mixers: list[Mixer], feed_forwards: list[Dense | MoE], **extra: object) -> Architecture:
    norms = extra.pop("norms", "pre")
    layers = [Layer(mixer=m, feed_forward=f, norms=norms) for m, f in zip(mixers, feed_forwards, strict=True)]  # type: ignore[arg-type]
    fields = {"tie_embeddings": flag(r), "norm": Norm(eps=r.choice((1e-5, 1e-6))), **extra}
    return Architecture(
        vocab_size=r.randrange(50, 200),
        hidden_size=r.choice((16, 24, 40)),
        layers=tuple(layers),
        max_context=r.choice((None, 64)),
        **fields,  # type: ignore[arg-type]
    )


def some_dense(r: random.Random, layers: int, moe: MoE) -> list[Dense | MoE]:
    """Mixtures with one size of dense layers among them, in any places; at least one mixture."""
    dense = Dense(size=r.randrange(8, 60))
    sparse = [True, *(flag(r, 0.7) for _ in range(layers - 1))]
    r.shuffle(sparse)
    return [moe if is_sparse else dense for is_sparse in sparse]


def deepseek_router(r: random.Random) -> Router:
    groups = r.choice((1, 2, 4))
    return Router(
        score="sigmoid",
        normalize=True,
        scale=r.choice((1.0, 2.5)),
        selection_bias="buffer" if flag(r) else None,
        num_groups=groups,
        top_groups=r.randrange(1, groups + 1),
    )


def softmax_router(r: random.Random) -> Router:
    after = flag(r)
    return Router(normalize=after or flag(r, 0.3), score_after_top_k=after, scale=r.choice((1.0, 2.0)))


def summed(r: random.Random) -> SharedExpert | None:
    return SharedExpert(count=r.choice((1, 2)), expert_size=r.randrange(4, 30)) if flag(r) else None


def megatron(r: random.Random) -> Architecture:
    layers = r.randrange(1, 6)
    router = r.choice((softmax_router, deepseek_router))(r)
    shared = summed(r)
    if shared and flag(r, 0.3):
        shared = shared.model_copy(update={"combine": "gated"})
    moe = experts(r, router, shared, least_k=2)
    if flag(r, 0.3):
        moe = moe.model_copy(update={"latent_size": r.randrange(3, 30)})
    feed_forwards = some_dense(r, layers, moe)
    if flag(r, 0.4):
        return model(r, [latent(r)] * layers, feed_forwards, mtp_layers=r.choice((0, 1)))
    norm = r.choice((Norm(eps=1e-5), Norm(eps=1e-5), Norm(kind="layer", bias=True)))
    full = attention(
        r, qkv_bias=flag(r), qk_norm="per_head" if norm.kind == "rms" and flag(r) else None, sinks=flag(r, 0.3)
    )
    slides = full.model_copy(update={"window": Window(size=r.randrange(2, 20))})
    mixers: list[Mixer] = [slides if flag(r, 0.3) else full for _ in range(layers)]
    return model(r, mixers, feed_forwards, norm=norm)


def olmo_core(r: random.Random) -> Architecture:
    layers = r.randrange(1, 6)
    router = r.choice((softmax_router(r), Router(score="sigmoid", normalize=flag(r)), deepseek_router(r)))
    router = router.model_copy(update={"selection_bias": "buffer" if flag(r, 0.3) else None})
    shared = summed(r)
    fused = flag(r)  # the kind of block that sums
    if not fused:
        router = router.model_copy(update={"scale": 1.0, "num_groups": 1, "top_groups": 1})
        shared = shared.model_copy(update={"combine": "average"}) if shared else None
    norm = r.choice((Norm(eps=1e-6), Norm(eps=1e-6), Norm(kind="layer", bias=flag(r))))
    mixers: list[Mixer] = []
    for _ in range(layers):  # every layer may be of its own shape
        bias, gate = flag(r, 0.3), r.choice((None, None, "per_channel", "per_head"))
        mixers.append(
            attention(
                r,
                qkv_bias=bias,
                output_bias=bias,
                qk_norm=r.choice((None, "per_head", "full")),
                output_gate=gate,
                output_gate_bias=bias and gate is not None,
                window=Window(size=r.randrange(2, 20)) if flag(r, 0.3) else None,
            )
        )
    in_latent: dict[str, Any] = {}
    if flag(r, 0.4):
        in_latent = {"latent_size": r.randrange(2, 8), "latent_norm": flag(r), "latent_bias": flag(r)}
    feed_forwards = [
        experts(r, router, shared).model_copy(update=in_latent)
        if flag(r, 0.7)
        else Dense(size=r.randrange(8, 60), bias=not fused and flag(r, 0.3))
        for _ in range(layers)
    ]
    norms = r.choice(("pre", "post", "sandwich") if fused else ("pre", "post"))
    return model(r, mixers, feed_forwards, norm=norm, norms=norms, lm_head_bias=flag(r, 0.3), tie_embeddings=False)


def torchtitan(r: random.Random) -> Architecture:
    layers = r.randrange(1, 6)
    router = r.choice((softmax_router, deepseek_router))(r)
    feed_forwards = some_dense(r, layers, experts(r, router, summed(r)))
    if flag(r):
        return model(r, [latent(r)] * layers, feed_forwards, tie_embeddings=False, mtp_layers=r.choice((0, 1)))
    mixers: list[Mixer] = [attention(r, qk_norm=r.choice((None, "per_head"))) for _ in range(layers)]
    return model(r, mixers, feed_forwards)


def hf(r: random.Random) -> Architecture:
    """Qwen3-MoE, Mixtral, dots.llm1 and DeepSeek-V3 in small."""
    layers = r.randrange(1, 6)
    kind = r.choice(("qwen3_moe", "mixtral", "dots1", "deepseek_v3"))
    if kind in ("qwen3_moe", "mixtral"):
        router = Router(normalize=True, score_after_top_k=flag(r)) if kind == "mixtral" or flag(r) else Router()
        moe = experts(r, router, None)
        norm = "per_head" if kind == "qwen3_moe" else None
        feed_forwards: list[Dense | MoE] = some_dense(r, layers, moe) if kind == "qwen3_moe" else [moe] * layers
        return model(r, [attention(r, qk_norm=norm)] * layers, feed_forwards)
    moe = experts(r, deepseek_router(r).model_copy(update={"selection_bias": "buffer"}), None)
    if flag(r):
        shared = SharedExpert(count=r.choice((1, 2)), expert_size=moe.groups[0].expert_size)
        moe = moe.model_copy(update={"shared": shared})
    first = r.randrange(0, layers)
    stack: list[Dense | MoE] = [Dense(size=r.randrange(8, 60))] * first
    stack += [moe] * (layers - first)
    if kind == "dots1":
        return model(r, [attention(r, qk_norm="per_head")] * layers, stack)
    return model(r, [latent(r)] * layers, stack, mtp_layers=r.choice((0, 1)))


_PLAIN_WIDTH = {"latent_size": None, "latent_norm": False, "latent_bias": False}


def anything(r: random.Random, base: Architecture) -> Architecture:
    """A model with one or two things changed, which its target may or may not be able to express."""
    layers = list(base.iter_layers())
    index = r.randrange(len(layers))
    layer = layers[index]
    mixer, moe = layer.mixer, layer.feed_forward
    changes: list[Layer] = [layer.model_copy(update={"mixer": ShortConvolution(kernel=3)})]
    changes += [layer.model_copy(update={"norms": norms}) for norms in ("post", "sandwich", "parallel")]
    changes.append(layer.model_copy(update={"mixer": NoMixer()}))
    changes.append(layer.model_copy(update={"feed_forward": NoFeedForward()}))
    if isinstance(mixer, Attention):
        for change in (
            {"sinks": True},
            {"output_bias": True},
            {"qk_norm": "unweighted"},
            {"window": Window(size=8, kind="chunked")},
            {"rope": None},
            {"rope": Rope(fraction=0.5)},
            {"output_gate": "per_head"},
            {"num_kv_heads": mixer.num_heads},
        ):
            changes.append(layer.model_copy(update={"mixer": mixer.model_copy(update=change)}))
    if isinstance(moe, MoE):
        group = moe.groups[0]
        if moe.router.num_groups == 1:
            unlike = (*moe.groups, ExpertGroup(count=3, expert_size=7, top_k=1))
            changes.append(layer.model_copy(update={"feed_forward": moe.model_copy(update={"groups": unlike})}))
        in_experts: tuple[dict[str, Any], ...] = (
            {"groups": (group.model_copy(update={"expert_size": group.expert_size + 1}),)},
            {"expert_bias": True},
            {"output_bias": True, **_PLAIN_WIDTH},
            {"gated": False},
            {"activation": "relu2"},
            {"identity_experts": 2, **_PLAIN_WIDTH},
            {"parallel_dense": Dense(size=9)},
            {"latent_size": 10},
            {"latent_size": 10, "latent_norm": True},
            {"latent_size": 10, "latent_bias": True},
            {"router": moe.router.model_copy(update={"bias": True})},
            {"router": moe.router.model_copy(update={"kind": "hash"})},
            {"router": moe.router.model_copy(update={"score": "sqrt_softplus"})},
            {"router": moe.router.model_copy(update={"weigh": "input"})},
            {"router": moe.router.model_copy(update={"selection_bias": "parameter"})},
            {"shared": SharedExpert(expert_size=11, combine="gated")},
            {"shared": SharedExpert(expert_size=11, combine="average")},
            {"shared": SharedExpert(expert_size=11, bias=True)},
        )
        for change in in_experts:
            changes.append(layer.model_copy(update={"feed_forward": moe.model_copy(update=change)}))
    layers[index] = r.choice(changes)
    outer = r.choice(
        ({}, {}, {"hyper_connections": 2}, {"attention_residuals": 1}, {"mtp_layers": 1}, {"lm_head_bias": True})
    )
    return Architecture.from_dict({**base.to_dict(), "layers": [x.model_dump() for x in layers], **outer})


SAMPLERS: dict[str, Sampler] = {
    "hf": hf,
    "megatron": megatron,
    "olmo-core": olmo_core,
    "torchtitan": torchtitan,
}
