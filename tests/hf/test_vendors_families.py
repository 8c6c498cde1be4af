"""Families that only their vendors' files build: against transformers' modules of equal shapes, and published ones."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

import moewright
from moewright import UserError
from moewright.architecture.counts import layer_params, mtp_params, total_params
from moewright.hf import built_elsewhere
from moewright.hf.config import read_config
from tests.hf import oracle
from tests.hf.samplers import SAMPLERS

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "configs"
in_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"published files are in {SHARED}, which is absent")


def test_mimo_is_qwen2_with_a_prediction_block() -> None:
    r = random.Random("mimo")
    for _ in range(20):
        module = oracle.build("qwen2", SAMPLERS["qwen2"](r))
        values = oracle.saved_config(module) | {"model_type": "mimo", "num_nextn_predict_layers": 2}
        architecture = read_config(values).architecture
        assert total_params(architecture) == oracle.count(module)
        last, d = list(architecture.iter_layers())[-1], architecture.hidden_size
        assert mtp_params(architecture) == 2 * (sum(layer_params(architecture, last).values()) + 2 * d * d + 3 * d)


@in_shared
def test_as_published() -> None:
    """Parameters that the hub counts in the published safetensors files."""
    mimo = read_config(SHARED / "XiaomiMiMo--MiMo-7B-Base.json").architecture
    assert total_params(mimo) + mtp_params(mimo) == 7_833_409_536
    nemotron = read_config(SHARED / "nvidia--Llama-3_3-Nemotron-Super-49B-v1.json").architecture
    assert total_params(nemotron) == 49_867_145_216


def decilm(blocks: list[dict[str, Any]], llama: dict[str, Any]) -> dict[str, Any]:
    return llama | {"model_type": "nemotron-nas", "block_configs": blocks, "num_hidden_layers": len(blocks)}


def test_decilm_with_equal_blocks_is_llama() -> None:
    r = random.Random("decilm")
    for _ in range(20):
        module = oracle.build("llama", SAMPLERS["llama"](r))
        llama = oracle.saved_config(module)
        heads, kv_heads = llama["num_attention_heads"], llama["num_key_value_heads"]
        block = {"attention": {"n_heads_in_group": heads // kv_heads}, "ffn": {"intermediate_size": 0}}
        block["ffn"]["intermediate_size"] = llama["intermediate_size"]
        blocks = [block] * llama["num_hidden_layers"]
        architecture = read_config(decilm(blocks, llama)).architecture
        assert total_params(architecture) == oracle.count(module)
        # A layer without one half has that half's weights and norm less.
        last = list(architecture.iter_layers())[-1]
        fewer = [*blocks, {"attention": {"no_op": True}, "ffn": block["ffn"]}]
        added = total_params(read_config(decilm(fewer, llama)).architecture) - oracle.count(module)
        whole = layer_params(architecture, last)
        assert added == whole["dense_ffn"] + llama["hidden_size"]


@pytest.mark.parametrize(
    ("half", "value", "message"),
    [
        ("attention", {"n_heads_in_group": 3}, "does not divide"),
        ("attention", {"n_heads_in_group": 2, "replace_with_linear": True}, "replace_with_linear"),
        ("ffn", {"ffn_mult": float("nan")}, "ffn_mult"),
        ("ffn", {"ffn_mult": 10**400}, "ffn_mult"),
        ("ffn", None, "expected a mapping"),
    ],
)
def test_what_decilm_files_may_not_say(half: str, value: Any, message: str) -> None:
    llama = json.loads(json.dumps(SAMPLERS["llama"](random.Random(1))))
    llama |= {"num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 32}
    block = {"attention": {"n_heads_in_group": 2}, "ffn": {"ffn_mult": 1.5}} | {half: value}
    with pytest.raises(UserError, match=message):
        read_config(decilm([block], llama))


# What differs between a vendor's keys and those of a family that transformers builds with tensors of the same shapes.
LING_2 = {
    "n_routed_experts": "num_experts",
    "n_shared_experts": "num_shared_experts",
    "scoring_func": "score_function",
    "attention_bias": "use_qkv_bias",
}


def test_ling_2_is_dots1_by_other_keys() -> None:
    r = random.Random("ling")
    for _ in range(20):
        values = SAMPLERS["dots1"](r) | {"attention_bias": False}
        module = oracle.build("dots1", values)
        saved = oracle.saved_config(module)
        own = {LING_2.get(key, key): value for key, value in saved.items() if key not in ("layer_types", "topk_method")}
        own |= {"model_type": "bailing_moe_v2", "score_function": "sigmoid", "moe_router_enable_expert_bias": True}
        assert total_params(read_config(own).architecture) == oracle.count(module)


def test_deepseek_moe_is_deepseek_ocr_by_its_tensors() -> None:
    r = random.Random("deepseek")
    compared = 0
    for _ in range(40):
        module = oracle.build("deepseek_ocr2_text", SAMPLERS["deepseek_ocr2_text"](r) | {"first_k_dense_replace": 1})
        saved = oracle.saved_config(module)
        if saved.get("mlp_bias") or saved.get("attention_bias"):
            continue
        types = saved.pop("mlp_layer_types", None) or []
        if sorted(types) != types:
            continue
        saved |= {"model_type": "deepseek", "first_k_dense_replace": types.count("dense")}
        for key in ("topk_method", "layer_types", "sliding_window", "norm_topk_prob"):
            saved.pop(key, None)
        assert total_params(read_config(saved).architecture) == oracle.count(module)
        compared += 1
    assert compared > 4


@pytest.mark.parametrize(
    ("values", "total", "active"),
    [
        # huggingface.co/deepseek-ai/deepseek-moe-16b-base: 16.4B in total, 2.8B active (arXiv 2401.06066)
        (
            {
                "model_type": "deepseek",
                "hidden_size": 2048,
                "intermediate_size": 10944,
                "moe_intermediate_size": 1408,
                "num_hidden_layers": 28,
                "first_k_dense_replace": 1,
                "n_routed_experts": 64,
                "n_shared_experts": 2,
                "num_experts_per_tok": 6,
                "num_attention_heads": 16,
                "num_key_value_heads": 16,
                "vocab_size": 102400,
            },
            16.4e9,
            2.8e9,
        ),
        # huggingface.co/inclusionAI/Ling-lite: 16.8B in total, 2.75B active
        (
            {
                "model_type": "bailing_moe",
                "hidden_size": 2048,
                "moe_intermediate_size": 1408,
                "num_hidden_layers": 28,
                "num_experts": 64,
                "num_shared_experts": 2,
                "num_experts_per_tok": 6,
                "num_attention_heads": 16,
                "num_key_value_heads": 4,
                "head_dim": 128,
                "vocab_size": 126464,
            },
            16.8e9,
            2.75e9,
        ),
        # x.ai's grok-2: 270B in total, 115B active; its file calls itself `git`, transformers' word for a captioner
        (
            {
                "model_type": "git",
                "architectures": ["Grok1ForCausalLM"],
                "hidden_size": 8192,
                "intermediate_size": 32768,
                "moe_intermediate_size": 16384,
                "num_hidden_layers": 64,
                "num_local_experts": 8,
                "num_experts_per_tok": 2,
                "residual_moe": True,
                "num_attention_heads": 64,
                "num_key_value_heads": 8,
                "head_dim": 128,
                "vocab_size": 131072,
            },
            270e9,
            115e9,
        ),
        # github.com/xai-org/grok-1: 314B
        (
            {
                "model_type": "grok-1",
                "hidden_size": 6144,
                "intermediate_size": 32768,
                "num_hidden_layers": 64,
                "num_experts": 8,
                "num_experts_per_tok": 2,
                "num_attention_heads": 48,
                "num_key_value_heads": 8,
                "head_dim": 128,
                "vocab_size": 131072,
                "tie_word_embeddings": True,
            },
            314e9,
            None,
        ),
    ],
    ids=["deepseek-moe-16b", "ling-lite", "grok-2", "grok-1"],
)
def test_published_sizes_of_vendors_own(values: dict[str, Any], total: float, active: float | None) -> None:
    found = moewright.inspect(values)
    assert found.total_params == pytest.approx(total, rel=0.01)
    if active is not None:
        assert found.active_params == pytest.approx(active, rel=0.02)


def test_the_thinker_of_an_omni_model() -> None:
    """Qwen3-Omni-30B-A3B: what thinks is Qwen3-30B-A3B with another vocabulary, beside a talker and towers."""
    text = {
        "model_type": "qwen3_omni_moe_text",
        "hidden_size": 2048,
        "intermediate_size": 768,
        "vocab_size": 152064,
        "num_hidden_layers": 48,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "head_dim": 128,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
        "norm_topk_prob": True,
    }
    thinker = {"model_type": "qwen3_omni_moe_thinker", "text_config": text, "audio_config": {}, "dtype": "bfloat16"}
    config = {"model_type": "qwen3_omni_moe", "thinker_config": thinker, "talker_config": {"vocab_size": 3072}}
    found = moewright.inspect(config)
    assert found.total_params == 30_532_122_624 + 2 * (152_064 - 151_936) * 2048
    assert found.published.total_bytes == 2 * found.total_params
    assert any("talker_config" in warning for warning in found.warnings)
    fp8 = {"quant_method": "fp8", "weight_block_size": [128, 128], "surprise": 3}
    assert moewright.inspect({**config, "quantization_config": fp8}).published.total_bytes is None


def test_hunyuan_large_reads_every_second_layer_s_keys_again() -> None:
    """arXiv 2411.02265: 389B with 52B active, and 64 layers of which every second has keys and values."""
    config = {
        "model_type": "hunyuan",
        "hidden_size": 6400,
        "intermediate_size": 18304,
        "vocab_size": 128512,
        "num_hidden_layers": 64,
        "num_attention_heads": 80,
        "num_key_value_heads": 8,
        "attention_head_dim": 80,
        "num_experts": 16,
        "moe_topk": 1,
        "num_shared_expert": 1,
        "use_mixed_mlp_moe": True,
        "use_qk_norm": True,
        "use_cla": True,
        "cla_share_factor": 2,
        "tie_word_embeddings": True,
    }
    found = moewright.inspect(config)
    assert found.total_params == pytest.approx(389e9, rel=0.002)
    assert found.active_params == pytest.approx(52e9, rel=0.02)
    assert found.kv_bytes_per_token["latent"] == 32 * 2 * 8 * 80 * 2
    without = moewright.inspect(config | {"use_cla": False})
    assert without.total_params - found.total_params == 32 * (2 * 6400 * 8 * 80 + 80)


def test_qwen_2_5_omni_thinks_with_qwen_2() -> None:
    text = json.loads(json.dumps(SAMPLERS["qwen2"](random.Random(5))))
    plain = read_config({**text, "model_type": "qwen2"}).architecture
    thinker = {"model_type": "qwen2_5_omni_thinker", "text_config": {**text, "model_type": "qwen2_5_omni_text"}}
    assert read_config({"model_type": "qwen2_5_omni", "thinker_config": thinker}).architecture == plain
    assert read_config({**text, "model_type": "qwen2_5_vl", "vision_config": {"depth": 3}}).architecture == plain


def _omni(depth: int) -> dict[str, Any]:
    return {"model_type": "qwen3_omni_moe", **({"thinker_config": _omni(depth - 1)} if depth else {})}


@pytest.mark.parametrize(
    "config",
    [
        _omni(3),
        {"model_type": "qwen3_omni_moe", "thinker_config": [1]},
        {"model_type": "whisper"},
        {"model_type": "gpt_neox", "vocab_size": 100, "eos_token_id": 7, "transformers_version": "5.24"},
    ],
)
def test_a_config_without_sizes_loads_no_modules(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """torch and transformers take seconds and 300 MB: nothing is counted of their defaults."""
    asked: list[str] = []

    def record(name: str) -> Any:
        asked.append(name)
        raise ImportError(name)

    monkeypatch.setattr(built_elsewhere, "import_module", record)
    with pytest.raises(UserError, match="is not a family that moewright knows"):
        moewright.inspect(config)
    assert not asked
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    assert built_elsewhere.as_transformers_builds({"model_type": "gpt_neox", **sizes}) is None
    assert asked


def test_a_publisher_s_own_name_for_a_known_class() -> None:
    """New names of models that an old class builds: read as that family, and said so."""
    values = json.loads(json.dumps(SAMPLERS["deepseek_v3"](random.Random(7))))
    own = read_config({**values, "model_type": "gigantic_v9", "architectures": ["DeepseekV3ForCausalLM"]})
    assert own.architecture == read_config({**values, "model_type": "deepseek_v3"}).architecture
    assert "model_type 'gigantic_v9' is not known; read as deepseek_v3, whose class it names" in own.warnings
    with pytest.raises(UserError, match="is not a family that moewright knows"):
        read_config({**values, "model_type": "gigantic_v9", "architectures": ["GiganticForCausalLM"]})


@pytest.mark.parametrize("key", ["num_experts", "moe_layer_interval", "n_routed_experts"])
def test_experts_under_a_dense_family_s_name_are_another_model(key: str) -> None:
    """OpenMoE's files say llama."""
    values = json.loads(json.dumps(SAMPLERS["llama"](random.Random(7)))) | {"model_type": "llama"}
    assert read_config({**values, key: None}).architecture == read_config({**values, key: 0}).architecture
    with pytest.raises(UserError, match=f"^{key}: llama has no experts, so this is another model than it says"):
        read_config({**values, key: 32})
