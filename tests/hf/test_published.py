"""Bytes of published weights: against published files, and against what transformers' quantisers lay out."""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

import moewright
from moewright import UserError
from moewright.hf.published import Published
from tests.hf import quantized
from tests.hf.samplers import SAMPLERS

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def published(source: str | Path | dict[str, Any]) -> Published:
    return moewright.inspect(source).published


def shared_case(name: str) -> Path:
    if not (SHARED / name).exists():
        pytest.skip(f"shared/data/{name} is not beside the project")
    return SHARED / name


# Bytes of all tensors, in files that nobody here wrote.
PUBLISHED_SIZES: dict[str, tuple[float, str]] = {
    "configs/deepseek-ai--DeepSeek-V3.json": (688_586_727_753, "metadata.total_size of its index file"),
    "configs/openai--gpt-oss-120b.json": (60.8 * 2**30, "model card, arXiv 2508.10925, table 1: 60.8 GiB"),
    "configs/openai--gpt-oss-20b.json": (12.8 * 2**30, "model card, arXiv 2508.10925, table 1: 12.8 GiB"),
    "configs/deepseek-ai--DeepSeek-V4-Flash.json": (160e9, "people report about 160 GB (shared case dsv4-fp4-experts)"),
    "configs/moonshotai--Kimi-K2.5.json": (594e9, "model card: 594 GB (shared case kimi-int4-experts)"),
}


@pytest.mark.parametrize("name", sorted(PUBLISHED_SIZES))
def test_published_sizes(name: str) -> None:
    size, _ = PUBLISHED_SIZES[name]
    assert published(shared_case(name)).total_bytes == pytest.approx(size, rel=0.005)


@pytest.mark.parametrize(
    ("name", "dtype", "size"),
    [
        ("cases/kimi-int4-experts", "int4", 594_205_259_776),
        ("cases/fp8-experts-not-converted", "fp8", 14_456_512),
        ("cases/modelopt-side-file", "nvfp4", None),
        ("cases/mlx-quantization-key", "int4", None),
        ("cases/dsv4-fp4-experts", "mxfp4+fp8", None),
        ("configs/nvidia--Qwen3.6-27B-NVFP4.json", "nvfp4+fp8", None),
        ("configs/nvidia--Qwen3-235B-A22B-NVFP4.json", None, None),  # the config alone does not say how
        ("configs/MiniMaxAI--MiniMax-M2.5.json", None, None),  # nothing says what the rest is stored in
    ],
)
def test_shared_cases(name: str, dtype: str | None, size: int | None) -> None:
    found = moewright.inspect(shared_case(name))
    assert found.to_dict()["published_dtype"] == dtype
    if size is not None:
        assert found.to_dict()["published_weights_bytes"] == size
    if dtype is None:
        assert found.to_dict()["published_weights_bytes"] is None
        assert any("not known" in line for line in found.warnings)


@pytest.mark.parametrize("path", ["cases/dsv4-fp4-experts", "cases/dsv4-pro-fp4-experts"])
def test_experts_of_another_format(path: str) -> None:
    # about 155.6 and 850 GB without the prediction block (the cases' READMEs)
    found = published(shared_case(path))
    assert found.model is not None
    assert found.model.total_bytes == pytest.approx({"cases/dsv4-fp4-experts": 155.6e9}.get(path, 850e9), rel=0.005)


# transformers cannot lay these out in fp8, or fuses what the inventory counts apart.
NO_ORACLE = {
    **dict.fromkeys(("dbrx", "jetmoe", "lfm2_moe"), "transformers' FP8Experts does not know the config's keys"),
    "gpt_oss": "transformers' FP8Experts knows no biases",
    "minimax": "its output_gate ends in the letters of `gate`, which transformers takes for an entry that names it",
    "longcat_flash": "keeps input projections for experts that compute nothing",
}
ROUTERS = ["gate", "router", "router.gate", "gate.wg", "shared_expert_gate", "router.layer"]


@pytest.mark.parametrize("family", sorted(set(SAMPLERS) - set(NO_ORACLE)))
def test_fp8_as_transformers_lays_it_out(family: str) -> None:
    """Two random configs a family, 92 in all: blocks of random widths, lists of layers and parts that stay in bf16."""
    for seed in range(2):
        r = random.Random(f"fp8 {family} {seed}")
        values = SAMPLERS[family](r)
        picked = r.choice(["model.layers.*.self_attn", "model.layers.0", "experts", "o_proj", "nothing_proj"])
        settings = {
            "quant_method": "fp8",
            "activation_scheme": "dynamic",
            "weight_block_size": [1, r.choice((3, 4, 16, 128))],
            "modules_to_not_convert": ["lm_head", *ROUTERS, picked],
        }
        module = quantized.quantized(family, values, settings)
        found = published(quantized.saved(family, values, settings))
        if any(re.search(rf"(^|\.)({picked})(\.|$)", name) for name, _ in module.named_parameters()):
            assert found.model is not None, found.notes
            assert found.model.total_bytes == quantized.stored_bytes(module), (values, settings)
        else:
            assert found.model is None
            assert picked in found.notes[0]


SMALL = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 128,
    "moe_intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "decoder_sparse_step": 1,
    "model_type": "qwen3_moe",
    "dtype": "bfloat16",
}


def test_nothing_is_assumed() -> None:
    assert published(SMALL).dtype == "bf16"
    assert published({**SMALL, "dtype": "float32"}).dtype == "fp32"
    for unsaid in ({**SMALL, "dtype": None}, {**SMALL, "dtype": "auto"}):
        found = moewright.inspect(unsaid).to_dict()
        assert found["published_dtype"] is None
        assert found["published_weights_bytes"] is None
    strange = published({**SMALL, "quantization_config": {"quant_method": "aqlm"}})
    assert strange.total_bytes is None
    assert "aqlm" in strange.notes[0]


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        ({"quant_method": "gptq", "bits": "four"}, "bits"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 0}, "group_size"),
        ({"quant_method": "awq", "bits": 4, "modules_to_not_convert": "lm_head"}, "modules_to_not_convert"),
        ({"quant_method": "fp8", "weight_block_size": [128, -1]}, "weight_block_size"),
        ({"quant_method": "compressed-tensors", "config_groups": []}, "config_groups"),
        ({"quant_method": "compressed-tensors", "config_groups": {"a": {"weights": {"num_bits": 99}}}}, "num_bits"),
        ({"quant_method": "compressed-tensors", "ignore": ["re:(("], "config_groups": {}}, "regular expression"),
        ({"quant_method": "fp8", "modules_to_not_convert": ["x"] * 100_000}, "entries"),
    ],
)
def test_settings_of_the_wrong_kind_are_named(quantization: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        moewright.inspect({**SMALL, "quantization_config": quantization})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


LISTS = [
    ["re:.*mlp\\.experts.*"],
    ["model.layers.0.mlp.experts", "model.layers.1.mlp.experts"],
    ["*.mlp.experts*"],
    ["model.layers.*.mlp.experts"],
    [
        f"model.layers.{i}.mlp.experts.{e}.{name}_proj"
        for i in (0, 1)
        for e in range(4)
        for name in ("gate", "up", "down")
    ],
]


@pytest.mark.parametrize("entries", LISTS, ids=lambda entries: entries[0][:20])
def test_one_list_written_in_five_ways(entries: list[str]) -> None:
    settings = {"quant_method": "fp8", "weight_block_size": [16, 16], "modules_to_not_convert": ["lm_head", *entries]}
    found = published({**SMALL, "quantization_config": settings}).model
    assert found is not None
    experts = 2 * 4 * 3 * 64 * 32
    assert found.bytes["routed_experts"] == 2 * experts
    assert found.bytes["attention"] < 2 * found.params["attention"]


def test_some_experts_of_a_layer() -> None:
    settings = {
        "quant_method": "fp8",
        "weight_block_size": [32, 32],
        "modules_to_not_convert": ["model.layers.1.mlp.experts.3.down_proj"],
    }
    found = published({**SMALL, "quantization_config": settings}).model
    assert found is not None
    blocks, matrix = 2, 64 * 32
    assert found.bytes["routed_experts"] == 23 * (matrix + 4 * blocks) + 2 * matrix


def test_a_side_file_goes_with_its_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    (tmp_path / "hf_quant_config.json").write_text(
        json.dumps({"quantization": {"quant_algo": "FP8", "exclude_modules": ["lm_head"]}})
    )
    found = published(tmp_path)
    assert (found.dtype, found.source) == ("fp8", "hf_quant_config.json")
