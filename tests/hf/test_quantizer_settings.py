"""No word of a quantiser's settings is passed over: it is read, says nothing about bytes, or makes them unknown."""

import copy
import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING
from transformers.utils.quantization_config import QuantizationMethod

import moewright
from moewright import UserError
from moewright.hf.loading import load_architecture, published_weights
from moewright.hf.published import Published, published_as_config_says
from moewright.hf.quantization import readers
from moewright.hf.quantizer_keys import NEUTRAL, NOT_READ
from tests.hf.test_published import SMALL

MODEL: dict[str, Any] = {**SMALL, "transformers_version": "4.57.0"}
WRAPPED: dict[str, Any] = {
    "model_type": "qwen3_vl_moe",
    "text_config": {**MODEL, "model_type": "qwen3_vl_moe_text"},
}
WRITTEN = [
    json.loads(line) for line in Path(__file__).with_name("written_by_tools.jsonl").read_text("utf-8").splitlines()
]
FP8 = {"quant_method": "fp8", "weight_block_size": [32, 32], "activation_scheme": "dynamic"}
PACKED: dict[str, Any] = {
    "quant_method": "compressed-tensors",
    "format": "pack-quantized",
    "ignore": ["lm_head"],
    "config_groups": {"a": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "group_size": 32}}},
}


def published(config: Any) -> Published:
    return published_weights(load_architecture(config))


def quantized(settings: Mapping[str, Any], **more: Any) -> Published:
    return published({**MODEL, **more, "quantization_config": settings})


def test_every_quantiser_of_transformers_is_read_or_has_a_reason() -> None:
    there = {method.value for method in QuantizationMethod} | {
        name.removesuffix("_4bit").removesuffix("_8bit") for name in AUTO_QUANTIZATION_CONFIG_MAPPING
    }
    assert len(there) > 24
    assert there <= readers() | set(NOT_READ)
    assert not readers() & set(NOT_READ)
    assert readers() == set(NEUTRAL)
    for method, reason in NOT_READ.items():
        found = quantized({"quant_method": method, "bits": 4})
        assert found.total_bytes is None
        assert reason in found.notes[0]


# What a reader needs before it can say anything.
NEEDED: dict[str, dict[str, Any]] = {"gptq": {"bits": 4}, "bitsandbytes": {"load_in_4bit": True}}


@pytest.mark.parametrize("method", sorted(readers() & set(AUTO_QUANTIZATION_CONFIG_MAPPING) | {"bitsandbytes"}))
def test_settings_of_transformers_own_classes_are_accounted_for(method: str) -> None:
    """Every argument of the class, at its default, and at null."""
    made: Any = AUTO_QUANTIZATION_CONFIG_MAPPING["bitsandbytes_4bit" if method == "bitsandbytes" else method]
    arguments = inspect.signature(made).parameters.values()
    defaults = {each.name: each.default for each in arguments if each.default is not inspect.Parameter.empty}
    if method in ("compressed-tensors", "hqq", "quark", "torchao"):
        pytest.skip("its class takes other words than its files have")
    defaults = json.loads(json.dumps(defaults))
    if method == "mxfp8":
        defaults |= {"weight_block_size": [1, 32], "scale_fmt": "ue8m0"}  # its class has those of fp8
    found = quantized({**defaults, "quant_method": method, **NEEDED.get(method, {})})
    assert not any("not understood" in note for note in found.notes), found.notes
    assert found.total_bytes is not None, found.notes


def outcome(config: dict[str, Any]) -> str:
    """What is said where bytes are not."""
    try:
        found = published(config)
    except UserError as error:
        return str(error)
    return f"{found.total_bytes:,} bytes" if found.total_bytes is not None else found.notes[0]


def mappings(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where in nested settings there are mappings."""
    if isinstance(values, dict):
        yield path
        for key, inner in values.items():
            yield from mappings(inner, (*path, key))


def leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where in nested settings there are values."""
    if isinstance(values, dict):
        for key, inner in values.items():
            yield from leaves(inner, (*path, key))
    elif values is not None:
        yield path


def changed(settings: Any, path: tuple[str, ...], value: Any) -> Any:
    made = copy.deepcopy(settings)
    place = made
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return made


def case(line: dict[str, Any]) -> tuple[dict[str, Any], str, str]:
    """A written config, the key of its settings, and their reader."""
    config = line["config"]
    key = "quantization_config" if "quantization_config" in config else "quantization"
    method = config[key].get("quant_method") or line["kind"].partition(" ")[0]
    return {name: value for name, value in config.items() if name == key or "quant" not in name}, key, method


def is_neutral(path: tuple[str, ...], method: str) -> bool:
    """Whether a place lies beneath a key that says nothing about bytes."""
    starts = {path[:stop] for stop in range(1, len(path) + 1)}
    known = [tuple(key.split(".")) for key in NEUTRAL[method]]
    return any(
        len(start) == len(key) and all(want in ("*", have) for want, have in zip(key, start, strict=True))
        for start in starts
        for key in known
    )


KINDS = {line["kind"]: line for line in WRITTEN if line["family"] == "llama"}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_key_that_nobody_knows_makes_the_bytes_unknown(kind: str) -> None:
    """Put into every mapping of what real tools wrote."""
    config, key, method = case(KINDS[kind])
    assert published(config).total_bytes is not None
    for path in mappings(config[key]):
        told = outcome({**config, key: changed(config[key], (*path, "surprise_dtype"), "int3")})
        assert "surprise_dtype" in told or is_neutral(path, method), (path, told)
        empty = published({**config, key: changed(config[key], (*path, "surprise_dtype"), None)})
        if not is_neutral(path, method) and path != ("config_groups",):  # a group without anything
            assert empty.total_bytes is None or any("surprise_dtype" in note for note in empty.notes)


# Read for one of a few words; all others mean one thing.
FREE_WORDS = {("version",), ("provider",), ("quant_config", "offload_meta")}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_value_that_nobody_knows_is_named(kind: str) -> None:
    config, key, method = case(KINDS[kind])
    for path in leaves(config[key]):
        if is_neutral(path, method) or path in FREE_WORDS:
            continue
        told = outcome({**config, key: changed(config[key], path, "surprise")})
        assert path[-1] in told or "surprise" in told, (path, told)


def test_a_slip_is_told() -> None:
    found = quantized({**FP8, "module_to_not_convert": ["lm_head", "gate"]})
    assert found.total_bytes is None
    assert "did you mean modules_to_not_convert?" in found.notes[0]
    many = quantized({**FP8, **{f"key{number}": number for number in range(1000)}})
    assert "and 997 more" in many.notes[0]
    assert len(many.notes[0]) < 300


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({**PACKED, "quantization_status": "initialized"}, "quantization_status"),
        ({**PACKED, "format": "marlin-24"}, "marlin-24"),
        ({**PACKED, "format": "dense"}, "dense"),
        ({**PACKED, "transform_config": {"config_groups": {"u": {"type": "hadamard"}}}}, "transform_config"),
        ({**PACKED, "sparsity_config": {"format": "sparse-24-bitmask"}}, "sparsity_config"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 32}, "group_size"),
        ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, "quantized_layers"),
        ({"quant_method": "modelopt", "quant_algo": "FP8", "pre_quant_scale": True}, "pre_quant_scale"),
        (
            {"quant_method": "modelopt", "quant_algo": "FP8", "config_groups": {"a": {"weights": {"num_bits": 4}}}},
            "num_bits",
        ),
        ({"quant_method": "gptq", "bits": 4, "checkpoint_format": "bitblas"}, "bitblas"),
        ({"quant_method": "gptq", "bits": 4, "pack_dtype": "int8"}, "pack_dtype"),
        ({"quant_method": "gptq", "bits": 4, "adapter": {"rank": 64}}, "adapter"),
        ({"quant_method": "awq", "bits": 4, "modules_in_block_to_quantize": [["o_proj"]]}, "modules_in_block"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True, "llm_int8_has_fp16_weight": True}, "fp16_weight"),
        ({"quant_method": "fp8", "fmt": "e3m4"}, "e3m4"),
        ({"quant_method": "mxfp8", "weight_block_size": [128, 128]}, "weight_block_size"),
        ({"quant_method": "torchao", "quant_type": "float8_weight_only", "untie_embedding_weights": True}, "untie"),
        ({"bits": 4, "group_size": 64, "mode": "mxfp4"}, "group_size"),
        ({"bits": 4, "group_size": 64, "embedding": {"bits": 8, "sideways": 3}}, "sideways"),
        ({"quant_method": "auto-round", "bits": 4, "act_bits": 8}, "act_bits"),
        ({"quant_method": "auto-round", "bits": 4, "to_quant_block_names": "model.layers.3"}, "to_quant_block_names"),
    ],
)
def test_what_changes_bytes_and_is_not_understood(settings: dict[str, Any], words: str) -> None:
    found = quantized(settings)
    assert found.total_bytes is None
    assert words in found.notes[0]


def test_two_places_that_say_different_things() -> None:
    other = {**FP8, "weight_block_size": [64, 64]}
    same = published({**MODEL, "quantization_config": FP8, "compression_config": FP8})
    assert same.total_bytes == quantized(FP8).total_bytes
    assert published({**MODEL, "quantization_config": FP8, "compression_config": other}).total_bytes is None
    lists = {**FP8, "modules_to_not_convert": ["lm_head"], "ignored_layers": ["lm_head", "o_proj"]}
    assert "ignored_layers" in quantized(lists).notes[0]
    wrapped = copy.deepcopy(WRAPPED)
    assert published({**wrapped, "quantization_config": FP8}).total_bytes is not None
    twice = copy.deepcopy(wrapped)
    twice["text_config"] |= {"quantization_config": FP8}
    assert published({**twice, "quantization_config": FP8}).total_bytes is not None
    found = published({**twice, "quantization_config": other})
    assert found.total_bytes is None
    assert "wrapper" in found.notes[0]
    assert published({**MODEL, "torch_dtype": "float32"}).total_bytes is None


@pytest.mark.parametrize("key", ["quantization_bit", "quantize_config", "use_fp8", "weight_bits", "quant_type"])
def test_words_of_storage_anywhere_in_a_config(key: str) -> None:
    """A vendor's own key beside the architecture; also in the wrapper of a multimodal model."""
    found = published({**MODEL, key: 4})
    assert found.total_bytes is None
    assert key in found.notes[0]
    assert published({**MODEL, key: 0}).total_bytes == published(MODEL).total_bytes
    wrapped = copy.deepcopy(WRAPPED)
    assert published({**wrapped, key: 4}).total_bytes is None


def test_a_side_file_with_a_key_that_nobody_knows(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(MODEL))
    side: dict[str, Any] = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}

    def total() -> int | None:
        (tmp_path / "hf_quant_config.json").write_text(json.dumps(side))
        return published(tmp_path).total_bytes

    assert total() is not None
    side["quantization"]["lora_rank"] = 8
    assert total() is None
    del side["quantization"]["lora_rank"]
    side["rotation"] = {"size": 64}
    assert total() is None
    del side["rotation"]
    side["quantization"]["quant_algo"] = None
    side["quantization"]["new_algorithm"] = "FP3"
    assert total() is None


def test_a_side_file_that_contradicts_the_config(tmp_path: Path) -> None:
    settings = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]}
    (tmp_path / "config.json").write_text(json.dumps({**MODEL, "quantization_config": settings}))
    for algorithm, is_known in (("NVFP4", True), ("FP8", False)):
        side = {"quantization": {"quant_algo": algorithm, "exclude_modules": ["lm_head"]}}
        (tmp_path / "hf_quant_config.json").write_text(json.dumps(side))
        assert (published(tmp_path).total_bytes is not None) == is_known


def test_experts_that_compressed_tensors_may_have_left() -> None:
    """transformers 5 holds a layer's experts as one tensor, which is no linear layer (see tool_checkpoints)."""
    before, after = quantized(PACKED), quantized(PACKED, transformers_version="5.3.0")
    assert before.total_bytes is not None
    assert after.total_bytes is None
    assert "experts" in after.notes[0]
    split = {**PACKED, "ignore": ["lm_head", "model.layers.1.mlp.experts.3.down_proj"]}
    assert quantized(split, transformers_version="5.3.0").total_bytes is not None
    assert quantized(PACKED, transformers_version="5.3.0", auto_map={"AutoConfig": "x.Y"}).total_bytes is not None
    kept = {**PACKED, "ignore": ["lm_head", "re:.*mlp.experts.*"]}
    assert quantized(kept, transformers_version="5.3.0").total_bytes is not None
    assert moewright.inspect({**MODEL, "quantization_config": PACKED}).total_params > 0


def test_mxfp8_of_transformers() -> None:
    settings = {"quant_method": "mxfp8", "modules_to_not_convert": ["lm_head"]}
    found = quantized(settings)
    assert found.model is not None
    experts = 2 * 4 * 3 * 64 * 32
    assert found.model.bytes["routed_experts"] == experts + experts // 32


def test_settings_are_read_without_their_file() -> None:
    imported = load_architecture({**MODEL, "quantization_config": FP8})
    assert imported.config is not None
    said = published_as_config_says(imported.architecture, "qwen3_moe", imported.config)
    assert said.total_bytes == quantized(FP8).total_bytes
