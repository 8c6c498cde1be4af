"""dots.llm1 (arXiv 2506.05767) and dots3-note, whose windowed layers have latent attention of other ranks."""

from typing import Any

from moewright.architecture.feed_forwards import SharedExpert
from moewright.architecture.mixers import Attention, LatentAttention, Window
from moewright.architecture.spec import Architecture
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import (
    COMMON_DEFAULTS,
    attention,
    build,
    choose_feed_forwards,
    common_keys,
    deepseek_expert_keys,
    deepseek_experts,
    dense_first_layers,
    dense_prefix,
    expert_groups,
    experts,
    first_dense,
    first_mixer,
    first_moe,
    indexer,
    latent_attention,
    sigmoid_router,
    stack,
    typed_layers,
)
from moewright.quantities import plain_integer


def _read_dots1(c: Config) -> Architecture:
    n, bias = c.num_layers(), c.flag("attention_bias")
    size = c.optional_size("sliding_window")
    types = c.per_layer("layer_types", n, "sliding_attention", "full_attention")
    if types is None:
        below = c.size("max_window_layers")
        types = ["sliding_attention" if size and index >= below else "full_attention" for index in range(n)]
    rope = c.rope()
    full = attention(c, qkv_bias=bias, output_bias=bias, qk_norm="per_head", rope=rope)
    window = Window(size=size) if size else None
    sliding = attention(c, qkv_bias=bias, output_bias=bias, qk_norm="per_head", rope=rope, window=window)
    moe = deepseek_experts(c)
    sparse = dense_first_layers(c, n)
    feed_forwards = choose_feed_forwards(c, sparse, moe)
    return build(c, stack(c, [sliding if kind == "sliding_attention" else full for kind in types], feed_forwards))


def _write_dots1(a: Architecture) -> dict[str, Any]:
    mixer, moe, plain = first_mixer(a, Attention), first_moe(a), first_dense(a)
    values = common_keys(a, mixer)
    if mixer:
        values |= {
            "num_key_value_heads": mixer.num_kv_heads,
            "head_dim": mixer.head_dim,
            "attention_bias": mixer.qkv_bias,
        }
    windows = [getattr(layer.mixer, "window", None) for layer in a.iter_layers()]
    window = next(filter(None, windows), None)
    values["sliding_window"] = window.size if window else None
    values["layer_types"] = ["sliding_attention" if limit else "full_attention" for limit in windows]
    return values | deepseek_expert_keys(moe, plain) | {"first_k_dense_replace": dense_prefix(a)}


# The sizes that a windowed layer of dots3-note may have of its own.
_LAYER_SIZES = (
    "num_attention_heads",
    "q_lora_rank",
    "kv_lora_rank",
    "qk_nope_head_dim",
    "qk_rope_head_dim",
    "v_head_dim",
)
_LAYER_NEUTRAL = ("num_key_value_heads", "head_dim")


def _read_note(c: Config) -> Architecture:
    n = c.num_layers()
    full_kind = "full_attention" if c.raw("use_dsa") is False else "indexed_attention"
    types = c.per_layer("layer_types", n, "full_attention", "indexed_attention", "sliding_attention")
    if types is None:
        slides = c.flag("use_sliding_window")
        types = [full_kind if not slides or i < 2 or i % 4 == 1 else "sliding_attention" for i in range(n)]
    elif c.raw("use_dsa") is not None:
        types = [kind if kind == "sliding_attention" else full_kind for kind in types]
    if c.flag("mlp_bias"):
        raise c.error("mlp_bias", "biases in the feed-forwards are not understood")
    own_sizes = _layer_sizes(c, n, types)
    mixers: dict[Any, LatentAttention] = {}
    for index, kind in enumerate(types):
        key = (kind, tuple(sorted(own_sizes[index].items())))
        if key not in mixers:
            mixers[key] = _note_mixer(c, kind, own_sizes[index])
    shared = SharedExpert(count=c.size("n_shared_experts"), expert_size=c.size("shared_experts_intermediate_size"))
    moe = experts(
        c,
        count="n_routed_experts",
        top_k="num_experts_per_tok",
        size="moe_intermediate_size",
        router=sigmoid_router(c, expert_groups(c)),
        shared=shared,
    )
    c.fixed("moe_layer_freq", 1, [1] * n)
    sparse = typed_layers(c, n)
    feed_forwards = choose_feed_forwards(c, sparse, moe)
    mixer_list = [mixers[kind, tuple(sorted(own_sizes[index].items()))] for index, kind in enumerate(types)]
    return build(c, stack(c, mixer_list, feed_forwards), mtp_layers=c.count("num_nextn_predict_layers"))


def _note_mixer(c: Config, kind: str, own: dict[str, int]) -> LatentAttention:
    base = latent_attention(
        c,
        rope=c.rope(50_000.0 if kind == "sliding_attention" else 80_000_000.0, layer_type=kind),
        indexer=indexer(c) if kind == "indexed_attention" else None,
        window=Window(size=c.size("sliding_window")) if kind == "sliding_attention" else None,
        output_gate="per_head",
        rope_key_norm=True,
    )
    return base.model_copy(update={_SPEC_NAMES.get(key, key): value for key, value in own.items()})


_SPEC_NAMES = {"num_attention_heads": "num_heads"}


def _layer_sizes(c: Config, n: int, types: list[str]) -> list[dict[str, int]]:
    """The sizes of each layer that differ from the model's, from per_layer_config or the swa_ keys."""
    stated = c.mapping("per_layer_config")
    if stated is None:
        windowed = {key: c.size(f"swa_{key}") for key in _LAYER_SIZES if key != "qk_rope_head_dim"}
        rest = c.size("swa_head_dim") - windowed["qk_nope_head_dim"]
        windowed["qk_rope_head_dim"] = c.size("swa_qk_rope_head_dim") if c.has("swa_qk_rope_head_dim") else rest
        if windowed["qk_rope_head_dim"] < 1:
            raise c.error("swa_head_dim", f"must exceed swa_qk_nope_head_dim ({windowed['qk_nope_head_dim']})")
        return [windowed if kind == "sliding_attention" else {} for kind in types]
    sizes: list[dict[str, int]] = [{} for _ in range(n)]
    for position, values in stated.items():
        index = plain_integer(position)
        if index is None or index >= n or not isinstance(values, dict):
            raise c.error("per_layer_config", f"expected layer numbers below {n} with their sizes", position)
        layer = Config(
            values,
            family=c.family,
            defaults={},
            aliases={},
            neutral=_LAYER_NEUTRAL,
            prefix=f"per_layer_config.{position}.",
        )
        sizes[index] = {key: layer.size(key) for key in _LAYER_SIZES if layer.has(key)}
        for message in layer.finish():
            c.warn(message)
    return sizes


_DEFAULTS = {
    **COMMON_DEFAULTS,
    "n_group": 1,
    "topk_group": 1,
    "routed_scaling_factor": 1.0,
    "layer_types": None,
    "n_shared_experts": None,
}
_NOTE = Family(
    model_type="dots3_note_text",
    class_name="Dots3NoteForCausalLM",
    read=_read_note,
    defaults={
        **_DEFAULTS,
        "rms_norm_eps": 1e-5,
        "norm_topk_prob": True,
        "sliding_window": 512,
        "mlp_layer_types": None,
        "mlp_bias": False,
        "first_k_dense_replace": 1,
        "use_dsa": None,
        "use_sliding_window": True,
        "per_layer_config": None,
        "n_shared_experts": 1,
        "shared_experts_intermediate_size": 1536,
        "swa_num_attention_heads": 64,
        "swa_q_lora_rank": 1024,
        "swa_kv_lora_rank": 1024,
        "swa_head_dim": 256,
        "swa_qk_nope_head_dim": 192,
        "swa_v_head_dim": 128,
        "swa_qk_rope_head_dim": None,
        "num_nextn_predict_layers": 0,
    },
    aliases={
        "num_local_experts": "n_routed_experts",
        "moe_shared_expert_intermediate_size": "shared_experts_intermediate_size",
        "sliding_window_size": "sliding_window",
    },
    neutral=("num_key_value_heads", "head_dim", "intermediate_size", "swa_num_key_value_heads", "swa_rope_theta"),
)

FAMILIES = {
    "dots1": Family(
        model_type="dots1",
        class_name="Dots1ForCausalLM",
        read=_read_dots1,
        write=_write_dots1,
        defaults={
            **_DEFAULTS,
            "norm_topk_prob": False,
            "first_k_dense_replace": 0,
            "sliding_window": 4096,
            "max_window_layers": 62,
        },
        aliases={"num_local_experts": "n_routed_experts"},
        neutral=("intermediate_size", "aux_loss_alpha", "seq_aux"),
    ),
    "dots3_note": _NOTE,
    "dots3_note_text": _NOTE,
}
