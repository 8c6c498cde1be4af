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
from tests.hf import oracle, quantized
from tests.hf.samplers import SAMPLERS

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def published(source: str | Path | dict[str, Any]) -> Published:
    return moewright.inspect(source).published


def shared_case(name: str) -> Path:
    if not (SHARED / name).exists():
        pytest.skip(f"shared/data/{name} is not beside the project")
    return SHARED / name


# Bytes of all tensors, in files that nobody here wrote. `tree`: a public survey of 2026 that states the bytes of the
# weight files in the publisher's repository at a revision; the others name an index file and its metadata.total_size.
PUBLISHED_SIZES: dict[str, tuple[float, str, dict[str, Any]]] = {
    "deepseek-ai--DeepSeek-V3": (688_586_727_753, "tree at afb92e1f", {}),
    "deepseek-ai--DeepSeek-R1": (688_586_727_753, "tree at 56d4cbbb", {}),
    "Qwen--Qwen3-30B-A3B": (61_066_358_784, "github JasonWu543/vllm_transgqa; tree at ad44e777: 61,066,575,648", {}),
    "Qwen--Qwen3-235B-A22B": (470_191_875_096, "tree at 8efa6172", {}),
    "moonshotai--Kimi-K2-Instruct": (1_029_190_981_272, "tree at fd1984e2", {}),
    "mistralai--Mixtral-8x22B-v0.1": (281_241_268_224, "github tbressers/WizardLM-2-8x22B, of equal shapes", {}),
    "meta-llama--Meta-Llama-3.1-8B": (16_060_522_496, "github YouriLalain/1PARAMMYL-8B-ModelStock, a merge", {}),
    "meta-llama--Meta-Llama-3.1-70B": (
        282_215_219_200,
        "github MiMiGame-1/Reflection-Llama-3.1-70B, a fine-tune in fp32",
        {"torch_dtype": "float32", "dtype": "float32"},
    ),
    "Qwen--Qwen3-1.7B": (3_441_149_952, "github root-hypercube/qwen3-mlx", {}),
    "openai--gpt-oss-120b": (60.8 * 2**30, "model card, arXiv 2508.10925, table 1: 60.8 GiB", {}),
    "openai--gpt-oss-20b": (12.8 * 2**30, "model card, arXiv 2508.10925, table 1: 12.8 GiB", {}),
    "moonshotai--Kimi-K2.5": (594e9, "model card: 594 GB (shared case kimi-int4-experts)", {}),
}
BITSANDBYTES_INT8 = {
    "quant_method": "bitsandbytes",
    "load_in_8bit": True,
    "load_in_4bit": False,
    "llm_int8_skip_modules": None,
}
QWEN3_14B = {
    "model_type": "qwen3",
    "hidden_size": 5120,
    "intermediate_size": 17408,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


@pytest.mark.parametrize("name", sorted(PUBLISHED_SIZES))
def test_published_sizes(name: str) -> None:
    size, _, changes = PUBLISHED_SIZES[name]
    values = json.loads(shared_case(f"configs/{name}.json").read_text()) | changes
    assert published(values).total_bytes == pytest.approx(size, rel=0.005)


def test_published_sizes_of_tools() -> None:
    """To the byte: metadata.total_size of index files that bitsandbytes and mlx wrote."""
    # github jeevanchaps/Meta-Llama3.1-8B-Instruct-assessment, at 3c36ac64
    llama = json.loads(shared_case("configs/meta-llama--Meta-Llama-3.1-8B.json").read_text())
    llama |= {"quantization_config": BITSANDBYTES_INT8, "torch_dtype": "float16"}
    assert published(llama).total_bytes == 9_086_705_888
    # github root-hypercube/qwen3-mlx, Qwen3-14B-MLX-4bit, at 30b54024
    assert published({**QWEN3_14B, "quantization": {"group_size": 64, "bits": 4}}).total_bytes == 8_307_783_680


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        ({"quant_method": "awq", "bits": 4, "version": "gemv"}, "gemm"),
        ({"quant_method": "awq", "bits": 4, "zero_point": False}, "zero points"),
        ({"quant_method": "gptq", "bits": 5}, "GPTQ"),
        ({"quant_method": "modelopt", "quant_algo": "W4A16_AWQ"}, "W4A16_AWQ"),
        ({"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 3}}}, "HQQ"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "transformers"),
        ({"quant_method": "torchao", "quant_type": "int8_weight_only"}, "version 2"),
        (
            {
                "quant_method": "compressed-tensors",
                "format": "pack-quantized",
                "config_groups": {"a": {"targets": ["Linear"], "weights": {"num_bits": 3, "group_size": 32}}},
            },
            "versions",
        ),
    ],
)
def test_what_no_config_says_is_not_known(quantization: dict[str, Any], words: str) -> None:
    found = published({**SMALL, "quantization_config": quantization})
    assert found.total_bytes is None
    assert words in found.notes[0]


def test_prediction_blocks_of_converted_files_are_not_known() -> None:
    values = json.loads(shared_case("configs/deepseek-ai--DeepSeek-V3.json").read_text())
    found = published({**values, "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 64}})
    assert found.total_bytes is None
    assert "prediction" in found.notes[0]


def test_group_order_of_compressed_tensors() -> None:
    """A group size alone means groups; `actorder: group` adds an int32 an input."""

    def total(**weights: Any) -> int:
        group = {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "group_size": 32, **weights}}
        settings = {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"a": group}}
        found = published({**SMALL, "quantization_config": {**settings, "ignore": ["lm_head"]}}).total_bytes
        assert found is not None
        return found

    assert total() == total(strategy="group") == total(actorder="static")
    inputs = 2 * (4 * 64 + 4 * (64 + 64 + 32))  # of two layers' q, k, v and o, and of four experts
    assert total(actorder="group") - total() == 4 * inputs


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
        ("configs/moonshotai--Kimi-K3.json", None, None),  # names of its latent projections are not public here
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
    **dict.fromkeys(
        ("dbrx", "jetmoe", "lfm2_moe", "nemotron_h", "aria_text"),
        "transformers' FP8Experts does not know the config's keys",
    ),
    "gpt_oss": "transformers' FP8Experts knows no biases",
    "minimax": "its output_gate ends in the letters of `gate`, which transformers takes for an entry that names it",
    "longcat_flash": "keeps input projections for experts that compute nothing",
    **dict.fromkeys(
        (
            "qwen3_omni_moe_text",
            "step3p5",
            "deepseek_ocr2_text",
            "unlimited_ocr_text",
            "ernie4_5_vl_moe_text",
            "glm5_next_text",
            "mistral_large4_text",
            "muse_spark_text",
        ),
        "transformers has no model with a head of it alone to convert",
    ),
}
ROUTERS = ["gate", "router", "router.gate", "gate.wg", "shared_expert_gate", "router.layer"]


NOT_GUESSED = {"inkling_text", "inkling2_text", "inkling2_loop_text", "qwen4_exp_text", "zaya", "zamba2"}
"""With weights that no other family has, or layers that files number otherwise:
see test_formats_of_weights_that_only_one_family_has_are_not_guessed."""


@pytest.mark.parametrize("family", sorted(set(SAMPLERS) - set(NO_ORACLE) - NOT_GUESSED))
def test_fp8_as_transformers_lays_it_out(family: str) -> None:
    """Two random configs a family: blocks of random widths, lists of layers and parts that stay in bf16."""
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


WRITTEN = [
    json.loads(line) for line in Path(__file__).with_name("written_by_tools.jsonl").read_text("utf-8").splitlines()
]
LEFT_OUT = dict.fromkeys(
    ("bitsandbytes nf4", "bitsandbytes nf4 twice"), "the length of its JSON, which follows the sizes"
)


@pytest.mark.parametrize("line", WRITTEN, ids=lambda line: f"{line['kind']} {line['family']}")
def test_bytes_of_small_checkpoints_that_tools_wrote(line: dict[str, Any], tmp_path: Path) -> None:
    """From the config alone, against the tensors in the files of `python -m tests.hf.tool_checkpoints`."""
    (tmp_path / "config.json").write_text(json.dumps(line["config"]))
    if line["side"] is not None:
        (tmp_path / "hf_quant_config.json").write_text(json.dumps(line["side"]))
    found = published(tmp_path)
    if line["tool"].startswith("amd-quark") and line["family"] == "qwen3_moe":  # left the experts in bf16
        assert found.total_bytes is None
        assert "experts" in found.notes[0]
    else:
        assert found.total_bytes == pytest.approx(line["bytes"], rel=0.0003 if line["kind"] in LEFT_OUT else 0)


def test_tools_of_every_kind_are_there() -> None:
    assert len(WRITTEN) > 45
    tools = {line["tool"].partition(" ")[0] for line in WRITTEN}
    assert tools >= {"auto-round", "bitsandbytes", "compressed-tensors", "mlx-lm", "nvidia-modelopt", "torchao"}
    assert tools >= {"amd-quark", "autoawq", "gptqmodel", "hqq"}


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
        ({"quant_method": "fp8", "modules_to_not_convert": ["x"] * 200_001}, "entries"),
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


def test_single_modules_that_modelopt_converted_from_fp8() -> None:
    """DeepSeek-V4's NVFP4 folders are fp8 as before but for the experts that `quantized_layers` lists."""
    fp8 = {"quant_method": "fp8", "weight_block_size": [32, 32], "modules_to_not_convert": ["lm_head", "gate"]}
    layers = {f"layers.{index}.mlp.experts": {"quant_algo": "NVFP4", "group_size": 16} for index in (0, 1)}
    before, after = (
        published({**SMALL, "quantization_config": {**fp8, **more}}).model
        for more in ({}, {"quantized_layers": layers})
    )
    assert before is not None
    assert after is not None
    matrix, matrices = 64 * 32, 2 * 4 * 3
    assert after.bytes["routed_experts"] == matrices * (matrix // 2 + matrix // 16 + 8)
    assert after.bytes["attention"] == before.bytes["attention"]


def test_what_nothing_uses_is_not_in_the_files() -> None:
    """LongCat-Flash: transformers' module has projections for experts that compute nothing, 179B of its 741B."""
    values = oracle.saved_config(oracle.build("longcat_flash", SAMPLERS["longcat_flash"](random.Random(3))))
    values |= {"dtype": "bfloat16", "transformers_version": "4.57.0"}
    model = moewright.inspect(values)
    unused = model.params["other"]
    assert unused > 0
    assert model.published.total_bytes == 2 * (model.total_params - unused)
    assert published(values | {"transformers_version": "5.24.0"}).total_bytes is None


def test_a_class_in_a_list_keeps_nothing() -> None:
    """Meta's FP8 folder of Llama 4 lists the class of its attention beside the names of what it keeps."""
    settings = {"quant_method": "fp8", "weight_block_size": [32, 32], "modules_to_not_convert": ["lm_head"]}
    with_class = {**settings, "modules_to_not_convert": ["lm_head", "Llama4TextAttention"]}
    sizes = [published({**SMALL, "quantization_config": each}).total_bytes for each in (settings, with_class)]
    assert sizes[0] is not None
    assert sizes[0] == sizes[1]


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


def test_formats_of_weights_that_only_one_family_has_are_not_guessed() -> None:
    r = random.Random("own weights")
    for family in sorted(NOT_GUESSED):
        values = oracle.saved_config(oracle.build(family, SAMPLERS[family](r))) | {"dtype": "bfloat16"}
        assert published(values).total_bytes == 2 * moewright.inspect(values).total_params
        fp8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
        unknown = published(values | {"quantization_config": fp8})
        assert unknown.total_bytes is None
        assert "is not known, so neither is its format" in unknown.notes[0]
