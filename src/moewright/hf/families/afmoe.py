"""AFMoE (Arcee Trinity, 2025): gated attention, four norms a layer, windows with a full layer now and then."""

from moewright.architecture.feed_forwards import Router
from moewright.architecture.mixers import Window
from moewright.architecture.spec import Architecture
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import (
    COMMON_DEFAULTS,
    attention,
    build,
    choose_feed_forwards,
    dense_first_layers,
    experts,
    shared_of_routed_size,
    stack,
    without,
)


def _read(c: Config) -> Architecture:
    n, bias = c.num_layers(), c.flag("attention_bias")
    types = c.per_layer("layer_types", n, "sliding_attention", "full_attention")
    if types is None:
        every = c.size("global_attn_every_n_layers")
        types = ["full_attention" if (index + 1) % every == 0 else "sliding_attention" for index in range(n)]
    size = c.optional_size("sliding_window")
    window, rope = Window(size=size) if size else None, c.rope()
    mixers = {
        slides: attention(
            c,
            qkv_bias=bias,
            output_bias=bias,
            qk_norm="per_head",
            output_gate="per_channel",
            window=window if slides else None,
            rope=rope if slides else None,  # full layers have no position embedding
        )
        for slides in (True, False)
    }
    moe = experts(
        c,
        count="num_experts",
        top_k="num_experts_per_tok",
        size="moe_intermediate_size",
        # The bias of loss-free balancing is registered as a parameter here, and so is counted.
        router=Router(score="sigmoid", normalize=True, scale=c.number("route_scale"), selection_bias="parameter"),
        shared=shared_of_routed_size(c, "num_shared_experts", "moe_intermediate_size"),
    )
    sparse = dense_first_layers(c, n, "num_dense_layers")
    feed_forwards = choose_feed_forwards(c, sparse, moe)
    mixer_list = [mixers[kind == "sliding_attention"] for kind in types]
    return build(c, stack(c, mixer_list, feed_forwards, norms="sandwich"))


FAMILIES = {
    "afmoe": Family(
        model_type="afmoe",
        class_name="AfmoeForCausalLM",
        read=_read,
        defaults={
            **without(COMMON_DEFAULTS, "head_dim"),
            "num_key_value_heads": None,
            "rms_norm_eps": 1e-5,
            "num_dense_layers": 1,
            "num_shared_experts": 2,
            "route_scale": 1.0,
            "global_attn_every_n_layers": 4,
            "sliding_window": 1024,
            "layer_types": None,
        },
        aliases={"num_local_experts": "num_experts"},
        neutral=(
            "use_grouped_mm",
            "mup_enabled",
            "intermediate_size",
            "score_func",
            "route_norm",
            "load_balance_coeff",
            "n_group",
            "topk_group",
            "num_expert_groups",
            "num_limited_groups",
        ),
    ),
}
