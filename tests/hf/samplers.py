"""Random configs for every Hugging Face family that moewright reads: small, odd, and valid for transformers.

A sampler returns the keyword arguments of the family's config class. Sizes are drawn independently, so that a formula
that confuses two of them is found.
"""

import random
from collections.abc import Callable
from typing import Any

Sampler = Callable[[random.Random], dict[str, Any]]


def base(r: random.Random, heads: tuple[int, ...] = (2, 4, 6)) -> dict[str, Any]:
    """Keys that nearly all families have; grouped-query attention included."""
    num_heads = r.choice(heads)
    width = num_heads * r.choice((4, 6, 10))
    return {
        "vocab_size": r.randrange(50, 200),
        "hidden_size": width,
        "intermediate_size": r.randrange(8, 60),
        "num_hidden_layers": r.randrange(1, 7),
        "num_attention_heads": num_heads,
        "num_key_value_heads": r.choice([k for k in (1, 2, num_heads) if num_heads % k == 0]),
        "tie_word_embeddings": r.random() < 0.4,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def maybe_head_dim(r: random.Random) -> dict[str, Any]:
    return {"head_dim": r.choice((2, 6, 8, 12))} if r.random() < 0.5 else {}


def flag(r: random.Random) -> bool:
    return r.random() < 0.5


def some_experts(r: random.Random, count: str, top_k: str, most: int = 12) -> dict[str, Any]:
    number = r.randrange(1, most)
    return {count: number, top_k: r.randrange(1, number + 1)}


def grouped_experts(
    r: random.Random, count: str = "n_routed_experts", top_k: str = "num_experts_per_tok"
) -> dict[str, Any]:
    """Experts in groups of which some compete: at least two in each, as DeepSeek's router needs."""
    groups = r.choice((1, 2, 4))
    number = groups * r.randrange(2, 5)
    best = r.randrange(1, groups + 1)
    return {count: number, top_k: r.randrange(1, number * best // groups + 1), "n_group": groups, "topk_group": best}


def latent(r: random.Random) -> dict[str, Any]:
    return {
        "q_lora_rank": r.randrange(4, 30),
        "kv_lora_rank": r.randrange(4, 30),
        "qk_nope_head_dim": r.choice((4, 6, 10)),
        "qk_rope_head_dim": r.choice((2, 4, 8)),
        "v_head_dim": r.choice((4, 6, 12)),
        "attention_bias": flag(r),
    }


def per_layer(r: random.Random, layers: int, *kinds: str) -> list[str]:
    return [r.choice(kinds) for _ in range(layers)]


def mixtral(r: random.Random) -> dict[str, Any]:
    window = {"sliding_window": r.choice((None, 8))}
    return base(r) | maybe_head_dim(r) | some_experts(r, "num_local_experts", "num_experts_per_tok") | window


def phimoe(r: random.Random) -> dict[str, Any]:
    extra = {"attention_bias": flag(r), "lm_head_bias": flag(r)}
    return base(r) | some_experts(r, "num_local_experts", "num_experts_per_tok") | extra


def _qwen_steps(r: random.Random, layers: int) -> dict[str, Any]:
    return {
        "decoder_sparse_step": r.choice((1, 1, 2, 3)),
        "mlp_only_layers": r.choice(([], [], [0], [layers - 1])),
        "moe_intermediate_size": r.randrange(4, 40),
        "norm_topk_prob": flag(r),
    }


def qwen2_moe(r: random.Random) -> dict[str, Any]:
    k = base(r)
    k |= _qwen_steps(r, k["num_hidden_layers"]) | some_experts(r, "num_experts", "num_experts_per_tok")
    k |= {"qkv_bias": flag(r), "shared_expert_intermediate_size": r.randrange(4, 50)}
    if flag(r):
        k |= {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": r.randrange(0, 5)}
    return k


def qwen3_moe(r: random.Random) -> dict[str, Any]:
    k = base(r) | maybe_head_dim(r)
    k |= _qwen_steps(r, k["num_hidden_layers"]) | some_experts(r, "num_experts", "num_experts_per_tok")
    return k | {"attention_bias": flag(r)}


def _hybrid(r: random.Random) -> dict[str, Any]:
    k = base(r) | {"head_dim": r.choice((4, 8, 12)), "attention_bias": flag(r)}
    key_heads = r.choice((1, 2, 3))
    k |= {
        "linear_conv_kernel_dim": r.choice((2, 3, 4)),
        "linear_key_head_dim": r.randrange(2, 12),
        "linear_value_head_dim": r.randrange(2, 12),
        "linear_num_key_heads": key_heads,
        "linear_num_value_heads": key_heads * r.choice((1, 2, 3)),
        "shared_expert_intermediate_size": r.randrange(4, 50),
        "moe_intermediate_size": r.randrange(4, 40),
    }
    if flag(r):
        k["layer_types"] = per_layer(r, k["num_hidden_layers"], "full_attention", "linear_attention")
    return k | some_experts(r, "num_experts", "num_experts_per_tok")


def qwen3_next(r: random.Random) -> dict[str, Any]:
    k = _hybrid(r)
    return k | _qwen_steps(r, k["num_hidden_layers"])


def qwen3_5_moe_text(r: random.Random) -> dict[str, Any]:
    k = _hybrid(r)
    del k["intermediate_size"]
    return k


def qwen3_5_text(r: random.Random) -> dict[str, Any]:
    mixture = ("shared_expert_intermediate_size", "moe_intermediate_size", "num_experts", "num_experts_per_tok")
    return {key: value for key, value in _hybrid(r).items() if key not in mixture}


def plain(r: random.Random) -> dict[str, Any]:
    """Llama's keys."""
    return base(r) | maybe_head_dim(r) | {"attention_bias": flag(r), "mlp_bias": flag(r)}


def laguna(r: random.Random) -> dict[str, Any]:
    k = base(r) | {"head_dim": r.choice((4, 8, 12)), "attention_bias": flag(r)}
    n = k["num_hidden_layers"]
    k |= some_experts(r, "num_experts", "num_experts_per_tok")
    k |= {"moe_intermediate_size": r.randrange(4, 40), "shared_expert_intermediate_size": r.randrange(4, 40)}
    if flag(r):
        k["num_attention_heads_per_layer"] = [k["num_key_value_heads"] * r.randrange(1, 4) for _ in range(n)]
    if flag(r):
        k["layer_types"] = per_layer(r, n, "full_attention", "sliding_attention")
    return k | {"mlp_layer_types": per_layer(r, n, "dense", "sparse"), "gating": r.choice((True, "per-element"))}


def phi3(r: random.Random) -> dict[str, Any]:
    return base(r) | {"sliding_window": r.choice((None, 8))}


def olmo_dense(r: random.Random) -> dict[str, Any]:
    return base(r) | {"attention_bias": flag(r)}


def biased(r: random.Random) -> dict[str, Any]:
    """Two matrices, biases by whatever key the family has."""
    return base(r) | {"attention_bias": flag(r), "mlp_bias": flag(r), "tie_word_embeddings": flag(r)}


def apertus(r: random.Random) -> dict[str, Any]:
    act = r.choice(["xielu", "silu"])
    return base(r) | maybe_head_dim(r) | {"attention_bias": flag(r), "hidden_act": act}


def starcoder2(r: random.Random) -> dict[str, Any]:
    return base(r) | {"use_bias": flag(r), "sliding_window": r.choice([None, 8]), "norm_epsilon": 1e-5}


def _windows(r: random.Random, layers: int) -> dict[str, Any]:
    types = per_layer(r, layers, "sliding_attention", "full_attention")
    return {"sliding_window": 8, "layer_types": r.choice([None, types])}


def exaone4(r: random.Random) -> dict[str, Any]:
    k = base(r) | maybe_head_dim(r)
    return k | _windows(r, k["num_hidden_layers"])


def command_r(r: random.Random) -> dict[str, Any]:
    return base(r) | {"attention_bias": flag(r), "use_qk_norm": flag(r)}


def command_a(r: random.Random) -> dict[str, Any]:
    k = base(r) | {"attention_bias": flag(r)}
    return k | _windows(r, k["num_hidden_layers"])


def cwm(r: random.Random) -> dict[str, Any]:
    k = base(r) | maybe_head_dim(r)
    return k | _windows(r, k["num_hidden_layers"])


def ernie_dense(r: random.Random) -> dict[str, Any]:
    return base(r) | maybe_head_dim(r) | {"use_bias": flag(r)}


def stablelm(r: random.Random) -> dict[str, Any]:
    return base(r) | {"use_qkv_bias": flag(r), "qk_layernorm": flag(r), "use_parallel_residual": flag(r)}


def youtu(r: random.Random) -> dict[str, Any]:
    return base(r) | latent(r) | {"attention_bias": flag(r)}


def glm_dense(r: random.Random) -> dict[str, Any]:
    return base(r) | {"head_dim": r.choice((2, 6, 8, 12)), "attention_bias": flag(r)}


def seed_oss(r: random.Random) -> dict[str, Any]:
    return plain(r) | {"attention_out_bias": flag(r)}


def mistral(r: random.Random) -> dict[str, Any]:
    return base(r) | maybe_head_dim(r) | {"sliding_window": r.choice((None, 8))}


def qwen_dense(r: random.Random) -> dict[str, Any]:
    k = base(r) | maybe_head_dim(r) | {"attention_bias": flag(r)}
    if flag(r):
        k |= {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": r.randrange(0, 5)}
    return k


def olmoe(r: random.Random) -> dict[str, Any]:
    extra = {"attention_bias": flag(r), "norm_topk_prob": flag(r), "clip_qkv": r.choice((None, 8.0))}
    return base(r) | some_experts(r, "num_experts", "num_experts_per_tok") | extra


def flex_olmo(r: random.Random) -> dict[str, Any]:
    return base(r) | some_experts(r, "num_experts", "num_experts_per_tok") | {"attention_bias": flag(r)}


def deepseek_v2(r: random.Random) -> dict[str, Any]:
    k = base(r) | latent(r) | grouped_experts(r)
    k |= {
        "q_lora_rank": r.choice((None, 9, 20)),
        "mlp_bias": flag(r),
        "moe_intermediate_size": r.randrange(4, 40),
        "n_shared_experts": r.choice((1, 2, 3)),
        "first_k_dense_replace": r.randrange(0, 4),
        "topk_method": r.choice(("greedy", "group_limited_greedy")),
    }
    return k


def deepseek_v3(r: random.Random) -> dict[str, Any]:
    return (
        base(r)
        | latent(r)
        | grouped_experts(r)
        | {
            "q_lora_rank": r.choice((None, 9, 20)),
            "moe_intermediate_size": r.randrange(4, 40),
            "n_shared_experts": r.choice((1, 2, 3)),
            "first_k_dense_replace": r.randrange(0, 4),
        }
    )


def _indexer(r: random.Random) -> dict[str, Any]:
    return {"index_topk": 4, "index_head_dim": r.choice((8, 12)), "index_n_heads": r.randrange(1, 4)}


def deepseek_v32(r: random.Random) -> dict[str, Any]:
    k = deepseek_v3(r) | _indexer(r) | {"q_lora_rank": r.choice((9, 20))}
    if flag(r):
        k["mlp_layer_types"] = per_layer(r, k["num_hidden_layers"], "dense", "sparse")
    return k


def deepseek_v4(r: random.Random) -> dict[str, Any]:
    groups = r.choice((1, 2))
    layers = r.randrange(1, 7)
    k = some_experts(r, "n_routed_experts", "num_experts_per_tok") | {
        "vocab_size": r.randrange(50, 200),
        "hidden_size": r.choice((16, 20, 36)),
        "num_hidden_layers": layers,
        "num_attention_heads": r.choice((2, 4)),
        "head_dim": r.choice((16, 24)),
        "q_lora_rank": r.randrange(4, 30),
        "moe_intermediate_size": r.randrange(4, 40),
        "n_shared_experts": 1,
        "o_groups": groups,
        "o_lora_rank": r.randrange(3, 12),
        "hc_mult": r.choice((1, 2, 4)),
        "sliding_window": 8,
        "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": r.choice((8, 16))},
        "tie_word_embeddings": flag(r),
        "pad_token_id": 0,
    }
    if flag(r):
        kinds = ("sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention")
        k["layer_types"] = per_layer(r, layers, *kinds)
    if flag(r):
        k["mlp_layer_types"] = per_layer(r, layers, "hash_moe", "moe")
    return k | _indexer(r)


def glm4_moe(r: random.Random) -> dict[str, Any]:
    return (
        base(r)
        | maybe_head_dim(r)
        | grouped_experts(r)
        | {
            "attention_bias": flag(r),
            "use_qk_norm": flag(r),
            "moe_intermediate_size": r.randrange(4, 40),
            "n_shared_experts": r.choice((1, 2, 3)),
            "first_k_dense_replace": r.randrange(0, 4),
        }
    )


def glm4_moe_lite(r: random.Random) -> dict[str, Any]:
    k = deepseek_v3(r)
    del k["first_k_dense_replace"]
    if flag(r):
        k["mlp_layer_types"] = per_layer(r, k["num_hidden_layers"], "dense", "sparse")
    return k


def glm_moe_dsa(r: random.Random) -> dict[str, Any]:
    k = deepseek_v32(r)
    if flag(r):
        k["indexer_types"] = ["full", *per_layer(r, k["num_hidden_layers"] - 1, "full", "shared")]
    return k


def gpt_oss(r: random.Random) -> dict[str, Any]:
    k = base(r) | {"head_dim": r.choice((4, 8, 12)), "attention_bias": flag(r), "sliding_window": 8}
    if flag(r):
        k["layer_types"] = per_layer(r, k["num_hidden_layers"], "sliding_attention", "full_attention")
    return k | some_experts(r, "num_local_experts", "num_experts_per_tok")


def llama4_text(r: random.Random) -> dict[str, Any]:
    k = base(r) | {
        "head_dim": r.choice((4, 8, 12)),
        "attention_bias": flag(r),
        "intermediate_size_mlp": r.randrange(8, 70),
        "interleave_moe_layer_step": r.choice((1, 2, 3)),
        "use_qk_norm": flag(r),
    }
    if flag(r):
        k["moe_layers"] = sorted(r.sample(range(k["num_hidden_layers"]), r.randrange(0, k["num_hidden_layers"] + 1)))
    return k | some_experts(r, "num_local_experts", "num_experts_per_tok")


def ernie4_5_moe(r: random.Random) -> dict[str, Any]:
    k = base(r) | maybe_head_dim(r) | some_experts(r, "moe_num_experts", "moe_k")
    return k | {
        "use_bias": flag(r),
        "moe_intermediate_size": r.randrange(4, 40),
        "moe_num_shared_experts": r.choice((0, 1, 2)),
        "moe_layer_start_index": r.randrange(0, 3),
        "moe_layer_end_index": r.choice((-1, k["num_hidden_layers"] - 1, 2)),
        "moe_layer_interval": r.choice((1, 2)),
    }


def granitemoe(r: random.Random) -> dict[str, Any]:
    return base(r) | some_experts(r, "num_local_experts", "num_experts_per_tok") | {"attention_bias": flag(r)}


def granitemoeshared(r: random.Random) -> dict[str, Any]:
    return granitemoe(r) | {"shared_intermediate_size": r.choice((0, 7, 20))}


def granitemoe_swa(r: random.Random) -> dict[str, Any]:
    k = granitemoeshared(r) | {"sliding_window": 8}
    if flag(r):
        k["layer_types"] = per_layer(r, k["num_hidden_layers"], "full_attention", "sliding_attention")
    return k


def granitemoehybrid(r: random.Random) -> dict[str, Any]:
    k = granitemoe(r)
    heads = r.choice((2, 4))
    k |= {
        "shared_intermediate_size": r.randrange(5, 40),
        "layer_types": per_layer(r, k["num_hidden_layers"], "full_attention", "linear_attention"),
        "mamba_n_heads": heads,
        "mamba_n_groups": r.choice((1, 2)),
        "mamba_d_state": r.randrange(2, 12),
        "mamba_d_conv": r.choice((2, 4)),
        "mamba_expand": 2,
        "mamba_conv_bias": flag(r),
        "mamba_proj_bias": flag(r),
        "position_embedding_type": r.choice((None, "rope")),
    }
    if 2 * k["hidden_size"] % heads:
        k["mamba_n_heads"] = 2
    if r.random() < 0.2:
        k["num_local_experts"] = 0
    return k


def minimax(r: random.Random) -> dict[str, Any]:
    k = base(r) | maybe_head_dim(r) | some_experts(r, "num_local_experts", "num_experts_per_tok")
    if flag(r):
        k["layer_types"] = per_layer(r, k["num_hidden_layers"], "full_attention", "linear_attention")
    return k


def minimax_m2(r: random.Random) -> dict[str, Any]:
    return base(r) | some_experts(r, "num_local_experts", "num_experts_per_tok") | {"head_dim": r.choice((4, 8, 12))}


def jetmoe(r: random.Random) -> dict[str, Any]:
    k = base(r) | some_experts(r, "num_local_experts", "num_experts_per_tok") | {"kv_channels": r.choice((4, 6, 8))}
    del k["num_attention_heads"]
    return k


def jamba(r: random.Random) -> dict[str, Any]:
    period, expert_period = r.choice((1, 2, 3)), r.choice((1, 2))
    return (
        base(r)
        | some_experts(r, "num_experts", "num_experts_per_tok")
        | {
            "attn_layer_period": period,
            "attn_layer_offset": r.randrange(period),
            "expert_layer_period": expert_period,
            "expert_layer_offset": r.randrange(expert_period),
            "mamba_d_state": r.randrange(2, 12),
            "mamba_d_conv": r.choice((2, 4)),
            "mamba_expand": r.choice((1, 2)),
            "mamba_dt_rank": r.choice(("auto", 3, 5)),
            "mamba_conv_bias": flag(r),
            "mamba_proj_bias": flag(r),
        }
    )


def longcat_flash(r: random.Random) -> dict[str, Any]:
    k = base(r) | latent(r) | some_experts(r, "n_routed_experts", "moe_topk")
    layers = k.pop("num_hidden_layers")
    del k["intermediate_size"]
    return k | {
        "num_layers": layers,
        "num_key_value_heads": None,
        "ffn_hidden_size": r.randrange(8, 60),
        "expert_ffn_hidden_size": r.randrange(4, 40),
        "zero_expert_num": r.choice((0, 1, 5)),
    }


def bailing_hybrid(r: random.Random) -> dict[str, Any]:
    k = base(r) | latent(r) | grouped_experts(r)
    del k["q_lora_rank"]
    k |= {
        "num_local_experts": k.pop("n_routed_experts"),
        "head_dim": r.choice((4, 6, 10)),
        "short_conv_kernel_size": r.choice((2, 4)),
        "layer_group_size": r.choice((1, 2, 3)),
        "first_k_dense_replace": r.randrange(0, 4),
        "moe_intermediate_size": r.randrange(4, 40),
        "n_shared_experts": r.choice((1, 2)),
    }
    return k


def kimi_linear(r: random.Random) -> dict[str, Any]:
    k = base(r) | latent(r) | grouped_experts(r)
    k |= {
        "num_local_experts": k.pop("n_routed_experts"),
        "q_lora_rank": r.choice((None, 9, 20)),
        "linear_head_dim": r.choice((4, 6, 10)),
        "linear_num_heads": r.choice((1, 2, 3)),
        "linear_conv_kernel_dim": r.choice((2, 4)),
        "moe_intermediate_size": r.randrange(4, 40),
        "n_shared_experts": r.choice((1, 2)),
    }
    if flag(r):
        k["layer_types"] = per_layer(r, k["num_hidden_layers"], "full_attention", "linear_attention")
    if flag(r):
        k["mlp_layer_types"] = per_layer(r, k["num_hidden_layers"], "dense", "sparse")
    return k


def afmoe(r: random.Random) -> dict[str, Any]:
    return (
        base(r)
        | some_experts(r, "num_experts", "num_experts_per_tok")
        | {
            "head_dim": r.choice((4, 8, 12)),
            "attention_bias": flag(r),
            "num_dense_layers": r.randrange(0, 4),
            "num_shared_experts": r.choice((1, 2)),
            "moe_intermediate_size": r.randrange(4, 40),
            "global_attn_every_n_layers": r.choice((1, 2, 3)),
        }
    )


def exaone_moe(r: random.Random) -> dict[str, Any]:
    k = (
        base(r)
        | maybe_head_dim(r)
        | grouped_experts(r, "num_experts")
        | {
            "first_k_dense_replace": r.randrange(0, 4),
            "num_shared_experts": r.choice((1, 2)),
            "moe_intermediate_size": r.randrange(4, 40),
            "sliding_window_pattern": r.choice((1, 2, 3)),
        }
    )
    if flag(r):
        k["mlp_layer_types"] = per_layer(r, k["num_hidden_layers"], "dense", "sparse")
    return k


def cohere2_moe(r: random.Random) -> dict[str, Any]:
    k = base(r)
    return (
        k
        | some_experts(r, "num_experts", "num_experts_per_tok")
        | {
            "head_dim": r.choice((4, 8, 12)),
            "attention_bias": flag(r),
            "num_shared_experts": r.choice((0, 1, 2)),
            "shared_expert_combination_strategy": r.choice(("sum", "average")),
            "first_k_dense_replace": r.randrange(0, k["num_hidden_layers"] + 1),
            "prefix_dense_intermediate_size": r.choice((None, 17)),
            "rms_norm_eps": r.choice((None, 1e-6)),
        }
    )


def dots1(r: random.Random) -> dict[str, Any]:
    return (
        base(r)
        | maybe_head_dim(r)
        | grouped_experts(r)
        | {
            "attention_bias": flag(r),
            "moe_intermediate_size": r.randrange(4, 40),
            "n_shared_experts": r.choice((1, 2)),
            "first_k_dense_replace": r.randrange(0, 4),
            "max_window_layers": r.randrange(1, 6),
        }
    )


def dots3_note(r: random.Random) -> dict[str, Any]:
    k = base(r) | latent(r) | grouped_experts(r) | _indexer(r)
    k |= {
        "num_key_value_heads": k["num_attention_heads"],
        "moe_intermediate_size": r.randrange(4, 40),
        "shared_experts_intermediate_size": r.randrange(4, 40),
        "n_shared_experts": r.choice((1, 2)),
        "first_k_dense_replace": r.randrange(0, 4),
    }
    nope, rope = r.choice((4, 6)), r.choice((2, 4))
    heads = r.choice((1, 2, 3))
    k |= {
        "swa_num_attention_heads": heads,
        "swa_num_key_value_heads": heads,
        "swa_q_lora_rank": r.randrange(4, 20),
        "swa_kv_lora_rank": r.randrange(4, 20),
        "swa_head_dim": nope + rope,
        "swa_qk_nope_head_dim": nope,
        "swa_v_head_dim": r.choice((4, 6)),
    }
    # The towers must fit the text width, however small.
    towers = {"adapter_out_dim": k["hidden_size"]}
    return {"text_config": k, "vision_config": towers, "audio_config": towers}


def hunyuan_v1_moe(r: random.Random) -> dict[str, Any]:
    return base(r) | {
        **some_experts(r, "num_experts", "moe_topk"),
        "head_dim": r.choice((4, 8, 12)),
        "attention_bias": flag(r),
    }


def lfm2_moe(r: random.Random) -> dict[str, Any]:
    k = base(r)
    return (
        k
        | some_experts(r, "num_experts", "num_experts_per_tok")
        | {
            "layer_types": per_layer(r, k["num_hidden_layers"], "conv", "full_attention"),
            "conv_bias": flag(r),
            "conv_L_cache": r.choice((2, 3)),
            "num_dense_layers": r.randrange(0, 4),
            "moe_intermediate_size": r.randrange(4, 40),
            "use_expert_bias": flag(r),
        }
    )


def dbrx(r: random.Random) -> dict[str, Any]:
    k = base(r)
    return {
        "vocab_size": k["vocab_size"],
        "d_model": k["hidden_size"],
        "n_heads": k["num_attention_heads"],
        "n_layers": k["num_hidden_layers"],
        "attn_config": {"kv_n_heads": k["num_key_value_heads"], "rope_theta": 1e4},
        "ffn_config": some_experts(r, "moe_num_experts", "moe_top_k") | {"ffn_hidden_size": r.randrange(4, 40)},
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def _glm_built(r: random.Random) -> dict[str, Any]:
    """What is built on GLM-4.5's module."""
    extra = {"moe_intermediate_size": r.randrange(4, 40), "n_shared_experts": r.choice((1, 2))}
    return base(r) | grouped_experts(r) | extra | {"head_dim": r.choice((4, 8, 12)), "attention_bias": flag(r)}


def sarvam_moe(r: random.Random) -> dict[str, Any]:
    return _glm_built(r) | {"use_qk_norm": flag(r), "first_k_dense_replace": r.randrange(0, 4)}


def _latent_experts(r: random.Random) -> dict[str, Any]:
    k = base(r) | latent(r) | grouped_experts(r)
    return k | {"moe_intermediate_size": r.randrange(4, 40), "n_shared_experts": r.choice((1, 2))}


def sarvam_mla(r: random.Random) -> dict[str, Any]:
    return _latent_experts(r) | {"q_lora_rank": r.choice((None, 9)), "first_k_dense_replace": r.randrange(0, 4)}


def mistral4(r: random.Random) -> dict[str, Any]:
    k = _latent_experts(r) | {"q_lora_rank": r.choice((None, 9)), "first_k_dense_replace": r.randrange(0, 4)}
    return k | {"n_group": 1, "topk_group": 1}


def qwen3_omni_moe_text(r: random.Random) -> dict[str, Any]:
    k = base(r)
    k |= _qwen_steps(r, k["num_hidden_layers"]) | some_experts(r, "num_experts", "num_experts_per_tok")
    return k | {"attention_bias": flag(r)}


def mellum(r: random.Random) -> dict[str, Any]:
    k = base(r) | {"head_dim": r.choice((4, 8, 12)), "attention_bias": flag(r), "norm_topk_prob": flag(r)}
    n = k["num_hidden_layers"]
    k |= some_experts(r, "num_experts", "num_experts_per_tok") | {"moe_intermediate_size": r.randrange(4, 40)}
    if flag(r):
        k |= {"layer_types": per_layer(r, n, "full_attention", "sliding_attention"), "sliding_window": 8}
    return k | {"mlp_layer_types": per_layer(r, n, "dense", "sparse")}


def hy_v3(r: random.Random) -> dict[str, Any]:
    k = base(r) | {"head_dim": r.choice((4, 8, 12)), "attention_bias": flag(r), "mlp_bias": flag(r)}
    k |= some_experts(r, "num_experts", "num_experts_per_tok")
    k |= {"moe_intermediate_size": r.randrange(4, 40), "num_shared_experts": r.choice((1, 2))}
    return k | {"mlp_layer_types": r.choice((None, per_layer(r, k["num_hidden_layers"], "dense", "sparse")))}


def kolibri1(r: random.Random) -> dict[str, Any]:
    k = base(r) | {"head_dim": r.choice((4, 8, 12))} | some_experts(r, "num_experts", "num_experts_per_tok")
    k |= {"moe_intermediate_size": r.randrange(4, 40), "shared_expert_intermediate_size": r.randrange(4, 40)}
    del k["intermediate_size"]
    kinds = per_layer(r, k["num_hidden_layers"], "full_attention", "sliding_attention")
    return k | {"layer_types": r.choice((None, kinds)), "sliding_window": 8}


def lara_mini(r: random.Random) -> dict[str, Any]:
    k = {key: value for key, value in _hybrid(r).items() if key not in ("intermediate_size", "layer_types")}
    if flag(r):
        kinds = ("full_attention", "sliding_attention", "linear_attention")
        k["layer_types"] = per_layer(r, k["num_hidden_layers"], *kinds)
    return k | {"norm_topk_prob": flag(r)}


def step3p5(r: random.Random) -> dict[str, Any]:
    k = base(r) | {"head_dim": r.choice((4, 8, 12)), "attention_bias": flag(r), "mlp_bias": flag(r)}
    n = k["num_hidden_layers"]
    k |= some_experts(r, "n_routed_experts", "num_experts_per_tok")
    k |= {"moe_intermediate_size": r.randrange(4, 40), "share_expert_dim": r.randrange(4, 40), "sliding_window": 8}
    if flag(r):
        k["layer_types"] = per_layer(r, n, "full_attention", "sliding_attention")
        k["attention_other_setting"] = {"num_attention_heads": k["num_key_value_heads"] * r.randrange(1, 5)}
    if flag(r):
        k["mlp_layer_types"] = per_layer(r, n, "dense", "sparse")
    return k


def gemma2(r: random.Random) -> dict[str, Any]:
    k = base(r) | {"head_dim": r.choice((4, 8, 12)), "attention_bias": flag(r), "sliding_window": 8}
    kinds = per_layer(r, k["num_hidden_layers"], "full_attention", "sliding_attention")
    return k | {"layer_types": r.choice((None, kinds))}


def gemma4_text(r: random.Random) -> dict[str, Any]:
    k = gemma2(r) | {"attention_k_eq_v": flag(r), "vocab_size_per_layer_input": r.randrange(20, 60)}
    k |= {"hidden_size_per_layer_input": r.choice((0, 6)), "use_double_wide_mlp": flag(r)}
    k |= {"global_head_dim": r.choice((4, 16)), "num_global_key_value_heads": r.choice((None, 1))}
    if flag(r):
        k |= some_experts(r, "num_experts", "top_k_experts")
        k |= {"enable_moe_block": True, "moe_intermediate_size": r.randrange(4, 40)}
    # Layers that read earlier ones' keys and values need one of their kind among those.
    types, n = k["layer_types"], k["num_hidden_layers"]
    if types is None and n > 2:
        k["layer_types"] = types = ["sliding_attention", "full_attention"] * n
        k["layer_types"] = [*types[: n - 1], "full_attention"]
        k["num_kv_shared_layers"] = r.randrange(0, n - 1)
    return k


def minimax_m3_vl_text(r: random.Random) -> dict[str, Any]:
    k = (
        base(r)
        | {"head_dim": r.choice((8, 12)), "rotary_dim": 4}
        | some_experts(r, "num_local_experts", "num_experts_per_tok")
    )
    n = k["num_hidden_layers"]
    k |= {"dense_intermediate_size": r.randrange(8, 60), "shared_intermediate_size": r.randrange(4, 40)}
    k |= {"index_n_heads": k["num_key_value_heads"], "index_head_dim": 4, "index_block_size": r.choice((4, 8))}
    k |= {"index_topk_blocks": r.choice((1, 2)), "mlp_layer_types": per_layer(r, n, "dense", "sparse")}
    return k | {"layer_types": per_layer(r, n, "full_attention", "minimax_m3_sparse")}


def mimo_v2_flash(r: random.Random) -> dict[str, Any]:
    k = base(r, heads=(4, 8)) | grouped_experts(r) | {"attention_bias": flag(r), "sliding_window": 8}
    n = k["num_hidden_layers"]
    k |= {"num_key_value_heads": r.choice((1, 2)), "head_dim": r.choice((8, 12)), "v_head_dim": r.choice((4, 6))}
    if flag(r):
        k["layer_types"] = per_layer(r, n, "full_attention", "sliding_attention")
    return k | {
        "moe_intermediate_size": r.randrange(4, 40),
        "mlp_layer_types": r.choice((None, per_layer(r, n, "dense", "sparse"))),
    }


def axk1(r: random.Random) -> dict[str, Any]:
    k = _latent_experts(r)
    return k | {"mlp_layer_types": per_layer(r, k["num_hidden_layers"], "dense", "sparse")}


def hy_v4(r: random.Random) -> dict[str, Any]:
    k = _latent_experts(r) | _indexer(r) | {"hc_mult": r.choice((1, 2, 3))}
    n = k["num_hidden_layers"]
    if flag(r):
        k["indexer_types"] = ["full", *per_layer(r, n - 1, "full", "shared")]
    return k | {"mlp_layer_types": r.choice((None, per_layer(r, n, "dense", "sparse")))}


def nemotron_h(r: random.Random) -> dict[str, Any]:
    k = base(r) | grouped_experts(r)
    del k["num_hidden_layers"]
    groups = r.choice((1, 2, 3))
    kinds = per_layer(r, r.randrange(1, 9), "linear_attention", "full_attention", "moe", "mlp")
    letters = {"linear_attention": "M", "full_attention": "*", "moe": "E", "mlp": "-"}
    written = {"layers_block_type": kinds}
    if flag(r):
        written = {"hybrid_override_pattern": "".join(letters[kind] for kind in kinds)}  # type: ignore[dict-item]
    return (
        k
        | written
        | {
            "head_dim": r.choice((2, 6, 8, 12)),
            "moe_intermediate_size": r.randrange(4, 40),
            "moe_shared_expert_intermediate_size": r.randrange(4, 50),
            "moe_latent_size": r.choice((None, r.randrange(3, 30))),
            "mlp_bias": flag(r),
            "use_bias": flag(r),
            "use_conv_bias": flag(r),
            "attention_bias": flag(r),
            "n_groups": groups,
            "mamba_num_heads": groups * r.randrange(1, 4),
            "mamba_head_dim": r.choice((4, 6, 10)),
            "ssm_state_size": r.randrange(3, 12),
            "conv_kernel": r.choice((2, 3, 4)),
        }
    )


def deepseek_ocr2_text(r: random.Random) -> dict[str, Any]:
    k = base(r) | grouped_experts(r) | {"attention_bias": flag(r), "mlp_bias": flag(r)}
    k |= {"moe_intermediate_size": r.randrange(4, 40), "n_shared_experts": r.choice((1, 2, 3))}
    k |= {"mlp_layer_types": per_layer(r, k["num_hidden_layers"], "dense", "sparse")}
    return k | {"topk_method": r.choice(("greedy", "group_limited_greedy"))}


def aria_text(r: random.Random) -> dict[str, Any]:
    k = base(r) | maybe_head_dim(r) | some_experts(r, "moe_num_experts", "moe_topk")
    return k | {"moe_num_shared_experts": r.choice((1, 2, 3)), "attention_bias": flag(r), "mlp_bias": flag(r)}


def flint(r: random.Random) -> dict[str, Any]:
    k = base(r) | {"head_dim": r.choice((4, 8, 12)), "attention_bias": flag(r), "sliding_window": 8}
    n = k["num_hidden_layers"]
    k |= _qwen_steps(r, n) | some_experts(r, "num_experts", "num_experts_per_tok")
    kinds = per_layer(r, n, "full_attention", "sliding_attention")
    return k | {"shared_expert_intermediate_size": r.randrange(4, 50), "layer_types": r.choice((None, kinds))}


def axk2(r: random.Random) -> dict[str, Any]:
    k = axk1(r) | _indexer(r) | {"gated_norm_rank": r.choice((1, 3, 16))}
    if k["n_group"] == 1:
        k |= {"n_group": None, "topk_group": None}
    return k


def beam(r: random.Random) -> dict[str, Any]:
    k = base(r) | grouped_experts(r, count="num_experts") | {"attention_bias": flag(r), "sliding_window": 8}
    n = k["num_hidden_layers"]
    k |= {"head_dim": r.choice((4, 8, 12)), "moe_intermediate_size": r.randrange(4, 40)}
    if flag(r):
        k["layer_types"] = per_layer(r, n, "full_attention", "sliding_attention")
    return k | {"mlp_layer_types": r.choice((None, per_layer(r, n, "dense", "sparse")))}


def muse_spark_text(r: random.Random) -> dict[str, Any]:
    k = base(r) | some_experts(r, "num_local_experts", "num_experts_per_tok")
    n = k["num_hidden_layers"]
    k |= {"head_dim": r.choice((4, 8, 12)), "attention_bias": flag(r), "sliding_window": 8}
    k |= {"moe_intermediate_size": r.randrange(4, 40), "moe_hidden_size": r.randrange(3, 30)}
    if flag(r):
        k |= {"layer_types": per_layer(r, n, "full_attention", "sliding_attention")}
        k |= {"layer_rope_theta": [r.choice((0, 1e4, 5e5)) for _ in range(n)]}
    return k | {"mlp_layer_types": r.choice((None, per_layer(r, n, "dense", "sparse")))}


def mistral_large4_text(r: random.Random) -> dict[str, Any]:
    k = _latent_experts(r) | _indexer(r)
    del k["q_lora_rank"]
    n = k["num_hidden_layers"]
    if flag(r):
        k["indexer_types"] = ["full", *per_layer(r, n - 1, "full", "shared")]
    if flag(r):
        k["no_rope_layers"] = [r.choice((0, 1)) for _ in range(n)]
    if flag(r):
        k["kv_source_layers"] = [0, *(r.choice((0, index)) for index in range(1, n))]
    return k | {"mlp_layer_types": r.choice((None, per_layer(r, n, "dense", "sparse")))}


def glm5_next_text(r: random.Random) -> dict[str, Any]:
    k = _latent_experts(r) | _indexer(r) | {"qk_rope_head_dim": 0, "hc_mult": r.choice((2, 3))}
    n, pool = k["num_hidden_layers"], r.choice((1, 2, 4))
    k |= {"num_key_value_heads": k["num_attention_heads"], "index_kpool": pool, "index_topk": pool * r.randrange(1, 4)}
    k |= {"linear_head_dim": r.choice((4, 6)), "linear_num_heads": r.choice((1, 3))}
    k |= {"linear_conv_kernel_dim": r.choice((2, 4)), "mlp_layer_types": per_layer(r, n, "dense", "sparse")}
    if flag(r):
        k["layer_types"] = per_layer(r, n, "linear_attention", "indexed_attention")
        k["indexer_types"] = ["full", *per_layer(r, n - 1, "full", "shared")]
    return k


def ernie4_5_vl_moe_text(r: random.Random) -> dict[str, Any]:
    k = base(r) | some_experts(r, "moe_num_experts", "moe_k") | {"use_bias": flag(r)}
    k["hidden_size"] = k["num_attention_heads"] * 128  # the rotation's three sections fill such heads
    k |= {"moe_intermediate_size": [r.randrange(4, 40), r.randrange(4, 40)], "moe_num_shared_experts": r.choice((0, 2))}
    return k | {"mlp_layer_types": r.choice((None, per_layer(r, k["num_hidden_layers"], "dense", "sparse")))}


def doge(r: random.Random) -> dict[str, Any]:
    k = base(r) | {"attention_bias": flag(r), "mlp_bias": flag(r), "keep_window_size": r.choice((2, 64))}
    side = r.randrange(2, 5)
    k |= {"is_moe": flag(r), "num_experts": side * side, "num_experts_per_tok": r.randrange(1, side * side)}
    return k | {"sliding_window": r.choice((None, 8)), "norm_topk_prob": flag(r)}


def bamba(r: random.Random) -> dict[str, Any]:
    k = base(r) | {"attention_bias": flag(r), "mlp_bias": flag(r)}
    n, heads = k["num_hidden_layers"], r.choice((2, 4))
    k["hidden_size"] = k["num_attention_heads"] * r.choice((4, 8))
    return k | {
        "attn_layer_indices": r.choice((None, sorted(r.sample(range(n), r.randrange(1, n + 1))))),
        "mamba_n_heads": heads,
        "mamba_n_groups": r.choice((1, 2)),
        "mamba_d_state": r.randrange(3, 12),
        "mamba_d_conv": r.choice((2, 3, 4)),
        "mamba_expand": r.choice((1, 2)),
        "mamba_conv_bias": flag(r),
        "mamba_proj_bias": flag(r),
    }


def zaya(r: random.Random) -> dict[str, Any]:
    k = base(r) | {"head_dim": r.choice((4, 6, 8)), "attention_bias": flag(r), "lm_head_bias": flag(r)}
    del k["intermediate_size"]
    k |= {"num_experts": r.randrange(1, 9), "moe_intermediate_size": r.randrange(4, 40)}
    k |= {"router_hidden_size": r.randrange(3, 20), "cca_time0": r.choice((1, 2, 4)), "cca_time1": r.choice((2, 3))}
    k |= {"sliding_window": 8, "layer_types": per_layer(r, k["num_hidden_layers"], "hybrid", "hybrid_sliding")}
    return k


def _inkling(r: random.Random) -> dict[str, Any]:
    k, heads = base(r), r.choice((2, 4))
    del k["tie_word_embeddings"]
    k |= {"swa_num_attention_heads": heads, "swa_num_key_value_heads": r.choice((1, heads)), "swa_head_dim": 6}
    k |= {"head_dim": r.choice((4, 8)), "d_rel": r.randrange(2, 6), "rel_extent": r.randrange(5, 20)}
    k |= {"sliding_window_size": r.choice((4, 8)), "conv_kernel_size": r.choice((2, 3, 4)), "log_scaling_n_floor": 8}
    k |= some_experts(r, "n_routed_experts", "num_experts_per_tok") | {"moe_intermediate_size": r.randrange(4, 40)}
    types = per_layer(r, k["num_hidden_layers"], "hybrid", "hybrid_sliding")
    return k | {"layer_types": r.choice((None, types))}


def inkling_text(r: random.Random) -> dict[str, Any]:
    k = _inkling(r) | {"n_shared_experts": r.choice((1, 2, 3))}
    n = k["num_hidden_layers"]
    if k["layer_types"] is None and flag(r):
        k["local_layer_ids"] = sorted(r.sample(range(n), r.randrange(n + 1)))
    return k | {"mlp_layer_types": r.choice((None, per_layer(r, n, "dense", "sparse")))}


def inkling2_text(r: random.Random) -> dict[str, Any]:
    k = _inkling(r)
    del k["intermediate_size"]
    padding = r.choice((0, 7))
    return k | {"unpadded_vocab_size": k["vocab_size"] - padding, "n_layers_per_attn_res_block": r.choice((1, 2))}


def inkling2_loop_text(r: random.Random) -> dict[str, Any]:
    k, block = inkling2_text(r), r.choice((1, 2))
    start = block * r.choice((1, 2))
    end = start + block * r.choice((1, 2))
    n = end + r.choice((0, 1))
    k |= {"num_hidden_layers": n, "n_layers_per_attn_res_block": block, "layer_types": None}
    k |= {"loop_layer_index_start": start, "loop_layer_index_end": end, "loop_num_passes": r.choice((1, 2, 3))}
    if flag(r):
        k["layer_types"] = per_layer(r, n, "hybrid", "hybrid_sliding")
    return k | {"loop_gate_rank": r.randrange(2, 8)}


_QSA = {"indexer_kv_heads": 1, "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}
_QSA["rope_parameters"] |= {"partial_rotary_factor": 0.5}  # type: ignore[operator]


def qwen4_exp_text(r: random.Random) -> dict[str, Any]:
    k = base(r) | some_experts(r, "num_experts", "num_experts_per_tok") | _QSA
    n, values, ratio = k["num_hidden_layers"], r.choice((1, 2, 4)), r.choice((1, 2, 4))
    k |= {"head_dim": r.choice((4, 8)), "attention_bias": flag(r), "hc_count": r.choice((2, 3)), "hc_lowrank": 5}
    k |= {"linear_key_head_dim": 6, "linear_value_head_dim": r.choice((4, 10)), "linear_num_value_heads": values}
    k |= {"linear_num_key_heads": r.choice([key for key in (1, 2, 4) if values % key == 0])}
    k |= {"linear_conv_kernel_dim": r.choice((2, 4)), "moe_intermediate_size": r.randrange(4, 40)}
    k |= {"indexer_n_heads": r.choice((1, 3)), "indexer_head_dim": r.choice((8, 12)), "indexer_compress_ratio": ratio}
    k |= {"indexer_budget": ratio * r.randrange(1, 4), "shared_expert_intermediate_size": r.randrange(4, 40)}
    types = per_layer(r, n, "linear_attention", "indexed_attention")
    linear = [index + 1 for index, kind in enumerate(types) if kind == "linear_attention"]
    if linear and flag(r):
        heads = r.choice((1, 2))
        k |= {"ple_layer_ids": r.sample(linear, r.randrange(1, len(linear) + 1)), "heads_per_ngram": heads}
        k |= {"ngram_size": r.choice((2, 3)), "ple_embed_dim": 4 * heads, "ple_conv_kernel_size": r.choice((2, 3))}
        k |= {"ngram_vocab_size_base": r.randrange(20, 200), "make_ngram_vocab_size_divisible_by": r.choice((1, 16))}
    return k | {"layer_types": types, "split_ngram_parts": 1}


def zamba2(r: random.Random) -> dict[str, Any]:
    k = base(r)
    groups = r.choice((1, 2))
    heads = groups * r.choice((1, 2))
    k["hidden_size"] *= heads
    k |= {"mamba_ngroups": groups, "n_mamba_heads": heads, "mamba_d_state": r.randrange(3, 12)}
    k |= {"mamba_d_conv": r.choice((2, 3, 4)), "mamba_expand": r.choice((1, 2)), "adapter_rank": r.randrange(2, 9)}
    k |= {"add_bias_linear": flag(r), "num_mem_blocks": r.choice((1, 2, 3)), "use_mem_rope": flag(r)}
    k |= {"use_shared_attention_adapter": flag(r), "tie_word_embeddings": True}  # which ties the shared blocks too
    k["layers_block_type"] = per_layer(r, k["num_hidden_layers"], "mamba", "hybrid")
    return k


def falcon_h1(r: random.Random) -> dict[str, Any]:
    k = base(r) | maybe_head_dim(r)
    groups = r.choice((1, 2))
    heads, head_dim = groups * r.choice((1, 2, 3)), r.choice((4, 6))
    k |= {"mamba_n_groups": groups, "mamba_n_heads": heads, "mamba_d_head": head_dim, "mamba_d_ssm": heads * head_dim}
    if flag(r):  # the width that follows from the model's
        k["hidden_size"] *= heads
        k |= {"mamba_d_ssm": None, "mamba_d_head": "auto", "mamba_expand": r.choice((1, 2))}
    k |= {"mamba_d_state": r.randrange(3, 12), "mamba_d_conv": r.choice((2, 3, 4)), "mamba_rms_norm": flag(r)}
    k |= {"mamba_conv_bias": flag(r), "mamba_proj_bias": flag(r), "projectors_bias": flag(r)}
    return k | {"attention_bias": flag(r), "mlp_bias": flag(r)}


def olmo_hybrid(r: random.Random) -> dict[str, Any]:
    k = base(r) | {"attention_bias": flag(r), "num_hidden_layers": r.randrange(2, 7)}
    key_heads = r.choice((1, 2, 3))
    if flag(r):
        k |= {"linear_num_key_heads": key_heads, "linear_num_value_heads": key_heads * r.choice((1, 2))}
        k |= {"linear_key_head_dim": r.randrange(2, 12), "linear_value_head_dim": r.randrange(2, 12)}
    if flag(r):
        some = per_layer(r, k["num_hidden_layers"], "full_attention", "linear_attention")
        k["layer_types"] = ["full_attention", "linear_attention", *some[2:]]
    return k | {"linear_conv_kernel_dim": r.choice((2, 3, 4))}


def diffllama(r: random.Random) -> dict[str, Any]:
    k = base(r, heads=(4, 8)) | maybe_head_dim(r)
    return k | {"num_key_value_heads": r.choice((2, 4)), "attention_bias": flag(r)}


def biases(r: random.Random) -> dict[str, Any]:
    return {"attention_bias": flag(r), "mlp_bias": flag(r)}


def exact_heads(r: random.Random) -> dict[str, Any]:
    """Heads that fill the width."""
    k = base(r)
    return k | biases(r) | {"head_dim": k["hidden_size"] // k["num_attention_heads"]}


def minicpm3(r: random.Random) -> dict[str, Any]:
    k = base(r)
    k |= latent(r) | {"num_key_value_heads": k["num_attention_heads"], "mlp_bias": flag(r)}
    if flag(r):
        del k["v_head_dim"]
    return k | {"q_lora_rank": r.choice((None, 5, 12))}


def ministral(r: random.Random) -> dict[str, Any]:
    k = base(r) | {"head_dim": r.choice((2, 6, 8, 12))}
    if flag(r):
        k |= {"layer_types": per_layer(r, k["num_hidden_layers"], "full_attention", "sliding_attention")}
    return k | {"sliding_window": 8}


def granite_swa(r: random.Random) -> dict[str, Any]:
    k = base(r) | biases(r) | {"sliding_window": 8}
    n = k["num_hidden_layers"]
    if flag(r):
        k |= {"layer_types": per_layer(r, n, "full_attention", "sliding_attention")}
        k |= {"layer_rope_theta": [r.choice((0, 1e4, 5e5)) for _ in range(n)]}
    return k


def lfm2(r: random.Random) -> dict[str, Any]:
    k = base(r) | {"conv_bias": flag(r), "conv_L_cache": r.choice((2, 3, 4)), "block_auto_adjust_ff_dim": flag(r)}
    k |= {"block_multiple_of": r.choice((1, 8, 256)), "block_ffn_dim_multiplier": r.choice((1.0, 1.3))}
    n = k["num_hidden_layers"]
    if flag(r):
        return k | {"layer_types": per_layer(r, n, "conv", "full_attention")}
    return k | {"full_attn_idxs": r.sample(range(n), r.randrange(0, n + 1))}


def lfm3(r: random.Random) -> dict[str, Any]:
    k = base(r) | {"head_dim": r.choice((4, 8)), "attention_bias": flag(r), "conv_bias": flag(r)}
    k |= {"use_sandwich_norm": flag(r), "use_attention_gate": flag(r), "conv_L_cache": r.choice((2, 3, 4))}
    if flag(r):
        k |= {"layer_types": per_layer(r, k["num_hidden_layers"], "conv", "full_attention", "sliding_attention")}
    return k | {"sliding_window": 8}


SAMPLERS: dict[str, Sampler] = {
    "exaone": plain,
    "internlm3": lambda r: plain(r) | dict.fromkeys(("attention_bias", "mlp_bias"), flag(r)),
    "iquestcoder": plain,
    "hyperclovax": lambda r: plain(r) | {"use_post_norm": flag(r)},
    "helium": exact_heads,
    "ministral": ministral,
    "minicpm3": minicpm3,
    "granite_swa": granite_swa,
    "lfm2": lfm2,
    "lfm3": lfm3,
    "zamba2": zamba2,
    "falcon_h1": falcon_h1,
    "olmo_hybrid": olmo_hybrid,
    "diffllama": diffllama,
    "inkling2_loop_text": inkling2_loop_text,
    "inkling2_text": inkling2_text,
    "inkling_text": inkling_text,
    "qwen4_exp_text": qwen4_exp_text,
    "zaya": zaya,
    "aria_text": aria_text,
    "axk2": axk2,
    "bamba": bamba,
    "doge": doge,
    "ernie4_5_vl_moe_text": ernie4_5_vl_moe_text,
    "beam": beam,
    "glm5_next_text": glm5_next_text,
    "mistral_large4_text": mistral_large4_text,
    "muse_spark_text": muse_spark_text,
    "flint": flint,
    "deepseek_ocr2_text": deepseek_ocr2_text,
    "unlimited_ocr_text": deepseek_ocr2_text,
    "axk1": axk1,
    "gemma2": gemma2,
    "gemma3_text": gemma2,
    "gemma4_text": gemma4_text,
    "hy_v4": hy_v4,
    "mimo_v2_flash": mimo_v2_flash,
    "minimax_m3_vl_text": minimax_m3_vl_text,
    "hy_v3": hy_v3,
    "kolibri1": kolibri1,
    "lara_mini": lara_mini,
    "mellum": mellum,
    "mistral4": mistral4,
    "qwen3_omni_moe_text": qwen3_omni_moe_text,
    "sarvam_mla": sarvam_mla,
    "sarvam_moe": sarvam_moe,
    "solar_open": _glm_built,
    "step3p5": step3p5,
    "laguna": laguna,
    "glm": glm_dense,
    "glm4": glm_dense,
    "olmo2": olmo_dense,
    "olmo3": olmo_dense,
    "phi3": phi3,
    "smollm3": plain,
    "granite": plain,
    "gemma": glm_dense,
    "hunyuan_v1_dense": glm_dense,
    "cwm": cwm,
    "apertus": apertus,
    "arcee": biased,
    "nemotron": biased,
    "jais2": biased,
    "starcoder2": starcoder2,
    "phi": base,
    "exaone4": exaone4,
    "cohere": command_r,
    "cohere2": command_a,
    "ernie4_5": ernie_dense,
    "stablelm": stablelm,
    "youtu": youtu,
    "llama": plain,
    "ministral3": mistral,
    "mistral": mistral,
    "qwen2": qwen_dense,
    "qwen3": qwen_dense,
    "qwen3_5_text": qwen3_5_text,
    "seed_oss": seed_oss,
    "afmoe": afmoe,
    "bailing_hybrid": bailing_hybrid,
    "cohere2_moe": cohere2_moe,
    "dbrx": dbrx,
    "deepseek_v2": deepseek_v2,
    "deepseek_v3": deepseek_v3,
    "deepseek_v32": deepseek_v32,
    "deepseek_v4": deepseek_v4,
    "dots1": dots1,
    "dots3_note": dots3_note,
    "ernie4_5_moe": ernie4_5_moe,
    "exaone_moe": exaone_moe,
    "flex_olmo": flex_olmo,
    "glm4_moe": glm4_moe,
    "glm4_moe_lite": glm4_moe_lite,
    "glm_moe_dsa": glm_moe_dsa,
    "gpt_oss": gpt_oss,
    "granitemoe": granitemoe,
    "granitemoe_swa": granitemoe_swa,
    "granitemoehybrid": granitemoehybrid,
    "granitemoeshared": granitemoeshared,
    "hunyuan_v1_moe": hunyuan_v1_moe,
    "jamba": jamba,
    "jetmoe": jetmoe,
    "kimi_linear": kimi_linear,
    "lfm2_moe": lfm2_moe,
    "llama4_text": llama4_text,
    "longcat_flash": longcat_flash,
    "minimax": minimax,
    "minimax_m2": minimax_m2,
    "nemotron_h": nemotron_h,
    "mixtral": mixtral,
    "olmoe": olmoe,
    "phimoe": phimoe,
    "qwen2_moe": qwen2_moe,
    "qwen3_5_moe_text": qwen3_5_moe_text,
    "qwen3_moe": qwen3_moe,
    "qwen3_next": qwen3_next,
}

_OCR_LAYERS = {"mlp_layer_types": ["dense"] + ["sparse"] * 31}
_INDEXER = {"indexer_n_heads": 16, "indexer_head_dim": 256, "indexer_budget": 2048, "indexer_compress_ratio": 16} | _QSA
_INDEXER |= {"ple_layer_ids": [2, 6], "eos_token_id": 2}
# Some families have no buildable default; these are the fields that their publishers set.
NEEDED_FIELDS: dict[str, dict[str, Any]] = {
    "dots1": {"n_routed_experts": 128, "n_shared_experts": 2, "num_experts_per_tok": 6},
    "nemotron": {"num_key_value_heads": 48},
    "ministral": {"head_dim": 128},
    "hunyuan_v1_dense": {"head_dim": 128},
    "hunyuan_v1_moe": {"head_dim": 128, "num_experts": 64, "moe_topk": 8},
    "lfm2_moe": {"layer_types": (["conv"] * 2 + ["full_attention"] + ["conv"] * 5) * 4},
    "dbrx": {"attn_config": {"kv_n_heads": 8, "rope_theta": 5e5}},
    "deepseek_ocr2_text": _OCR_LAYERS,
    "deepseek_ocr2": {"text_config": _OCR_LAYERS},
    "qwen4_exp_text": _INDEXER,
    "qwen4_exp": {"text_config": _INDEXER},
}
