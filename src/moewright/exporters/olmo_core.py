"""OLMo-core: a TransformerConfig as JSON, which `TransformerConfig.from_dict` loads.

Written for ai2-olmo-core 3.0.0, which has two kinds of mixture. Its older blocks (nn/moe/moe.py, nn/moe/router.py)
average the shared expert with the routed ones and have no factor on the gates. Its fused blocks (nn/ddp/block.py,
nn/moe/v2) sum, and have factors and groups of experts; they are taken where the model needs them. The config is written
leniently and read back as OLMo-core understands it; where the reading is another model, the export is refused.
"""

import json
from typing import Any, Literal

from moewright.architecture.canonical import canonical
from moewright.architecture.feed_forwards import (
    Dense,
    ExpertGroup,
    MoE,
    Router,
    SharedExpert,
    group_score_experts,
    routed_width,
)
from moewright.architecture.mixers import Attention, Rope, Window
from moewright.architecture.spec import Architecture, Layer, Norm, NormPlaces
from moewright.exporters.target_conventions import (
    BIAS_UPDATE_RATE,
    Written,
    divided_by_all_layers,
    refuse,
    refuse_differences,
    summed_over_layers,
)

NAME = "olmo-core"
VERSION = "3.0.0"
CONFIG = "olmo_core_config.json"

_REASONS = {
    "mixer": "softmax attention only; its linear mixers are not written here",
    "combine": "all mixtures sum, or all average as shared/(K+1) + routed K/(K+1), without factor and groups",
    "score": "softmax or sigmoid",
    "expert_bias": "its experts have no biases",
    "activation": "its experts are SwiGLU, its dense layers SwiGLU or GeGLU by tanh",
    "gated": "its feed-forwards are gated",
    "output_bias": "one switch for the biases of queries, keys, values, output and gate",
    "output_gate_bias": "one switch for the biases of queries, keys, values, output and gate",
    "bias": "one switch for each feed-forward, none in the router and the shared expert of an MoE",
    "groups": "all experts of a layer are alike",
    "qk_norm": "per head or over all heads, with weights",
    "theta": "RoPEConfig.theta is an integer",
    "scaling": "rope scaling is not written here",
    "mtp_layers": "it has no prediction blocks",
    "norms": "before or after each sublayer, or both",
    "window": "sliding windows only",
}
_BLOCKS: dict[tuple[NormPlaces, bool], str] = {
    ("pre", False): "default",
    ("post", False): "reordered_norm",
    ("sandwich", False): "peri_norm",
    ("pre", True): "moe",
    ("post", True): "moe_reordered_norm",
}
_NORMS = {block: norms for (norms, _), block in _BLOCKS.items()}
# OLMo-core ranks a group of experts by its best two (nn/moe/v2/router.py, get_top_k).
_GROUP_SCORE_EXPERTS = 2
_GATES: dict[str, Literal["per_head", "per_channel"]] = {"headwise": "per_head", "elementwise": "per_channel"}


def export(architecture: Architecture, balance_loss: float | None) -> Written:
    """The config file. UserError names what OLMo-core cannot express."""
    wanted = canonical(architecture)
    config = json.loads(json.dumps(write(wanted, balance_loss)))
    refuse_differences(NAME, wanted, read(config), _REASONS)
    for _, moe in wanted.moe_layers():
        if moe.latent_size is not None and moe.latent_size >= wanted.hidden_size:
            reason = f"its latent experts are narrower than the model ({wanted.hidden_size})"
            refuse(NAME, wanted, moe, "latent_size", moe.latent_size, reason)
        meant = group_score_experts(moe.router)
        if moe.router.num_groups > 1 and meant != _GROUP_SCORE_EXPERTS:
            reason = f"it would rank groups by their best {_GROUP_SCORE_EXPERTS} experts, not their best {meant}"
            refuse(NAME, wanted, moe, "router.top_groups", moe.router.top_groups, reason)
    return Written({CONFIG: json.dumps(config, indent=2) + "\n"}, _notes(wanted, balance_loss))


def needs_fused(a: Architecture) -> bool:
    """Whether the model has what only OLMo-core's fused blocks can do."""
    return any(
        (moe.shared is not None and moe.shared.combine == "sum") or moe.router.scale != 1 or moe.router.num_groups > 1
        for _, moe in a.moe_layers()
    ) or any(layer.norms == "sandwich" and isinstance(layer.feed_forward, MoE) for _, layer in a.layer_runs())


def write(a: Architecture, balance_loss: float | None) -> dict[str, Any]:
    """TransformerConfig's fields; unlike layers become named blocks and a pattern of their names."""
    fused = needs_fused(a)
    weight = None if balance_loss is None else balance_weight(a, balance_loss)
    blocks: dict[str, dict[str, Any]] = {}
    names: dict[str, str] = {}
    pattern = []
    for layer in a.iter_layers():
        block = (_fused_block if fused else _block)(layer, a, weight)
        name = names.setdefault(json.dumps(block), f"block_{len(names)}")
        blocks[name] = block
        pattern.append(name)
    values: dict[str, Any] = {
        "d_model": a.hidden_size,
        "vocab_size": a.vocab_size,
        "n_layers": len(pattern),
        "block": blocks if len(blocks) > 1 else blocks[pattern[0]],
        "lm_head": _made("nn.lm_head.LMHeadConfig", layer_norm=_norm(a.norm), bias=a.lm_head_bias),
        "name": "moe_fused_v2" if fused else "moe" if a.moe_layers() else "default",
        "tie_word_embeddings": a.tie_embeddings,
    }
    if len(blocks) > 1:
        values["block_pattern"] = pattern
    return _made(f"nn.transformer.config.{'OLMoDDPModelConfig' if fused else 'TransformerConfig'}", **values)


def balance_weight(a: Architecture, balance_loss: float) -> float:
    """lb_loss_weight: the older mixtures divide it by the number of layers (MoEBase), the fused ones do not."""
    return (summed_over_layers if needs_fused(a) else divided_by_all_layers)(a, balance_loss)


def _made(name: str, /, **fields: Any) -> dict[str, Any]:
    """A config as OLMo-core's own files hold it: the class, then its fields."""
    return {"_CLASS_": f"olmo_core.{name}", **fields}


def _norm(norm: Norm) -> dict[str, Any]:
    name = "rms" if norm.kind == "rms" else "default"
    return _made("nn.layer_norm.LayerNormConfig", name=name, eps=norm.eps, bias=norm.bias)


def _block(layer: Layer, a: Architecture, weight: float | None) -> dict[str, Any]:
    moe = layer.feed_forward if isinstance(layer.feed_forward, MoE) else None
    fields: dict[str, Any] = {
        # A place of the norms without a block of its own is read back as another place, and so refused.
        "name": _BLOCKS.get((layer.norms, moe is not None), "moe" if moe else "default"),
        "sequence_mixer": _attention(layer.mixer, a.norm),
        "layer_norm": _norm(a.norm),
    }
    if moe is not None:
        fields["feed_forward_moe"] = _experts(moe, weight, a.norm)
    else:  # without one: read back as dense, and so refused by its kind
        dense = layer.feed_forward if isinstance(layer.feed_forward, Dense) else Dense(size=1)
        fields["feed_forward"] = _dense(dense)
    return _made("nn.transformer.config.TransformerBlockConfig", **fields)


def _fused_block(layer: Layer, a: Architecture, weight: float | None) -> dict[str, Any]:
    feed_forward, width = layer.feed_forward, a.hidden_size
    fields: dict[str, Any] = {
        "name": "moe_fused_v2",
        "sequence_mixer": _attention(layer.mixer, a.norm),
        "layer_norm": _norm(a.norm),
        "use_pre_norm": layer.norms == "pre",
        "use_peri_norm": layer.norms == "sandwich",
    }
    sizes = {"bias": False, "dtype": "float32"}
    if isinstance(feed_forward, MoE):
        group, router = feed_forward.groups[0], feed_forward.router
        limits = {"n_group": router.num_groups, "topk_group": router.top_groups} if router.num_groups > 1 else {}
        gates = _gates(feed_forward) | {"expert_weight_scale": router.scale, "lb_loss_weight": weight} | limits
        fields["routed_experts"] = _made(
            "nn.moe.v2.routed_experts.RoutedExpertsConfig",
            hidden_size=group.expert_size,
            num_experts=group.count,
            d_model=routed_width(feed_forward, width),
            **sizes,
        )
        fields |= _latent(feed_forward, a.norm)
        fields["routed_experts_router"] = _made(
            "nn.moe.v2.router.MoERouterConfigV2", d_model=width, num_experts=group.count, **gates
        )
    # A dense layer is one that has a shared expert only.
    always = feed_forward.size if isinstance(feed_forward, Dense) else None if isinstance(feed_forward, MoE) else 1
    if isinstance(feed_forward, MoE) and feed_forward.shared:
        always = feed_forward.shared.expert_size
    if always:
        fields["shared_experts"] = _made(
            "nn.moe.v2.shared_experts.SharedExpertsConfig", hidden_size=always, num_experts=1, d_model=width, **sizes
        )
    return _made("nn.ddp.block.OLMoDDPTransformerBlockConfig", **fields)


def _attention(mixer: Any, norm: Norm) -> dict[str, Any]:
    if not isinstance(mixer, Attention):  # read back as attention, and so refused by its kind
        return _made("nn.attention.AttentionConfig", n_heads=1, n_kv_heads=1, head_dim=1, bias=False)
    fields: dict[str, Any] = {
        "n_heads": mixer.num_heads,
        "n_kv_heads": mixer.num_kv_heads,
        "head_dim": mixer.head_dim,
        "bias": mixer.qkv_bias,
    }
    if mixer.rope:
        fields["rope"] = _made(
            "nn.rope.RoPEConfig", theta=int(mixer.rope.theta), partial_rotary_factor=mixer.rope.fraction
        )
    if mixer.qk_norm in ("per_head", "full"):
        fields["qk_norm"] = _norm(norm) | {"bias": False}
        fields["use_head_qk_norm"] = mixer.qk_norm == "per_head"
    if mixer.output_gate:
        granularity = next(name for name, gate in _GATES.items() if gate == mixer.output_gate)
        fields["gate"] = _made("nn.attention.GateConfig", granularity=granularity)
    if mixer.sinks:
        fields |= {"attention_sinks": True, "backend": "torch"}  # the only backend that has them
    if mixer.window and mixer.window.kind == "sliding":
        fields["sliding_window"] = _made(
            "nn.attention.SlidingWindowAttentionConfig",
            pattern=[mixer.window.size],
            force_full_attention_on_first_layer=False,
            force_full_attention_on_last_layer=False,
        )
    return _made("nn.attention.AttentionConfig", **fields)


def _dense(dense: Dense) -> dict[str, Any]:
    activation = "gelu_tanh" if dense.activation == "gelu_tanh" else "silu"
    return _made("nn.feed_forward.FeedForwardConfig", hidden_size=dense.size, bias=dense.bias, activation=activation)


def _gates(moe: MoE) -> dict[str, Any]:
    router = moe.router
    return {
        "top_k": moe.groups[0].top_k,
        "gating_function": "sigmoid" if router.score == "sigmoid" else "softmax",
        "normalize_expert_weights": 1.0 if router.normalize else None,  # the norm's order: 1 divides by the sum
        "bias_gamma": BIAS_UPDATE_RATE if router.selection_bias else None,
    }


def _latent(moe: MoE, norm: Norm) -> dict[str, Any]:
    if moe.latent_size is None:
        return {}
    fields: dict[str, Any] = {
        "latent_dim": moe.latent_size,
        "bias": moe.latent_bias,
        "up_proj_input_norm_enabled": moe.latent_norm,
    }
    if moe.latent_norm:  # an RMSNorm, with the model's epsilon
        fields["up_proj_input_norm"] = _norm(Norm(eps=norm.eps))
    return {"latent_moe": _made("nn.moe.moe.LatentMoEConfig", **fields)}


def _read_latent(fields: dict[str, Any]) -> dict[str, Any]:
    latent = fields.get("latent_moe")
    if latent is None:
        return {}
    normed = latent["up_proj_input_norm_enabled"]
    return {"latent_size": latent["latent_dim"], "latent_bias": latent["bias"], "latent_norm": normed}


def _experts(moe: MoE, weight: float | None, norm: Norm) -> dict[str, Any]:
    group = moe.groups[0]
    fields: dict[str, Any] = {
        "name": "dropless",
        "num_experts": group.count,
        "hidden_size": group.expert_size,
        "router": _made("nn.moe.router.MoERouterConfig", **_gates(moe)),
        "lb_loss_weight": weight,
        "scale_loss_by_num_layers": True,
        **_latent(moe, norm),
    }
    if moe.shared:
        fields["shared_mlp"] = _made(
            "nn.feed_forward.FeedForwardConfig", hidden_size=moe.shared.expert_size, bias=False
        )
    return _made("nn.moe.moe.MoEConfig", **fields)


def read(config: dict[str, Any]) -> Architecture:
    """The architecture that OLMo-core builds from the config."""
    pattern = config.get("block_pattern")
    blocks = [config["block"][name] for name in pattern] if pattern else [config["block"]] * config["n_layers"]
    norm = config["lm_head"]["layer_norm"]
    return Architecture(
        vocab_size=config["vocab_size"],
        hidden_size=config["d_model"],
        layers=tuple(_read_block(block) for block in blocks),
        tie_embeddings=config["tie_word_embeddings"],
        norm=Norm(kind="rms" if norm["name"] == "rms" else "layer", bias=norm["bias"], eps=norm["eps"]),
        lm_head_bias=config["lm_head"]["bias"],
    )


def _read_block(block: dict[str, Any]) -> Layer:
    mixer, dense = block["sequence_mixer"], block.get("feed_forward")
    rope, gate, window = mixer.get("rope"), mixer.get("gate"), mixer.get("sliding_window")
    attention = Attention(
        num_heads=mixer["n_heads"],
        num_kv_heads=mixer["n_kv_heads"],
        head_dim=mixer["head_dim"],
        qkv_bias=mixer["bias"],
        output_bias=mixer["bias"],
        qk_norm=("per_head" if mixer["use_head_qk_norm"] else "full") if "qk_norm" in mixer else None,
        output_gate=_GATES[gate["granularity"]] if gate else None,
        output_gate_bias=mixer["bias"] if gate else False,
        sinks=mixer.get("attention_sinks", False),
        window=Window(size=window["pattern"][0]) if window else None,
        rope=Rope(theta=float(rope["theta"]), fraction=float(rope["partial_rotary_factor"])) if rope else None,
    )
    if block["name"] == "moe_fused_v2":
        placed: NormPlaces = "pre" if block["use_pre_norm"] else "sandwich" if block["use_peri_norm"] else "post"
        return Layer(mixer=attention, feed_forward=_read_fused(block), norms=placed)
    return Layer(
        mixer=attention,
        feed_forward=Dense(size=dense["hidden_size"], bias=dense["bias"], activation=dense["activation"])
        if dense
        else _read_experts(block["feed_forward_moe"]),
        norms=_NORMS[block["name"]],
    )


def _read_experts(moe: dict[str, Any]) -> MoE:
    router, shared = moe["router"], moe.get("shared_mlp")
    return MoE(
        groups=(ExpertGroup(count=moe["num_experts"], expert_size=moe["hidden_size"], top_k=router["top_k"]),),
        router=_read_router(router),
        shared=SharedExpert(expert_size=shared["hidden_size"], combine="average") if shared else None,
        **_read_latent(moe),
    )


def _read_fused(block: dict[str, Any]) -> Dense | MoE:
    shared, routed = block.get("shared_experts"), block.get("routed_experts")
    if routed is None:
        assert shared is not None
        return Dense(size=shared["hidden_size"])
    router = block["routed_experts_router"]
    return MoE(
        groups=(ExpertGroup(count=routed["num_experts"], expert_size=routed["hidden_size"], top_k=router["top_k"]),),
        router=_read_router(router),
        shared=SharedExpert(expert_size=shared["hidden_size"]) if shared else None,
        **_read_latent(block),
    )


def _read_router(router: dict[str, Any]) -> Router:
    groups = router.get("n_group", 1)
    return Router(
        score=router["gating_function"],
        normalize=router["normalize_expert_weights"] is not None,
        scale=float(router.get("expert_weight_scale", 1.0)),
        selection_bias="buffer" if router["bias_gamma"] is not None else None,
        num_groups=groups,
        top_groups=router.get("topk_group", groups),
    )


def _notes(a: Architecture, balance_loss: float | None) -> tuple[str, ...]:
    notes = []
    if a.max_context is not None:
        notes.append(f"max_context {a.max_context}: not in the config; the data loader's sequence length sets it")
    for _, moe in a.moe_layers()[:1]:
        if moe.router.normalize:
            notes.append("gates: scores over all, divided by the sum of the chosen (normalize_expert_weights 1)")
        if moe.router.selection_bias:
            notes.append(f"loss-free bias: bias_gamma {BIAS_UPDATE_RATE}, not part of the spec (DeepSeek-V3's)")
        fused = needs_fused(a)
        kind = "fused blocks (OLMoDDPModelConfig), which sum" if fused else "TransformerConfig's blocks, which average"
        if moe.shared or fused:
            notes.append(f"shared experts: {kind} shared and routed experts; given by their total width")
        if balance_loss is None:
            notes.append("balance loss: none (--balance-loss sets one)")
        else:
            divided = "" if fused else f" and divides by all {a.num_layers} layers"
            notes.append(
                f"balance loss {balance_loss:g}: lb_loss_weight {balance_weight(a, balance_loss):g}, since OLMo-core "
                f"adds up its layers' losses (each 1 when balanced){divided} where moewright averages them"
            )
    return tuple(notes)
