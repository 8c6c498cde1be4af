"""Cache and state bytes against the cache object that transformers fills."""

from typing import Any

import pytest
import torch

from moewright.architecture.cache import (
    CacheLayout,
    cache_bytes_per_sequence,
    kv_bytes_per_token,
    kv_bytes_per_token_beyond_windows,
    state_bytes_per_sequence,
)
from moewright.hf.config import read_config
from tests.hf import oracle

BASE: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LATENT = BASE | {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 24,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 6,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}
EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
WINDOW = 8
WITH_WINDOWS = {"gpt_oss", "llama4_text", "mimo_v2_flash", "gemma4_text", "muse_spark_text", "beam", "zaya"}
WITH_WINDOWS |= {"inkling_text", "inkling2_text", "inkling2_loop_text"}
INKLING = {key: value for key, value in BASE.items() if key != "intermediate_size"} | {
    "head_dim": 8,
    "swa_num_attention_heads": 2,
    "swa_num_key_value_heads": 1,
    "swa_head_dim": 6,
    "d_rel": 3,
    "rel_extent": 12,
    "sliding_window_size": WINDOW,
    "conv_kernel_size": 3,
    "log_scaling_n_floor": 8,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "layer_types": ["hybrid_sliding", "hybrid", "hybrid_sliding", "hybrid"],
}
QSA = {
    "indexer_n_heads": 2,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 8,
    "indexer_budget": 8,
    "indexer_compress_ratio": 4,
    "rope_parameters": {"rope_theta": 1e4, "rope_type": "default"},
}
CASES: dict[str, dict[str, Any]] = {
    "mixtral": BASE | {"num_local_experts": 4},  # grouped-query attention
    "qwen3_moe": BASE | EXPERTS | {"head_dim": 12},
    "doge": BASE,
    "deepseek_v3": LATENT,  # latent attention
    "axk2": LATENT | {"index_topk": 8, "index_head_dim": 8, "index_n_heads": 2},
    "mistral_large4_text": LATENT  # latents of earlier layers, with indexers of their own and without
    | {"index_topk": 8, "index_head_dim": 8, "index_n_heads": 2, "kv_source_layers": [0, 0, 2, 0]}
    | {"no_rope_layers": [1, 1, 0, 1], "indexer_types": ["full", "full", "full", "shared"]},
    "glm5_next_text": LATENT  # delta attention beside pooled keys
    | {"qk_rope_head_dim": 0, "index_topk": 8, "index_head_dim": 8, "index_n_heads": 2, "index_kpool": 4}
    | {"linear_head_dim": 6, "linear_num_heads": 3, "linear_conv_kernel_dim": 3}
    | {"layer_types": ["linear_attention", *["indexed_attention"] * 2, "linear_attention"]}
    | {"indexer_types": ["full", "full", "shared", "shared"]},
    "muse_spark_text": BASE
    | {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
    | {"moe_hidden_size": 12, "sliding_window": WINDOW},
    "beam": BASE | EXPERTS | {"head_dim": 8, "sliding_window": WINDOW, "n_group": 2, "topk_group": 1},
    "deepseek_v32": LATENT | {"index_topk": 8, "index_head_dim": 8, "index_n_heads": 2},
    "gpt_oss": BASE | {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": WINDOW},
    "llama4_text": BASE | {"head_dim": 8, "num_local_experts": 4, "attention_chunk_size": WINDOW},
    "qwen3_next": BASE  # gated delta net and attention
    | EXPERTS
    | {
        "head_dim": 8,
        "linear_key_head_dim": 6,
        "linear_value_head_dim": 10,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "shared_expert_intermediate_size": 16,
    },
    "jamba": BASE
    | {"num_experts": 4, "mamba_d_state": 5, "mamba_dt_rank": 3, "attn_layer_period": 2}
    | {"attn_layer_offset": 1},
    "granitemoehybrid": BASE
    | {
        "layer_types": ["linear_attention", "full_attention", "linear_attention", "linear_attention"],
        "mamba_n_heads": 8,
        "mamba_d_state": 6,
        "mamba_d_head": 8,
        "num_local_experts": 4,
        "shared_intermediate_size": 16,
    },
    "kimi_linear": LATENT
    | {"q_lora_rank": None, "linear_head_dim": 6, "linear_num_heads": 4, "num_local_experts": 8}
    | {"layer_types": ["linear_attention", "linear_attention", "full_attention", "linear_attention"]},
    "lfm2_moe": BASE | EXPERTS | {"layer_types": ["conv", "full_attention", "conv", "conv"], "num_dense_layers": 1},
    "nemotron_h": {key: value for key, value in BASE.items() if key != "num_hidden_layers"}
    | {"layers_block_type": ["linear_attention", "moe", "full_attention", "mlp", "linear_attention"]}
    | {"mamba_num_heads": 6, "mamba_head_dim": 8, "ssm_state_size": 5, "n_groups": 2, "head_dim": 6}
    | {"n_routed_experts": 4, "moe_intermediate_size": 16, "moe_shared_expert_intermediate_size": 20}
    | {"moe_latent_size": 12},
    "minimax": BASE | {"num_local_experts": 4},
    "mimo_v2_flash": BASE
    | {"num_key_value_heads": 1, "head_dim": 12, "v_head_dim": 8, "sliding_window": WINDOW}
    | {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    "gemma4_text": BASE
    | {"head_dim": 8, "global_head_dim": 12, "num_kv_shared_layers": 2, "sliding_window": WINDOW}
    | {"layer_types": ["sliding_attention", "full_attention"] * 2, "hidden_size_per_layer_input": 6},
    "minimax_m3_vl_text": BASE
    | {"head_dim": 8, "rotary_dim": 4, "num_local_experts": 4, "num_experts_per_tok": 2}
    | {"index_n_heads": 2, "index_head_dim": 4, "index_block_size": 4, "index_topk_blocks": 2}
    | {"layer_types": ["full_attention", *["minimax_m3_sparse"] * 3]},
    "zaya": {key: value for key, value in BASE.items() if key != "intermediate_size"}
    | {"head_dim": 6, "num_experts": 4, "moe_intermediate_size": 16, "router_hidden_size": 5, "cca_time0": 3}
    | {"sliding_window": WINDOW, "layer_types": ["hybrid", "hybrid_sliding"] * 2},
    "inkling_text": INKLING | {"n_shared_experts": 1},
    "inkling2_text": INKLING | {"unpadded_vocab_size": 64},
    "inkling2_loop_text": INKLING
    | {"unpadded_vocab_size": 64, "n_layers_per_attn_res_block": 1, "loop_gate_rank": 3}
    | {"loop_layer_index_start": 1, "loop_layer_index_end": 3, "loop_num_passes": 3},
    "qwen4_exp_text": BASE
    | EXPERTS
    | QSA
    | {"head_dim": 8, "linear_key_head_dim": 6, "linear_value_head_dim": 10, "linear_num_key_heads": 2}
    | {"linear_num_value_heads": 4, "hc_count": 2, "hc_lowrank": 5, "shared_expert_intermediate_size": 16}
    | {"layer_types": ["linear_attention", "indexed_attention"] * 2, "ple_layer_ids": [3], "heads_per_ngram": 2}
    | {"ple_embed_dim": 8, "ngram_vocab_size_base": 50, "split_ngram_parts": 1},
    "zamba2": BASE
    | {"hidden_size": 64, "n_mamba_heads": 4, "mamba_d_state": 6, "mamba_ngroups": 2, "adapter_rank": 3}
    | {"layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"]},
    "falcon_h1": BASE  # both in every layer
    | {"mamba_d_ssm": 24, "mamba_n_heads": 4, "mamba_n_groups": 2, "mamba_d_state": 6},
    "olmo_hybrid": BASE | {"linear_key_head_dim": 6, "linear_value_head_dim": 10},
    "diffllama": BASE,
    "jetmoe": {key: value for key, value in BASE.items() if key != "num_attention_heads"}
    | {"kv_channels": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
}


def filled(family: str, tokens: int) -> tuple[int, int, Any]:
    """Elements in transformers' cache after `tokens` tokens: growing, constant; and the architecture."""
    module = oracle.build(family, CASES[family], device="cpu").eval()
    with torch.no_grad():
        cache = module(torch.arange(tokens)[None] % 60 + 3, use_cache=True).past_key_values
    growing = constant = 0
    for layer in cache.layers:
        for name, value in vars(layer).items():
            if name in ("keys", "values", "indexer_keys", "idx_keys") and torch.is_tensor(value):
                growing += value.numel()
            elif name in ("conv_states", "recurrent_states"):
                constant += sum(state.numel() for state in value.values() if state is not None)
    constant += sum(state.numel() for state in getattr(cache, "linear_cache", []) if torch.is_tensor(state))
    return growing, constant, read_config(oracle.saved_config(module)).architecture


@pytest.mark.parametrize("family", sorted(CASES))
@pytest.mark.parametrize("tokens", [5, 21])
def test_against_transformers(family: str, tokens: int) -> None:
    growing, constant, architecture = filled(family, tokens)
    states = state_bytes_per_sequence(architecture, "fp32")
    assert states == 4 * constant
    expected = cache_bytes_per_sequence(architecture, tokens, "fp32") - states
    if tokens > WINDOW and family in WITH_WINDOWS:
        # transformers drops a window's oldest token once it has been read: one token less in each windowed layer.
        windowed = kv_bytes_per_token(architecture, "fp32") - kv_bytes_per_token_beyond_windows(architecture, "fp32")
        expected -= int(windowed)
    assert expected == 4 * growing


def test_deepseek_v3_stores_70_kb_a_token() -> None:
    # DeepSeek's report on its serving hardware (arXiv 2505.09343, table 1): 70.272 KB a token in bf16.
    architecture = read_config("examples/configs/deepseek-v3.json").architecture
    assert kv_bytes_per_token(architecture, "bf16") == 70_272
    # Decompressed: 128 heads of 192 for keys and 128 for values, 61 layers, two bytes.
    assert kv_bytes_per_token(architecture, "bf16", CacheLayout(latent="decompressed")) == 128 * (192 + 128) * 61 * 2
