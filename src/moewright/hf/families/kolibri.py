"""Kolibri 1 (2026): windows in four of five layers, norms around each half, experts scored by sigmoids."""

from moewright.architecture.feed_forwards import Router, SharedExpert
from moewright.architecture.spec import Architecture
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, attention, build, experts, stack, windowed, without


def _read(c: Config) -> Architecture:
    n = c.num_layers()
    types = c.per_layer("layer_types", n, "full_attention", "sliding_attention")
    types = types or ["full_attention" if (index + 1) % 5 == 0 else "sliding_attention" for index in range(n)]
    full = attention(c, qkv_bias=False, output_bias=False, qk_norm="per_head", rope=c.rope())
    moe = experts(
        c,
        count="num_local_experts",
        top_k="num_experts_per_tok",
        size="moe_intermediate_size",
        router=Router(score="sigmoid", normalize=c.flag("norm_topk_prob"), selection_bias="buffer"),
        shared=SharedExpert(expert_size=c.size("shared_expert_intermediate_size")),
    )
    return build(c, stack(c, windowed(c, types, full, full.rope), [moe] * n, norms="sandwich"))


FAMILIES = {
    "kolibri1": Family(
        model_type="kolibri1",
        class_name="Kolibri1ForCausalLM",
        read=_read,
        defaults={
            **without(COMMON_DEFAULTS, "attention_bias"),
            "head_dim": 128,
            "layer_types": None,
            "sliding_window": 513,
            "norm_topk_prob": False,
        },
        aliases={"num_experts": "num_local_experts"},
    ),
}
