"""Mistral's params.json: published files retyped, against published totals and transformers' modules."""

import json
from pathlib import Path
from typing import Any

import pytest

import moewright
from moewright import UserError
from moewright.hf.mistral_params import config_of_params
from tests.hf import oracle

SEVEN: dict[str, Any] = {
    "dim": 4096,
    "n_layers": 32,
    "head_dim": 128,
    "hidden_dim": 14336,
    "n_heads": 32,
    "n_kv_heads": 8,
    "norm_eps": 1e-05,
    "sliding_window": 4096,
    "vocab_size": 32000,
}
"""mistral-7B-v0.1."""
EIGHT = {**SEVEN, "sliding_window": None, "moe": {"num_experts_per_tok": 2, "num_experts": 8}}
"""Mixtral 8x7B."""
NEMO = {**SEVEN, "dim": 5120, "n_layers": 40, "sliding_window": None, "vocab_size": 131072, "rope_theta": 1e6}
"""Mistral Nemo: 32 heads of 128 beside a width of 5,120."""

YARN = {"alpha": 1, "apply_scale": False, "beta": 32, "factor": 36, "original_max_position_embeddings": 8192}
LARGE: dict[str, Any] = {
    "dim": 7168,
    "n_layers": 61,
    "head_dim": 192,
    "hidden_dim": 16384,
    "n_heads": 128,
    "n_kv_heads": 128,
    "vocab_size": 131072,
    "norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tied_embeddings": False,
    "max_position_embeddings": 294912,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "llama_4_scaling": {"beta": 0.1, "original_max_position_embeddings": 8192},
    "yarn": YARN,
    "moe": {
        "num_experts": 128,
        "num_experts_per_tok": 4,
        "expert_hidden_dim": 4096,
        "num_shared_experts": 1,
        "first_k_dense_replace": 3,
        "route_every_n": 1,
        "expert_parallel": 1,
        "expert_model_parallel": 1,
        "routed_scale": 1.0,
        "num_expert_groups": 1,
        "num_expert_groups_per_tok": 1,
    },
}
"""Mistral Large 3, without its vision encoder."""
SMALL_LARGE = {
    **LARGE,
    "dim": 256,
    "n_layers": 3,
    "hidden_dim": 256,
    "n_heads": 2,
    "n_kv_heads": 2,
    "vocab_size": 512,
    "head_dim": 128,
    "q_lora_rank": 128,
    "kv_lora_rank": 128,
    "qk_nope_head_dim": 64,
    "moe": {
        **LARGE["moe"],
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "expert_hidden_dim": 96,
        "num_shared_experts": 2,
    },
}
MINISTRAL = {**SEVEN, "yarn": {**YARN, "factor": 16.0}, "tied_embeddings": True, "sliding_window": None}
FP8 = {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}


def test_mistral_large_3() -> None:
    """Announced as 673B with 39B active, without the 2.5B of its vision encoder."""
    found = moewright.inspect({**LARGE, "vision_encoder": {"hidden_size": 1664}})
    assert found.total_params == pytest.approx(673e9, rel=0.002)
    assert found.active_params == pytest.approx(39e9, rel=0.03)
    assert found.to_dict()["published_weights_bytes"] is None


@pytest.mark.parametrize("change", [{"quantization": FP8}, {"quantization_config": {"quant_method": "fp8"}}])
def test_quantised_weights_in_mistrals_words(change: dict[str, Any]) -> None:
    """Files name no dtype for the rest, so nothing is stated; with one it is fp8."""
    assert moewright.inspect({**MINISTRAL, **change}).published.total_bytes is None
    found = moewright.inspect({**MINISTRAL, **change, "dtype": "bfloat16"})
    assert found.published.dtype == "fp8"


@pytest.mark.parametrize(
    ("params", "total", "name"),
    [(SEVEN, 7_241_732_096, "mistral-7b-v0.1"), (EIGHT, 46_702_792_704, "mixtral-8x7b"), (NEMO, 12_247_782_400, None)],
)
def test_published_totals(params: dict[str, Any], total: int, name: str | None, tmp_path: Path) -> None:
    """As a file, as a folder that has no config.json, and as contents; equal to what the other file says."""
    (tmp_path / "params.json").write_text(json.dumps(params), encoding="utf-8")
    for source in (tmp_path, tmp_path / "params.json", params):
        assert moewright.inspect(source).total_params == total
    found = moewright.inspect(tmp_path).to_dict()
    assert found["published_weights_bytes"] is None
    if name is not None:
        said = moewright.inspect(name).to_dict()
        assert found["params"] == said["params"]
        assert found["active_params"] == said["active_params"]


@pytest.mark.parametrize(
    "params",
    [SEVEN, EIGHT, NEMO, {**EIGHT, "max_seq_len": 65536, "tied_embeddings": True}, LARGE, SMALL_LARGE, MINISTRAL],
)
def test_transformers_builds_as_many(params: dict[str, Any]) -> None:
    config, _ = config_of_params(params)
    module = oracle.build(config["model_type"], {key: value for key, value in config.items() if key != "model_type"})
    assert moewright.inspect(params).total_params == oracle.count(module)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"n_kv_heads": "x"}, "num_key_value_heads"),
        ({"hiden_dim": 3}, "hiden_dim: is not understood in a params.json; did you mean hidden_dim"),
        ({"model_type": "mamba"}, "model_type: 'mamba' of a params.json is not read"),
        ({"moe": 8}, "moe: expected a mapping"),
        ({"moe": {"num_experts": 8}}, "moe.num_experts_per_tok: missing"),
        ({"moe": {**EIGHT["moe"], "num_shared_experts": 1}}, "moe.expert_hidden_dim: missing"),
        ({"moe": LARGE["moe"]}, "kv_lora_rank: missing"),
        ({**LARGE, "moe": {**LARGE["moe"], "route_every_n": 2}}, "moe.route_every_n: only 1"),
        ({**LARGE, "moe": {**LARGE["moe"], "num_expert_group": 2}}, "did you mean num_expert_groups"),
        ({**LARGE, "moe": None}, "q_lora_rank: is understood in a params.json with shared experts only"),
        ({"yarn": {"factor": 2, "slope": 1}}, "yarn.slope: is not understood"),
        ({"yarn": 3}, "yarn: expected a mapping"),
        ({"quantization": {"qformat_weight": "int3"}}, "quantization.qformat_weight: only fp8_e4m3"),
        ({"quantization": {**FP8, "group": 3}}, "quantization.group: is not understood"),
        ({"quantization": FP8, "quantization_config": {"quant_method": "fp8"}}, "quantization: stands beside"),
        ({"lora": {"rank": 64}}, "lora: is not understood"),
    ],
)
def test_what_it_does_not_know_is_refused_by_name(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError) as raised:
        moewright.inspect({**SEVEN, **change})
    assert complaint in str(raised.value)


def test_a_tower_is_left_out_and_said() -> None:
    found = moewright.inspect({**NEMO, "vision_encoder": {"hidden_size": 1024}})
    assert found.total_params == 12_247_782_400
    assert any("vision_encoder is left out" in warning for warning in found.warnings)
