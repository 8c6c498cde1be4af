"""Families that only their vendors' files build: against transformers' modules of equal shapes, and published ones."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from moewright import UserError
from moewright.architecture.counts import layer_params, mtp_params, total_params
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
