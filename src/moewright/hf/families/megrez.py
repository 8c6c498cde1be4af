"""Megrez 2 (Infinigence, arXiv 2507.17728): several layers in a row choose among the same routed experts.

Source: modeling of infinigence/Infini-Megrez for vLLM and SGLang (megrez_moe.py).
"""

from moewright.architecture.spec import Architecture
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import (
    COMMON_DEFAULTS,
    DEEPSEEK_ROUTING,
    attention,
    build,
    choose_feed_forwards,
    deepseek_experts,
    dense_first_layers,
    stack,
    without,
)


def _read(c: Config) -> Architecture:
    n, bias, every = c.num_layers(), c.flag("attention_bias"), c.size("experts_shared_frequency")
    qkv_bias = c.flag("qkv_bias") if c.has("qkv_bias") else bias
    mixer = attention(c, qkv_bias=qkv_bias, output_bias=bias, rope=c.rope())
    moe = deepseek_experts(c)
    sparse = dense_first_layers(c, n)
    feed_forwards = choose_feed_forwards(c, sparse, moe)
    first, again = c.count("first_k_dense_replace"), moe.model_copy(update={"experts": "earlier_layer"})
    for index in range(first, n):
        if (index - first) % every:
            feed_forwards[index] = again
    uses = min(every, n - first)
    if uses > 1:
        most = min(uses * moe.top_k, moe.num_experts)
        c.warn(
            f"{uses} layers in a row choose among the same experts, so a token uses between {moe.top_k} and {most} of "
            f"the {moe.num_experts} that they share; active parameters count each layer's choice"
        )
    return build(c, stack(c, [mixer] * n, feed_forwards))


FAMILIES = {
    "megrez_moe": Family(
        model_type="megrez_moe",
        class_name="MegrezMoeForCausalLM",
        read=_read,
        defaults={
            **COMMON_DEFAULTS,
            **without(DEEPSEEK_ROUTING, "first_k_dense_replace"),
            "num_key_value_heads": None,
            "qkv_bias": None,
        },
        neutral=(
            *("pre_gate", "ep_size", "aux_loss_alpha", "seq_aux", "intermediate_size", "num_nextn_predict_layers"),
        ),
        active_counts_embedding=False,  # "A3B": 2.99B without embedding and head
    ),
}
