"""Snowflake Arctic (2024): experts beside a dense residual feed-forward with a norm of its own.

Source: modeling_arctic.py of snowflake-arctic-instruct, and vLLM's arctic.py.
"""

from moewright.architecture.feed_forwards import Dense, Router
from moewright.architecture.own_weights import OwnWeight
from moewright.architecture.spec import Architecture, Layer
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, attention, build, experts, sparse_each


def _read(c: Config) -> Architecture:
    n, every, width = c.num_layers(), c.size("moe_layer_frequency"), c.size("hidden_size")
    c.fixed("use_residual", True, None)
    mixer = attention(c, qkv_bias=c.flag("attention_bias"), output_bias=c.flag("attention_bias"), rope=c.rope(1e6))
    beside = c.flag("parallel_attn_mlp_res")
    moe = experts(
        c,
        count="num_local_experts",
        top_k="num_experts_per_tok",
        size="intermediate_size",
        router=Router(normalize=c.size("num_experts_per_tok") > 1),
        parallel_dense=Dense(size=width, activation=c.activation()) if beside else None,
    )
    # The dense branch reads what attention made, the experts what it read: each behind a norm of its own.
    norms = (OwnWeight(name="residual_layernorm", component="norm", outputs=width),) if beside else ()
    sparse = Layer(mixer=mixer, feed_forward=moe, own_weights=norms)
    return build(c, sparse_each(c, n, every, sparse))


FAMILIES = {
    "arctic": Family(
        model_type="arctic",
        class_name="ArcticForCausalLM",
        read=_read,
        defaults={
            **COMMON_DEFAULTS,
            "num_key_value_heads": None,
            "rms_norm_eps": 1e-5,
            "moe_layer_frequency": 2,
            "parallel_attn_mlp_res": False,
        },
        aliases={"num_experts": "num_local_experts"},
        neutral=(
            *("moe_train_capacity_factor", "moe_eval_capacity_factor", "moe_min_capacity", "moe_token_dropping"),
            *("enable_expert_tensor_parallelism", "enable_capacity_factor", "quantization", "sliding_window"),
        ),
    )
}
