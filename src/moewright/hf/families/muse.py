"""Muse Spark (2026), the language model, as transformers 5.24 builds it: latent experts, gates on the residual."""

from moewright.architecture.feed_forwards import Router
from moewright.architecture.mixers import Attention, Mixer, Rope, Window
from moewright.architecture.spec import Architecture
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, attention, build, choose_feed_forwards, experts, stack


def _mixers(c: Config, n: int) -> list[Mixer]:
    bias, rope = c.flag("attention_bias"), c.rope(500_000.0)
    every_fourth = [(n - 1 - index) % 4 == 0 for index in range(n)]  # counted from the last
    types = c.per_layer("layer_types", n, "full_attention", "sliding_attention")
    slides = [not far for far in every_fourth] if types is None else [kind == "sliding_attention" for kind in types]
    thetas = c.layer_thetas(n, [0 if far else rope.theta for far in every_fourth])
    full = attention(c, qkv_bias=bias, output_bias=bias, qk_norm="unweighted", output_gate="per_channel", rope=None)
    size = c.optional_size("sliding_window")

    def made(slide: bool, theta: float) -> Attention:
        turned = Rope(theta=float(theta), fraction=rope.fraction, scaling=rope.scaling) if theta else None
        return full.model_copy(update={"rope": turned, "window": Window(size=size) if slide and size else None})

    kinds = list(zip(slides, thetas, strict=True))
    by_kind = {kind: made(*kind) for kind in set(kinds)}
    return [by_kind[kind] for kind in kinds]


def _read(c: Config) -> Architecture:
    n = c.num_layers()
    kinds = c.per_layer("mlp_layer_types", n, "dense", "sparse") or ["sparse"] * n
    moe = experts(
        c,
        count="num_local_experts",
        top_k="num_experts_per_tok",
        size="moe_intermediate_size",
        router=Router(
            score="sigmoid", normalize=True, scale=c.number("routed_scaling_factor"), selection_bias="buffer"
        ),
        latent_size=c.size("moe_hidden_size"),
        latent_norm=True,
        expert_output_norm=True,
    )
    feed_forwards = choose_feed_forwards(c, [kind == "sparse" for kind in kinds], moe)
    return build(c, stack(c, _mixers(c, n), feed_forwards, norms="half_weighted_sandwich"), residual_vectors=1)


FAMILIES = {
    "muse_spark_text": Family(
        model_type="muse_spark_text",
        class_name="MuseSparkForConditionalGeneration",
        read=_read,
        defaults={
            **COMMON_DEFAULTS,
            "rms_norm_eps": 1e-5,
            "head_dim": 64,
            "sliding_window": 2048,
            "layer_types": None,
            "mlp_layer_types": None,
            "layer_rope_theta": None,
            "routed_scaling_factor": 1.0,
        },
        aliases={"num_experts": "num_local_experts"},
        neutral=(
            "intermediate_size",
            "final_logit_softcapping",
            "qk_scale_factor",
            "output_multiplier",
            "post_norm_eps",
            "residual_gate_temperature",
        ),
    ),
}
