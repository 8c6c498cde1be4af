"""gpt-oss (arXiv 2508.10925)."""

from moewright.architecture.feed_forwards import Router
from moewright.architecture.mixers import Rope, Window
from moewright.architecture.spec import Architecture
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, attention, build, experts, stack, without

# What transformers takes where the config states no rotary scaling at all.
_YARN = {
    "rope_type": "yarn",
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 4096,
}


def _read(c: Config) -> Architecture:
    n, bias = c.num_layers(), c.flag("attention_bias")
    types = c.per_layer("layer_types", n, "sliding_attention", "full_attention")
    slides = (
        [index % 2 == 0 for index in range(n)] if types is None else [kind == "sliding_attention" for kind in types]
    )
    rope = c.rope(150_000.0)
    if not c.has("rope_scaling") and not c.has("rope_parameters"):
        rope = Rope(theta=rope.theta, scaling=_YARN)
    full = attention(c, qkv_bias=bias, output_bias=bias, sinks=True, rope=rope)
    size = c.optional_size("sliding_window")
    window = Window(size=size) if size else None
    sliding = attention(c, qkv_bias=bias, output_bias=bias, sinks=True, rope=rope, window=window)
    moe = experts(
        c,
        count="num_local_experts",
        top_k="num_experts_per_tok",
        size="intermediate_size",
        router=Router(bias=True, score_after_top_k=True, normalize=True),
        expert_bias=True,
    )
    return build(c, stack(c, [sliding if s else full for s in slides], [moe] * n))


FAMILIES = {
    "gpt_oss": Family(
        model_type="gpt_oss",
        class_name="GptOssForCausalLM",
        read=_read,
        defaults={
            **without(COMMON_DEFAULTS, "head_dim"),
            "rms_norm_eps": 1e-5,
            "attention_bias": True,
            "sliding_window": 128,
            "layer_types": None,
        },
        # experts_per_token stands beside num_experts_per_tok in OpenAI's own files
        aliases={"num_experts": "num_local_experts", "experts_per_token": "num_experts_per_tok"},
        neutral=("swiglu_limit", "swiglu_alpha", "initial_context_length"),
        active_counts_embedding=False,  # the model card counts the head but not the embedding: 5.1B and 3.6B
    ),
}
