"""Gemma 2 (arXiv 2408.00118), 3 (arXiv 2503.19786) and 4 (2026): norms around each half, windows in most layers."""

from typing import Any

from moewright.architecture.feed_forwards import Dense, FeedForward, MoE, Router
from moewright.architecture.mixers import Attention, Mixer, Window
from moewright.architecture.spec import Architecture, PerLayerInput
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, QKNorm, attention, build, dense, experts, stack, windowed, without
from moewright.quantities import plain_integer

_FULL, _SLIDING = "full_attention", "sliding_attention"


def _types(c: Config, n: int, every: int) -> list[str]:
    """The kind of each layer; without a list, every so many-th looks at all tokens."""
    types = c.per_layer("layer_types", n, _FULL, _SLIDING)
    return types or [_SLIDING if (index + 1) % every else _FULL for index in range(n)]


def _read_dense(c: Config, every: int, qk_norm: QKNorm) -> Architecture:
    n, bias = c.num_layers(), c.flag("attention_bias")
    types = _types(c, n, every)
    far = c.rope(c.number("rope_theta"), layer_type=_FULL)
    full = attention(c, qkv_bias=bias, output_bias=bias, qk_norm=qk_norm, rope=far)
    near = c.rope(layer_type=_SLIDING) if c.has("rope_parameters") else far
    if c.has("rope_local_base_freq"):
        near = near.model_copy(update={"theta": c.number("rope_local_base_freq"), "scaling": None})
    feed_forward = dense(c, activation=c.activation("hidden_activation"))
    return build(c, stack(c, windowed(c, types, full, near), [feed_forward] * n, norms="sandwich"))


def _read_gemma2(c: Config) -> Architecture:
    return _read_dense(c, every=2, qk_norm=None)


def _read_gemma3(c: Config) -> Architecture:
    every = c.size("sliding_window_pattern")
    return _read_dense(c, every, qk_norm="per_head")


def _read_gemma4(c: Config) -> Architecture:
    n = c.num_layers()
    types = _types(c, n, every=6)
    types[-1] = _FULL  # as the module does, whatever the file says
    shared = c.count("num_kv_shared_layers")
    if shared > n:
        raise c.error("num_kv_shared_layers", f"{shared} is more than the {n} layers")
    reuses = [index >= n - shared for index in range(n)]
    made: dict[tuple[Any, ...], Mixer] = {}
    mixers: list[Mixer] = []
    for index, kind in enumerate(types):
        head_dim, kv_heads = _widths(c, index, kind)
        key = (kind, head_dim, kv_heads, reuses[index])
        if key not in made:
            made[key] = _attention(c, kind, head_dim, kv_heads, reuses[index])
        mixers.append(made[key])
    size = c.count("hidden_size_per_layer_input")
    extra: dict[str, Any] = {}
    if size:
        extra["per_layer_input"] = PerLayerInput(size=size, vocab_size=c.size("vocab_size_per_layer_input"))
    return build(c, stack(c, mixers, _feed_forwards(c, reuses), norms="sandwich"), **extra)


def _widths(c: Config, index: int, kind: str) -> tuple[int, int]:
    """head_dim and key-value heads of a layer: transformers writes them by layer, the publisher's files by kind."""
    head_dim, kv_heads = c.size("head_dim"), c.size("num_key_value_heads")
    if c.states("per_layer_config"):
        by_layer = c.mapping("per_layer_config") or {}
        own: Any = next((value for key, value in by_layer.items() if plain_integer(key) == index), {})
        if not isinstance(own, dict) or own.keys() - {"head_dim", "num_key_value_heads"}:
            raise c.error(f"per_layer_config.{index}", "only head_dim and num_key_value_heads are understood", own)
        head_dim, kv_heads = own.get("head_dim", head_dim), own.get("num_key_value_heads", kv_heads)
    elif kind == _FULL:
        head_dim = c.size("global_head_dim")
        if c.flag("attention_k_eq_v") and c.has("num_global_key_value_heads"):
            kv_heads = c.size("num_global_key_value_heads")
    heads = c.size("num_attention_heads")
    if not isinstance(kv_heads, int) or isinstance(kv_heads, bool) or kv_heads < 1 or heads % kv_heads:
        raise c.error("num_key_value_heads", f"does not divide num_attention_heads ({heads})", kv_heads)
    return head_dim, kv_heads


def _attention(c: Config, kind: str, head_dim: int, kv_heads: int, reuses: bool) -> Attention:
    bias, slides = c.flag("attention_bias"), kind == _SLIDING
    same = c.flag("attention_k_eq_v") and not slides
    theta, fraction = (10_000.0, 1.0) if slides else (1e6, 0.25)
    return Attention(
        num_heads=c.size("num_attention_heads"),
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        key_values="earlier_layer" if reuses else "keys" if same else "own",
        value_norm=not reuses,
        qkv_bias=bias,
        output_bias=bias,
        qk_norm="per_head",
        window=Window(size=c.size("sliding_window")) if slides else None,
        rope=c.rope(theta, fraction=fraction, layer_type=kind),
    )


def _feed_forwards(c: Config, reuses: list[bool]) -> list[FeedForward]:
    activation = c.activation("hidden_activation")
    plain = dense(c, activation=activation)
    wide = plain.model_copy(update={"size": 2 * plain.size}) if c.flag("use_double_wide_mlp") else plain
    if not c.flag("enable_moe_block"):
        return [wide if reuse else plain for reuse in reuses]
    beside = {branch.size: _mixture(c, branch) for branch in (plain, wide)}
    return [beside[(wide if reuse else plain).size] for reuse in reuses]


def _mixture(c: Config, beside: Dense) -> MoE:
    return experts(
        c,
        count="num_experts",
        top_k="top_k_experts",
        size="moe_intermediate_size",
        router=Router(normalize=True, input_scale=True, expert_scale=True),
        parallel_dense=beside,
        branch_norms=True,
        activation=beside.activation,
    )


_DEFAULTS = {
    **without(COMMON_DEFAULTS, "hidden_act"),
    "hidden_activation": "gelu_pytorch_tanh",
    "tie_word_embeddings": True,
    "head_dim": 256,
    "layer_types": None,
    "rope_theta": 10_000.0,
}
# Softcapping and scales that are no parameters; hidden_act beside hidden_activation, which the modules read.
_NEUTRAL = (
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "hidden_act",
    "query_pre_attn_scalar",
    "use_bidirectional_attention",
    "cache_implementation",
    "sliding_window",
)

FAMILIES = {
    "gemma2": Family(
        model_type="gemma2",
        class_name="Gemma2ForCausalLM",
        read=_read_gemma2,
        defaults={**_DEFAULTS, "sliding_window": 4096},
        neutral=_NEUTRAL,
    ),
    "gemma3_text": Family(
        model_type="gemma3_text",
        class_name="Gemma3ForCausalLM",
        read=_read_gemma3,
        defaults={**_DEFAULTS, "sliding_window": 4096, "sliding_window_pattern": 6, "rope_theta": 1e6},
        neutral=_NEUTRAL,
    ),
    "gemma4_text": Family(
        model_type="gemma4_text",
        class_name="Gemma4ForCausalLM",
        read=_read_gemma4,
        defaults={
            **without(_DEFAULTS, "rope_theta"),
            "sliding_window": 512,
            "num_kv_shared_layers": 0,
            "attention_k_eq_v": False,
            "global_head_dim": 512,
            "num_global_key_value_heads": None,
            "per_layer_config": None,
            "hidden_size_per_layer_input": 256,
            "vocab_size_per_layer_input": 262144,
            "use_double_wide_mlp": False,
            "enable_moe_block": False,
        },
        neutral=(*_NEUTRAL, "num_experts", "top_k_experts", "moe_intermediate_size", "expert_intermediate_size"),
    ),
}
