"""Step 3 (StepFun, 2025): queries through a shared bottleneck and one key-value head (arXiv 2412.19255, 2507.19427).

Source: vLLM's step3_text.py and its Step3TextConfig.
"""

from moewright.architecture.feed_forwards import Router, SharedExpert
from moewright.architecture.spec import Architecture
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, attention, build, choose_feed_forwards, experts, layers_in_words, stack


def _sparse_layers(c: Config, n: int) -> list[bool]:
    chosen = layers_in_words(c, "moe_layers_enum")
    if chosen is None:
        return [index > 0 for index in range(n)]
    if not chosen <= set(range(n)):
        raise c.error("moe_layers_enum", f"expected numbers below {n}", c.raw("moe_layers_enum"))
    return [index in chosen for index in range(n)]


def _read(c: Config) -> Architecture:
    n = c.num_layers()
    c.fixed("num_key_value_heads", 1)
    plain = attention(c, qkv_bias=False, output_bias=False, rope=c.rope(500_000.0))
    mixer = plain.model_copy(update={"q_rank": c.size("share_q_dim")})
    moe = experts(
        c,
        count="moe_num_experts",
        top_k="moe_top_k",
        size="moe_intermediate_size",
        router=Router(normalize=c.flag("norm_expert_weight")),
        shared=SharedExpert(expert_size=c.size("share_expert_dim")),
    )
    return build(c, stack(c, [mixer] * n, choose_feed_forwards(c, _sparse_layers(c, n), moe)))


FAMILIES = {
    "step3_text": Family(
        model_type="step3_text",
        class_name="Step3TextForCausalLM",
        read=_read,
        defaults={
            **COMMON_DEFAULTS,
            "num_key_value_heads": 1,
            "rms_norm_eps": 1e-5,
            "head_dim": 256,
            "norm_expert_weight": False,
            "moe_layers_enum": None,
        },
        aliases={
            "num_attention_groups": "num_key_value_heads",
            "max_position_embedding": "max_position_embeddings",
            "share_expert_dims": "share_expert_dim",
        },
        neutral=("max_seq_len",),
    )
}
