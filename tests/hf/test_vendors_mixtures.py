"""Mixtures that only their vendors' files build, against the sizes that their publishers state, and sizes by layer
against transformers' modules."""

import contextlib
import json
import random
from typing import Any

import pytest

import moewright
from moewright import UserError
from moewright.architecture.counts import total_params
from moewright.hf.config import read_config
from tests.hf import oracle
from tests.hf.samplers import SAMPLERS
from tests.test_cli import run

ARCTIC = {
    "model_type": "arctic",
    "hidden_size": 7168,
    "intermediate_size": 4864,
    "num_hidden_layers": 35,
    "num_attention_heads": 56,
    "num_key_value_heads": 8,
    "num_local_experts": 128,
    "num_experts_per_tok": 2,
    "moe_layer_frequency": 1,
    "parallel_attn_mlp_res": True,
    "use_residual": True,
    "vocab_size": 32000,
}
SKYWORK = {
    "model_type": "skywork",
    "hidden_size": 4608,
    "intermediate_size": 12288,
    "num_hidden_layers": 52,
    "num_attention_heads": 36,
    "vocab_size": 65532,
    "num_experts": [16],
    "moe_expert_interval": 1,
}
STEP_3 = {
    "model_type": "step3_vl",
    "text_config": {
        "model_type": "step3_text",
        "hidden_size": 7168,
        "intermediate_size": 18432,
        "num_attention_heads": 64,
        "num_attention_groups": 1,
        "num_hidden_layers": 61,
        "vocab_size": 128815,
        "moe_intermediate_size": 5120,
        "moe_num_experts": 48,
        "moe_top_k": 3,
        "share_expert_dim": 5120,
        "share_q_dim": 2048,
        "head_dim": 256,
        "moe_layers_enum": ",".join(map(str, range(4, 60))),
    },
}
YUAN = {
    "model_type": "yuan",
    "hidden_size": 2048,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "attention_projection_size": 4096,
    "ffn_hidden_size": 8192,
    "vocab_size": 135040,
    "lf_conv2d_group": 1,
    "moe_config": {"moe_num_experts": 32, "moe_top_k": 2, "gated_linear_unit": True, "norm_topk_prob": True},
}
LLAMA_MOE = {
    "model_type": "llama_moe",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 32000,
    "num_experts": 16,
    "num_selects": 4,
    "size_experts": [[688] * 16] * 32,
}
XVERSE = {
    "model_type": "xverse",
    "hidden_size": 2560,
    "intermediate_size": 1728,
    "num_hidden_layers": 28,
    "num_attention_heads": 32,
    "vocab_size": 100534,
    "num_experts": 64,
    "num_shared_experts": 2,
    "moe_top_k": 6,
}
MINICPM = {
    "model_type": "minicpm",
    "hidden_size": 2304,
    "intermediate_size": 5760,
    "num_hidden_layers": 40,
    "num_attention_heads": 36,
    "vocab_size": 122753,
    "num_experts": 8,
    "num_experts_per_tok": 2,
}
SMALLTHINKER = {
    "model_type": "smallthinker",
    "hidden_size": 1536,
    "num_hidden_layers": 32,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "moe_num_primary_experts": 32,
    "moe_num_active_primary_experts": 4,
    "moe_ffn_hidden_size": 768,
    "rope_layout": [1] * 32,
    "sliding_window_layout": [0] * 32,
}
KLEAR = {
    "model_type": "Klear",
    "hidden_size": 2048,
    "intermediate_size": 7168,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "vocab_size": 151936,
    "num_experts": 256,
    "num_experts_per_tok": 8,
    "n_shared_experts": 1,
    "moe_intermediate_size": 896,
}
GROVE = {
    "model_type": "grove_moe",
    "hidden_size": 2048,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "vocab_size": 151936,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 768,
}
RING_LINEAR = {
    "model_type": "bailing_moe_linear",
    "hidden_size": 2048,
    "intermediate_size": 5120,
    "num_hidden_layers": 20,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "vocab_size": 157184,
    "first_k_dense_replace": 1,
    "group_norm_size": 4,
    "layer_group_size": 5,
    "num_experts": 256,
    "num_experts_per_tok": 8,
    "num_shared_experts": 1,
    "moe_intermediate_size": 512,
    "score_function": "sigmoid",
    "moe_router_enable_expert_bias": True,
    "n_group": 8,
    "topk_group": 4,
}
PANGU_PRO = {
    "model_type": "pangu_pro_moe",
    "hidden_size": 5120,
    "num_hidden_layers": 48,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "num_experts": 64,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 1344,
    "shared_expert_intermediate_size": 5376,
    "vocab_size": 153376,
}
PANGU_ULTRA = {
    "model_type": "pangu_ultra_moe",
    "vocab_size": 153600,
    "hidden_size": 7680,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_shared_experts": 1,
    "num_routed_experts": 256,
    "attention_kv_lora_dim": 512,
    "attention_q_lora_dim": 1536,
    "attention_qk_rope_dim": 64,
    "attention_v_dim": 128,
    "attention_qk_dim": 128,
    "num_experts_per_tok": 8,
    "num_dense_layers": 3,
    "sandwich_norm": True,
}
PARAM_2 = {
    "model_type": "param2moe",
    "hidden_size": 2048,
    "intermediate_size": 7168,
    "moe_intermediate_size": 2048,
    "moe_shared_expert_intermediate_size": 4096,
    "num_hidden_layers": 21,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128008,
    "num_experts": 64,
    "num_experts_per_tok": 6,
    "num_shared_experts": 2,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    "tie_word_embeddings": True,
}
MEGREZ = {
    "model_type": "megrez_moe",
    "hidden_size": 2048,
    "intermediate_size": 10944,
    "moe_intermediate_size": 1408,
    "num_hidden_layers": 31,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "vocab_size": 122880,
    "n_routed_experts": 64,
    "num_experts_per_tok": 6,
    "n_shared_experts": 4,
    "first_k_dense_replace": 1,
    "experts_shared_frequency": 3,
    "routed_scaling_factor": 2.5,
    "n_group": 1,
    "topk_group": 1,
}
MOTIF_3 = {
    "model_type": "Motif",
    "attention_cls": "gdla",
    "diff_v2": True,
    "hidden_act": "poly_norm",
    "vocab_size": 220160,
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "moe_intermediate_size": 1280,
    "num_hidden_layers": 53,
    "n_dense_first_layers": 2,
    "num_experts": 384,
    "experts_top_k": 8,
    "num_shared_experts": 1,
    "num_attention_heads": 80,
    "num_key_value_heads": 16,
    "num_noise_heads": 16,
    "head_dim": 192,
    "v_head_dim": 128,
    "qk_rope_head_dim": 64,
    "q_lora_rank": 1024,
    "kv_lora_rank": 512,
    "elementwise_attn_output_gate": True,
    "mhc_enabled": True,
    "mhc_expansion_rate": 4,
    "score_func": "sigmoid",
    "route_norm": True,
    "route_scale": 2.0,
    "load_balance_coeff": 0.0001,
    "use_sliding_window": True,
    "sliding_window": 128,
    "sliding_window_period": 4,
    "num_nextn_predict_layers": 1,
}
MOTIF_2 = {
    "model_type": "Motif",
    "hidden_act": "poly_norm",
    "vocab_size": 219520,
    "hidden_size": 4096,
    "intermediate_size": 16384,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "num_key_value_heads": 16,
    "num_noise_heads": 8,
    "head_dim": 128,
    "k_ratio": 1,
}
OURO = {
    "model_type": "ouro",
    "vocab_size": 49152,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 48,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "total_ut_steps": 4,
}
APRIEL_H1 = {
    "model_type": "apriel_hybrid_ssm",
    "vocab_size": 131072,
    "hidden_size": 5120,
    "intermediate_size": 14336,
    "num_hidden_layers": 50,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "hybrid_block_layout": ["t"] * 20 + ["m2"] * 30,
    "ssm_cfg": {"d_state": 16, "d_xb": 1024, "d_inner": 4096, "expand": 1, "d_conv": 4, "repeat_kv_before_conv": True},
}
INTERNLM_2 = {
    "model_type": "internlm2",
    "vocab_size": 92544,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "bias": False,
}
BAICHUAN_2 = {
    "model_type": "baichuan",
    "vocab_size": 125696,
    "hidden_size": 5120,
    "intermediate_size": 13696,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
}
LONGCAT_LITE = {
    "model_type": "longcat_flash_ngram",
    "hidden_size": 3072,
    "ffn_hidden_size": 6144,
    "moe_topk": 12,
    "expert_ffn_hidden_size": 1024,
    "n_routed_experts": 256,
    "zero_expert_num": 128,
    "num_layers": 14,
    "vocab_size": 131072,
    "num_attention_heads": 32,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "routed_scaling_factor": 6.0,
}

# Name: config, total, active, whether the publisher counts embedding and head among the active.
STATED: dict[str, tuple[dict[str, Any], float, float | None, bool]] = {
    "Snowflake/snowflake-arctic": (ARCTIC, 480e9, 17e9, True),
    "Skywork/Skywork-MoE-base": (SKYWORK, 146e9, 22e9, False),
    "stepfun-ai/step3": (STEP_3, 316e9, 38e9, False),  # 321B with 5B of vision (arXiv 2507.19427)
    "IEITYuan/Yuan2-M32": (YUAN, 40e9, 3.7e9, False),
    "llama-moe/LLaMA-MoE-v1-3_5B-4_16": (LLAMA_MOE, 6.7e9, 3.5e9, True),
    "llama-moe/LLaMA-MoE-v1-3_0B-2_16": ({**LLAMA_MOE, "num_selects": 2}, 6.7e9, 3.0e9, True),
    "xverse/XVERSE-MoE-A4.2B": (XVERSE, 25.8e9, 4.2e9, True),
    "PowerInfer/SmallThinker-4BA0.6B": (SMALLTHINKER, 4e9, 0.63e9, False),
    "Kwai-Klear/Klear-46B-A2.5B": (KLEAR, 46e9, 2.5e9, True),
    "inclusionAI/GroveMoE-Inst": (GROVE, 33e9, 3.28e9, True),  # the most of "3.14-3.28B" (arXiv 2508.07785)
    "inclusionAI/Ring-mini-linear-2.0": (RING_LINEAR, 16.4e9, 1.6e9, True),
    "IntervitensInc/pangu-pro-moe": (PANGU_PRO, 72e9, 16e9, False),
    "openPangu-Ultra-MoE-718B": (PANGU_ULTRA, 718e9, 39e9, False),
    "meituan-longcat/LongCat-Flash-Lite": (LONGCAT_LITE, 68.5e9, None, True),
    "bharatgenai/Param2-17B-A2.4B-Thinking": (PARAM_2, 17e9, None, True),
    "Infinigence/Megrez2-3x7B-A3B": (MEGREZ, 7.5e9, 3.0e9, False),
    "Motif-Technologies/Motif-3": (MOTIF_3, 314.6e9, 13e9, True),
    "Motif-Technologies/Motif-2-12.7B-Base": (MOTIF_2, 12.7e9, None, True),
    "ByteDance/Ouro-2.6B": (OURO, 2.668e9, None, True),
    "ServiceNow-AI/Apriel-H1-15b-Thinker": (APRIEL_H1, 15.7e9, None, True),  # printed as 15B
    "internlm/internlm2-7b": (INTERNLM_2, 7.74e9, None, True),
    "baichuan-inc/Baichuan2-13B-Base": (BAICHUAN_2, 13.9e9, None, True),
    "openbmb/MiniCPM-MoE-8x2B": (MINICPM, 13.87e9, None, True),  # 13.6B without the embedding
}


@pytest.mark.parametrize("name", sorted(STATED))
def test_as_their_publishers_say(name: str) -> None:
    config, total, active, counts_ends = STATED[name]
    found = moewright.inspect(config)
    assert found.total_params == pytest.approx(total, rel=0.01)
    if active is not None:
        ends = 0 if counts_ends else found.params["embedding"] + found.params["lm_head"]
        assert found.active_params - ends <= active * 1.02
        assert found.active_params >= active * 0.98


def test_grove_s_active_parameters_are_a_range() -> None:
    """The paper prints 3.14 to 3.28B; with the head and without the input embedding it is .06B more at both ends."""
    found = moewright.inspect(GROVE)
    fewer = 48 * 4 * 3 * 2048 * 128
    assert found.active_params == 3_343_857_664
    assert (found.active_params - fewer) / 3.14e9 == pytest.approx(found.active_params / 3.28e9, abs=0.005)
    words = "between 4 and 8 of 64; active parameters are for the most, and up to 151.0M fewer"
    assert any(words in warning for warning in found.warnings)


def test_motif_3_to_the_last_parameter() -> None:
    """The headers of its 155 files hold 314,841,775,750 numbers (Motif-Technologies/Motif-3 at ccceb1a5), the selection
    biases among them, which are buffers here."""
    found = moewright.inspect(MOTIF_3)
    assert found.total_params + found.mtp_params + 51 * 384 == 314_841_775_750
    latent = found.kv_bytes_per_token["latent"]
    assert latent == 53 * (512 + 64) * 2
    assert found.kv_bytes_per_token["decompressed"] == 53 * 16 * (192 + 128) * 2


def test_ouro_to_the_last_parameter() -> None:
    """Its card's 2,667,974,657; a cache for each of four passes."""
    found = moewright.inspect(OURO)
    assert found.total_params == 2_667_974_657
    assert found.kv_bytes_per_token["latent"] == 4 * 48 * 2 * 16 * 128 * 2


def test_experts_of_three_layers_are_counted_once_and_used_by_each() -> None:
    """Against the same model with experts of its own in every layer."""
    shared, apart = moewright.inspect(MEGREZ), moewright.inspect({**MEGREZ, "experts_shared_frequency": 1})
    of_a_layer = 64 * 3 * 2048 * 1408
    assert apart.total_params - shared.total_params == 20 * of_a_layer
    assert apart.active_params == shared.active_params
    assert apart.forward_flops == shared.forward_flops
    assert apart.weights_bytes["int4"] - shared.weights_bytes["int4"] == 20 * (of_a_layer // 2 + of_a_layer // 128 * 2)
    assert any("between 6 and 18 of the 64" in warning for warning in shared.warnings)


def test_shared_experts_of_param_2_are_as_wide_as_stated_together() -> None:
    """vLLM's param2moe.py multiplies the key with no number; without it each is as wide as a routed expert."""
    without = {key: value for key, value in PARAM_2.items() if key != "moe_shared_expert_intermediate_size"}
    assert moewright.inspect(PARAM_2).total_params == moewright.inspect(without).total_params
    with pytest.raises(UserError, match="no multiple of num_shared_experts"):
        moewright.inspect({**PARAM_2, "moe_shared_expert_intermediate_size": 4097})


def test_llama_moe_is_the_llama_that_it_was_cut_from() -> None:
    """Llama 2 7B, and what its gates add: two matrices and the noise's in each layer."""
    llama = moewright.inspect("llama-2-7b").total_params
    gates = 32 * (2 * 16 * 4096 + 16 * 16)
    assert moewright.inspect(LLAMA_MOE).total_params == llama + gates


def test_step_3_s_cache_is_one_head() -> None:
    assert moewright.inspect(STEP_3).kv_bytes_per_token["latent"] == 61 * 2 * 256 * 2


def test_ling_2_5_is_not_read_as_ling_3() -> None:
    """Both say bailing_hybrid: with lightning attention no convolutions are counted."""
    config = {
        **RING_LINEAR,
        "model_type": "bailing_hybrid",
        "kv_lora_rank": 64,
        "qk_nope_head_dim": 32,
        "qk_rope_head_dim": 16,
        "v_head_dim": 32,
    }
    kinds = {layer.mixer.kind for layer in read_config(config).architecture.iter_layers()}
    assert kinds == {"lightning_attention", "latent_attention"}
    kimi = read_config({**config, "short_conv_kernel_size": 4}).architecture
    assert {layer.mixer.kind for layer in kimi.iter_layers()} == {"kimi_delta_attention", "latent_attention"}


# Sizes by layer


def params_of(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("family", "key"),
    [
        ("mixtral", "num_local_experts"),
        ("qwen3_moe", "num_experts"),
        ("gpt_oss", "num_local_experts"),
        ("qwen3_moe", "moe_intermediate_size"),
        ("llama", "intermediate_size"),
        ("deepseek_v3", "n_routed_experts"),
    ],
)
def test_a_list_of_sizes_is_one_for_each_layer(family: str, key: str) -> None:
    r = random.Random(f"{family} {key}")
    for _ in range(5):
        values = SAMPLERS[family](r)
        chosen = [key for key in values if key in ("n_group", "topk_group")]
        values |= dict.fromkeys(chosen, 1)
        layers, least = (
            values["num_hidden_layers"],
            values.get("num_experts_per_tok", 1) * (4 if "tok" not in key else 1),
        )
        sizes = [least + r.randrange(1, 4) for _ in range(layers)]
        modules = {size: oracle.build(family, values | {key: size}) for size in set(sizes)}
        last = modules[sizes[-1]]
        expected = params_of(last) + sum(
            params_of(modules[size].model.layers[i]) - params_of(last.model.layers[i]) for i, size in enumerate(sizes)
        )
        saved = oracle.saved_config(last) | {"model_type": family}
        assert total_params(read_config(saved | {key: sizes}).architecture) == expected
        # The same as blocks, flat as NVIDIA publishes them.
        blocks = [{key: size} for size in sizes]
        assert total_params(read_config(saved | {"block_configs": blocks}).architecture) == expected


@pytest.mark.parametrize("key", ["attention_hidden_size", "attention_head_dim", "head_dim"])
def test_widths_that_follow_from_others_may_not_contradict_them(key: str) -> None:
    """transformers builds what they say; published files agree with themselves."""
    values = SAMPLERS["zamba2"](random.Random(key))
    saved = oracle.saved_config(oracle.build("zamba2", values)) | {"model_type": "zamba2"}
    read_config(saved)
    with pytest.raises(UserError, match=key):
        read_config(saved | {key: 3})


@pytest.mark.parametrize("stated", ["9" * 5000, ["9" * 5000], "61", "", {"4": 5}])
def test_layers_of_experts_that_are_none_are_refused(stated: Any) -> None:
    with pytest.raises(UserError, match="moe_layers_enum: expected"):
        read_config(STEP_3["text_config"] | {"moe_layers_enum": stated})  # type: ignore[operator]


@pytest.mark.parametrize("number", ["9" * 5000, "\u00b2", "\u0663", "+1", ""])
def test_numbers_in_words_that_python_reads_in_its_own_way(number: str) -> None:
    """Layers by their numbers: int() raises for some of these, and takes others for numbers."""
    step = SAMPLERS["step3p5"](random.Random(1)) | {"model_type": "step3p5", "mlp_layer_types": None}
    with pytest.raises(UserError, match="moe_layers_enum: expected"):
        read_config(step | {"moe_layers_enum": [number]})
    dots = SAMPLERS["dots3_note"](random.Random(1))["text_config"] | {"model_type": "dots3_note_text"}
    with pytest.raises(UserError, match="per_layer_config: expected layer numbers"):
        read_config(dots | {"per_layer_config": {number: {"num_attention_heads": 2}}})
    gemma = SAMPLERS["gemma4_text"](random.Random(1)) | {"model_type": "gemma4_text"}
    with contextlib.suppress(UserError):  # a layer that is none may be left alone
        read_config(gemma | {"per_layer_config": {number: {"head_dim": 16}}})


@pytest.mark.parametrize("name", ["hidden_size", "vocab_size", "tie_word_embeddings"])
def test_what_all_layers_have_together_differs_in_no_block(name: str) -> None:
    """One layer's would be taken for the whole model's."""
    values = {**SAMPLERS["llama"](random.Random(3)), "model_type": "llama", "num_hidden_layers": 2}
    values |= {"num_attention_heads": 4, "num_key_value_heads": 4, "hidden_size": 32, "tie_word_embeddings": False}
    other = {"hidden_size": 64, "vocab_size": 2 * values["vocab_size"], "tie_word_embeddings": True}[name]
    for blocks in ([{name: values[name]}, {name: other}], [{name: other}, {name: values[name]}]):
        with pytest.raises(UserError, match="differ in more than their layers"):
            read_config(values | {"block_configs": blocks})


def test_lists_of_sizes_without_a_number_of_layers_are_refused_by_that_name() -> None:
    values = {**SAMPLERS["llama"](random.Random(3)), "model_type": "llama", "intermediate_size": [32, 64]}
    del values["num_hidden_layers"]
    with pytest.raises(UserError, match="num_hidden_layers"):
        read_config(values)


def test_blocks_of_puzzletron() -> None:
    """Nested sections, and halves that are not there: as two layers of other sizes, and one half of each."""
    llama = json.loads(json.dumps(SAMPLERS["llama"](random.Random(3)))) | {
        "model_type": "llama",
        "num_hidden_layers": 4,
    }
    llama |= {"num_attention_heads": 4, "num_key_value_heads": 4, "hidden_size": 32, "attention_bias": False}
    wide = {"attention": {"num_key_value_heads": 2}, "ffn": {"intermediate_size": 48}}
    nothing, width = {"no_op": True}, {"intermediate_size": 48}
    blocks = [
        wide,
        {"attention": nothing, "ffn": nothing},
        {"attention": nothing, "ffn": width},
        {"attention": {"n_heads_in_group": 2}, "ffn": nothing},
    ]
    found = read_config(llama | {"block_configs": blocks}).architecture
    one = llama | {"num_hidden_layers": 1, "num_key_value_heads": 2, "intermediate_size": 48}
    one |= {"mlp_bias": False}
    module = oracle.build("llama", {key: value for key, value in one.items() if key != "model_type"})
    half = module.model.layers[0]
    halves = params_of(half.mlp) + params_of(half.self_attn) + 2 * 32
    assert total_params(read_config(llama | {"mlp_bias": False, "block_configs": blocks}).architecture) == (
        params_of(module) + halves
    )
    assert found.num_layers == 3


def test_a_pruned_nemotron() -> None:
    """Nemotron-3-Puzzle's way: flat blocks that say what each layer is, prediction blocks among them."""
    common = {
        "model_type": "nemotron_h_puzzle",
        "hidden_size": 64,
        "num_hidden_layers": None,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "vocab_size": 128,
        "mamba_num_heads": 4,
        "mamba_head_dim": 16,
        "ssm_state_size": 8,
        "n_groups": 2,
        "conv_kernel": 4,
        "n_shared_experts": 1,
        "moe_shared_expert_intermediate_size": 48,
        "num_nextn_predict_layers": 1,
    }
    moe = {"block_type": "moe", "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 40}
    other = moe | {"n_routed_experts": 4, "num_experts_per_tok": 1, "moe_intermediate_size": 24}
    blocks = [{"block_type": "mamba"}, moe, {"block_type": "attention"}, other]
    predicted = [{"block_type": "attention"}, moe]
    found = read_config(common | {"block_configs": blocks, "mtp_block_configs": predicted}).architecture
    sizes = [(m.num_experts, m.top_k, m.groups[0].expert_size) for _, m in found.moe_layers()]
    assert sizes == [(8, 2, 40), (4, 1, 24)]
    assert found.mtp_block is not None
    assert [layer.feed_forward.kind for layer in found.mtp_block] == ["none", "moe"]
    assert found.mtp_block[1] == next(layer for layer in found.iter_layers() if layer.feed_forward.kind == "moe")
    plain = dict.fromkeys(("block_configs", "mtp_block_configs"))
    equal = read_config({**common, **plain, **moe, "layers_block_type": ["mamba", "moe", "attention", "moe"]})
    matrices = 2 * 64  # of an expert, for each of its channels: no gate
    assert total_params(equal.architecture) - total_params(found) == matrices * (8 * 40 - 4 * 24) + 64 * (8 - 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_experts": [4, 4, 4]}, "num_experts: has 3 entries for 2 layers"),
        ({"num_experts": [4, 0]}, "num_experts: expected a positive integer"),
        ({"num_experts": [4, 1]}, "num_experts_per_tok: 2 is more than num_experts"),
        ({"num_experts": [4, "5"]}, "num_experts: expected a positive integer"),
        ({"block_configs": [{}]}, "block_configs: has 1 entries for 2 layers"),
        ({"block_configs": []}, "block_configs: has 0 entries for 2 layers"),
        ({"block_configs": 3}, "block_configs: expected a list of mappings"),
        ({"block_configs": [{}, {}], "mtp_block_configs": 3}, "mtp_block_configs: expected a list of mappings"),
        ({"block_configs": [3, 4]}, "expected a mapping, found 3"),
        ({"block_configs": [{"ffn": 3}, {}]}, "ffn: expected a mapping"),
        ({"block_configs": [{"ffn": {"sparsify": True}}, {}]}, "sparsify: is not understood"),
        ({"block_configs": [{"ffn": {"moe": {"wings": 3}}}, {}]}, "wings: is not understood"),
        ({"block_configs": [{"attention": {"n_heads_in_group": 3}}, {}]}, "does not divide the 4 heads"),
        ({"block_configs": [{"attention": {"no_op": True}, "ffn": {"no_op": True}}] * 2}, "no layer has a half"),
    ],
)
def test_what_sizes_by_layer_may_not_say(change: dict[str, Any], words: str) -> None:
    config = {
        "model_type": "qwen3_moe",
        "hidden_size": 32,
        "moe_intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "vocab_size": 100,
    }
    with pytest.raises(UserError, match=words):
        read_config(config | change)


def test_a_thousand_layers_of_as_many_sizes_end_soon(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**XVERSE, "num_hidden_layers": 1000, "num_experts": list(range(8, 1008))}))
    code, out, message = run(capsys, "inspect", str(path))
    assert (code, out) == (2, "")
    assert "more than can be read" in message
