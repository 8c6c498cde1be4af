"""DeepSeek-V4 (2026), as transformers 5.23 builds it: compressed attention, hyper-connections, hash-routed layers."""

from moewright.architecture.feed_forwards import MoE, Router
from moewright.architecture.mixers import CompressedAttention, Window
from moewright.architecture.spec import Architecture, Layer
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, build, experts, indexer, shared_of_routed_size, stack

_SLIDING, _SPARSE, _HEAVY = "sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention"
_RATES = {_SPARSE: 4, _HEAVY: 128}
_BY_RATIO = {0: _SLIDING, 4: _SPARSE, 128: _HEAVY}  # compress_ratios in DeepSeek's own files


def _read(c: Config) -> Architecture:
    n = c.num_layers()
    for key in ("attention_bias", "mlp_bias"):
        if c.flag(key):
            raise c.error(key, "biases are not understood in this family")
    rates = _rates(c)
    kinds = _layer_kinds(c, n)
    mixers = {kind: _mixer(c, kind, rates) for kind in set(kinds)}
    routers = c.per_layer("mlp_layer_types", n, "moe", "hash_moe")
    if routers is None:
        hashed = min(c.count("num_hash_layers"), n)
        routers = ["hash_moe"] * hashed + ["moe"] * (n - hashed)
    feed_forwards = {kind: _experts(c, hashed=kind == "hash_moe") for kind in set(routers)}
    layers = stack(c, [mixers[kind] for kind in kinds], [feed_forwards[kind] for kind in routers])
    predicted = c.count("num_nextn_predict_layers")
    return build(
        c,
        layers,
        hyper_connections=c.size("hc_mult"),
        mtp_layers=predicted,
        mtp_block=_prediction_block(c, n, rates) if predicted else None,
    )


def _prediction_block(c: Config, n: int, rates: dict[str, int]) -> tuple[Layer, ...]:
    """One layer; its attention is what compress_ratios goes on with after the model's layers, else a plain window."""
    following = c.integers("compress_ratios")[n : n + 1]
    if any(ratio not in _BY_RATIO for ratio in following):
        raise c.error("compress_ratios", f"expected one of {', '.join(map(str, _BY_RATIO))}", following[0])
    kind = _BY_RATIO[following[0]] if following else _SLIDING
    return (Layer(mixer=_mixer(c, kind, rates), feed_forward=_experts(c, hashed=False)),)


def _rates(c: Config) -> dict[str, int]:
    stated = c.mapping("compress_rates") or {}
    if unknown := stated.keys() - _RATES.keys():
        raise c.error("compress_rates", f"expected {' and '.join(_RATES)}", sorted(unknown))
    section = c.section("compress_rates", _RATES)
    return {kind: section.size(kind) for kind in _RATES}


def _layer_kinds(c: Config, n: int) -> list[str]:
    kinds = c.per_layer("layer_types", n, _SLIDING, _SPARSE, _HEAVY)
    if kinds is not None:
        return kinds
    if c.has("compress_ratios"):
        ratios = c.integers("compress_ratios")[:n]  # the files go on with the prediction layers
        if len(ratios) < n or any(ratio not in _BY_RATIO for ratio in ratios):
            raise c.error("compress_ratios", f"expected {n} of {', '.join(map(str, _BY_RATIO))}", ratios)
        return [_BY_RATIO[ratio] for ratio in ratios]
    return [_SPARSE if index >= 2 and index % 2 == 1 else _HEAVY for index in range(n)]


def _mixer(c: Config, kind: str, rates: dict[str, int]) -> CompressedAttention:
    sparse = kind == _SPARSE
    heads, head_dim, groups = c.size("num_attention_heads"), c.size("head_dim"), c.size("o_groups")
    if heads * head_dim % groups:
        raise c.error("o_groups", f"{groups} does not divide num_attention_heads x head_dim ({heads * head_dim})")
    rope_dim = c.optional_size("qk_rope_head_dim")
    if rope_dim is not None and rope_dim > head_dim:
        raise c.error("qk_rope_head_dim", f"{rope_dim} is more than head_dim ({head_dim})")
    return CompressedAttention(
        num_heads=heads,
        head_dim=head_dim,
        q_lora_rank=c.size("q_lora_rank"),
        output_groups=groups,
        output_lora_rank=c.size("o_lora_rank"),
        compress_rate=None if kind == _SLIDING else rates[kind],
        overlap=sparse,
        indexer=indexer(c) if sparse else None,
        window=Window(size=c.size("sliding_window")),
        rope=c.rope(
            fraction=rope_dim / head_dim if rope_dim else 0.125, layer_type="main" if kind == _SLIDING else "compress"
        ),
    )


def _experts(c: Config, hashed: bool) -> MoE:
    return experts(
        c,
        count="n_routed_experts",
        top_k="num_experts_per_tok",
        size="moe_intermediate_size",
        router=Router(
            kind="hash" if hashed else "learned",
            score="sqrt_softplus"
            if c.choice("scoring_func", "sqrtsoftplus", "sigmoid", "softmax") == "sqrtsoftplus"
            else c.choice("scoring_func", "sigmoid", "softmax"),  # type: ignore[arg-type]
            normalize=c.flag("norm_topk_prob"),
            scale=c.number("routed_scaling_factor"),
            selection_bias=None if hashed else "buffer",
        ),
        shared=shared_of_routed_size(c, "n_shared_experts", "moe_intermediate_size"),
    )


FAMILIES = {
    "deepseek_v4": Family(
        model_type="deepseek_v4",
        class_name="DeepseekV4ForCausalLM",
        read=_read,
        defaults={
            **COMMON_DEFAULTS,
            "n_shared_experts": 1,
            "scoring_func": "sqrtsoftplus",
            "norm_topk_prob": True,
            "routed_scaling_factor": 1.5,
            "layer_types": None,
            "compress_ratios": None,
            "compress_rates": None,
            "mlp_layer_types": None,
            "num_hash_layers": 3,
            "hc_mult": 4,
            "sliding_window": 128,
            "qk_rope_head_dim": None,
            "num_nextn_predict_layers": 0,
            "mlp_bias": False,
        },
        aliases={"num_local_experts": "n_routed_experts", "intermediate_size": "moe_intermediate_size"},
        neutral=(
            "num_key_value_heads",
            "compress_rope_theta",
            "hc_sinkhorn_iters",
            "hc_eps",
            "swiglu_limit",
            "topk_method",
            "expert_dtype",
        ),
        active_counts_embedding=False,  # as in DeepSeek-V3's figures
    ),
}
