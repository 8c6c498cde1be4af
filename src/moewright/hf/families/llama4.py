"""Llama 4 (Meta, 2025): one routed and one shared expert, in every layer (Scout) or every other one (Maverick)."""

from moewright.architecture.feed_forwards import Router, SharedExpert
from moewright.architecture.mixers import Window
from moewright.architecture.spec import Architecture
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, attention, build, choose_feed_forwards, experts, stack, without


def _read(c: Config) -> Architecture:
    n = c.num_layers()
    if c.has("moe_layers"):
        with_experts = set(c.integers("moe_layers"))
        sparse = [index in with_experts for index in range(n)]
    else:
        step = c.size("interleave_moe_layer_step")
        sparse = [(index + 1) % step == 0 for index in range(n)]
    rotates = [flag != 0 for flag in c.integers("no_rope_layers")]  # 1 means: with rotary embedding
    if not rotates:
        interval = c.size("no_rope_layer_interval")
        rotates = [(index + 1) % interval != 0 for index in range(n)]
    if len(rotates) != n:
        raise c.error("no_rope_layers", f"has {len(rotates)} entries for {n} layers")
    types = c.per_layer("layer_types", n, "chunked_attention", "full_attention")
    chunked = rotates if types is None else [kind == "chunked_attention" for kind in types]
    size = c.optional_size("attention_chunk_size")
    window = Window(size=size, kind="chunked") if size else None
    bias, norm, rope = c.flag("attention_bias"), c.flag("use_qk_norm"), c.rope(500_000.0)
    mixers = {
        (turns, chunk): attention(
            c,
            qkv_bias=bias,
            output_bias=bias,
            qk_norm="unweighted" if norm and turns else None,
            rope=rope if turns else None,
            window=window if chunk else None,
        )
        for turns, chunk in set(zip(rotates, chunked, strict=True))
    }
    moe = experts(
        c,
        count="num_local_experts",
        top_k="num_experts_per_tok",
        size="intermediate_size",
        router=Router(score="sigmoid", weigh="input"),
        shared=SharedExpert(expert_size=c.size("intermediate_size")),
    )
    feed_forwards = choose_feed_forwards(c, sparse, moe, size="intermediate_size_mlp")
    return build(c, stack(c, [mixers[key] for key in zip(rotates, chunked, strict=True)], feed_forwards))


FAMILIES = {
    "llama4_text": Family(
        model_type="llama4_text",
        class_name="Llama4ForCausalLM",
        read=_read,
        defaults={
            **without(COMMON_DEFAULTS, "head_dim"),
            "rms_norm_eps": 1e-5,
            "moe_layers": None,
            "interleave_moe_layer_step": 1,
            "no_rope_layers": [],
            "no_rope_layer_interval": 4,
            "layer_types": None,
            "attention_chunk_size": 8192,
            "use_qk_norm": True,
        },
        aliases={"num_experts": "num_local_experts"},
        neutral=("attn_temperature_tuning", "floor_scale", "attn_scale", "for_llm_compressor", "intermediate_size_mlp"),
    ),
}
