"""MiniMax-Text-01 (arXiv 2501.08313), a hybrid of lightning and softmax attention, and MiniMax-M2."""

from moewright.architecture.feed_forwards import Router
from moewright.architecture.mixers import LightningAttention, Window
from moewright.architecture.spec import Architecture
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, attention, build, experts, stack, without


def _read_minimax(c: Config) -> Architecture:
    n = c.num_layers()
    types = c.per_layer("layer_types", n, "full_attention", "linear_attention")
    if types is None:  # transformers' rule; MiniMax's own configs state attn_type_list
        stated = c.integers("attn_type_list")
        if stated and len(stated) != n:
            raise c.error("attn_type_list", f"has {len(stated)} entries for {n} layers")
        full = [kind == 1 for kind in stated] if stated else [index % 2 == 0 for index in range(n)]
    else:
        full = [kind == "full_attention" for kind in types]
    size = c.optional_size("sliding_window")
    softmax = attention(
        c, qkv_bias=False, output_bias=False, window=Window(size=size) if size else None, rope=c.rope(1e6)
    )
    lightning = LightningAttention(num_heads=c.size("num_attention_heads"), head_dim=c.head_dim())
    moe = experts(
        c,
        count="num_local_experts",
        top_k="num_experts_per_tok",
        size="intermediate_size",
        router=Router(normalize=True),
    )
    return build(c, stack(c, [softmax if f else lightning for f in full], [moe] * n))


_M2_FIXED = {
    "scoring_func": "sigmoid",
    "use_qk_norm": True,
    "qk_norm_type": "per_layer",
    "use_routing_bias": True,
    "mtp_transformer_layers": 1,
    "shared_intermediate_size": 0,
}


def _read_m2(c: Config) -> Architecture:
    n = c.num_layers()
    fraction = 1.0
    if c.has("rotary_dim"):
        fraction = c.size("rotary_dim") / c.head_dim()
    mixer = attention(c, qkv_bias=False, output_bias=False, qk_norm="full", rope=c.rope(5e6, fraction))
    # MiniMax's own file states these as well.
    for key, meaning in _M2_FIXED.items():
        c.fixed(key, meaning)
    moe = experts(
        c,
        count="num_local_experts",
        top_k="num_experts_per_tok",
        size="intermediate_size",
        router=Router(score="sigmoid", normalize=True, selection_bias="buffer"),
    )
    return build(c, stack(c, [mixer] * n, [moe] * n), mtp_layers=c.count("num_mtp_modules"))


FAMILIES = {
    "minimax": Family(
        model_type="minimax",
        class_name="MiniMaxForCausalLM",
        read=_read_minimax,
        defaults={
            **COMMON_DEFAULTS,
            "rms_norm_eps": 1e-5,
            "sliding_window": None,
            "layer_types": None,
            "attn_type_list": None,
        },
        aliases={"num_experts": "num_local_experts"},
        neutral=(
            "block_size",
            "full_attn_alpha_factor",
            "full_attn_beta_factor",
            "linear_attn_alpha_factor",
            "linear_attn_beta_factor",
            "mlp_alpha_factor",
            "mlp_beta_factor",
        ),
    ),
    "minimax_m2": Family(
        model_type="minimax_m2",
        class_name="MiniMaxM2ForCausalLM",
        read=_read_m2,
        defaults={**without(COMMON_DEFAULTS, "head_dim"), "rotary_dim": None, "num_mtp_modules": 0},
        aliases={"num_experts": "num_local_experts"},
        # What MiniMax's own file states beside transformers' keys; transformers builds the same module without them.
        neutral=(
            "attn_type_list",
            "use_mtp",
        ),
    ),
}
