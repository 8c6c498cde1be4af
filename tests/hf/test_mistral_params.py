"""Mistral's params.json: published files retyped, against published totals and transformers' modules."""

import json
from pathlib import Path
from typing import Any

import pytest

import moewright
from moewright import UserError
from moewright.hf.mistral_params import config_of_params

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


@pytest.mark.parametrize("params", [SEVEN, EIGHT, NEMO, {**EIGHT, "max_seq_len": 65536, "tied_embeddings": True}])
def test_transformers_builds_as_many(params: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    config, _ = config_of_params(params)
    made = transformers.AutoConfig.for_model(**config)
    with torch.device("meta"):
        module = transformers.AutoModelForCausalLM.from_config(made)
    assert moewright.inspect(params).total_params == sum(each.numel() for each in module.parameters())


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"n_kv_heads": "x"}, "num_key_value_heads"),
        ({"hiden_dim": 3}, "hiden_dim: is not understood in a params.json; did you mean hidden_dim"),
        ({"model_type": "mamba"}, "model_type: 'mamba' of a params.json is not read"),
        ({"moe": 8}, "moe: expected a mapping"),
        ({"moe": {"num_experts": 8}}, "moe.num_experts_per_tok: missing"),
        ({"moe": {**EIGHT["moe"], "num_shared_experts": 1}}, "moe.num_shared_experts: is not understood"),
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
