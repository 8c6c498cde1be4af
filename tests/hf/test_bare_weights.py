"""GGUF files without a config: the keys that llama.cpp writes, around tensors of modules that transformers builds."""

import contextlib
import random
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import moewright
from moewright import UserError
from moewright.architecture.counts import active_params, total_params
from moewright.hf.config import read_config
from moewright.hf.loading import load_architecture
from tests.hf import gguf_writer, oracle
from tests.hf.samplers import SAMPLERS

# What llama.cpp's converter (convert_hf_to_gguf.py) writes of a config, key by key.
USUAL = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "context_length": "max_position_embeddings",
}
MOE = {"expert_count": "num_experts", "expert_used_count": "num_experts_per_tok"}
LOCAL = {"expert_count": "num_local_experts", "expert_used_count": "num_experts_per_tok"}
DEEPSEEK = {
    "expert_count": "n_routed_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_shared_count": "n_shared_experts",
    "leading_dense_block_count": "first_k_dense_replace",
    "expert_weights_scale": "routed_scaling_factor",
    "expert_weights_norm": "norm_topk_prob",
    "expert_group_count": "n_group",
    "expert_group_used_count": "topk_group",
}
CASES: dict[str, tuple[str, dict[str, str]]] = {
    "llama": ("llama", {"attention.key_length": "head_dim"}),
    "mixtral": ("llama", LOCAL | {"attention.key_length": "head_dim"}),
    "qwen2": ("qwen2", {}),
    "qwen2_moe": (
        "qwen2moe",
        MOE
        | {"expert_feed_forward_length": "moe_intermediate_size"}
        | {"expert_shared_feed_forward_length": "shared_expert_intermediate_size"},
    ),
    "qwen3": ("qwen3", {"attention.key_length": "head_dim"}),
    "qwen3_moe": (
        "qwen3moe",
        MOE | {"expert_feed_forward_length": "moe_intermediate_size", "attention.key_length": "head_dim"},
    ),
    "olmoe": ("olmoe", MOE),
    "gpt_oss": (
        "gpt-oss",
        LOCAL
        | {"expert_feed_forward_length": "intermediate_size", "attention.sliding_window": "sliding_window"}
        | {"attention.key_length": "head_dim"},
    ),
    "deepseek_v2": ("deepseek2", DEEPSEEK | {"attention.kv_lora_rank": "kv_lora_rank"}),
    "deepseek_v3": ("deepseek2", DEEPSEEK | {"attention.kv_lora_rank": "kv_lora_rank"}),
    "glm4_moe": ("glm4moe", DEEPSEEK | {"attention.key_length": "head_dim"}),
}


def metadata(family: str, config: dict[str, Any]) -> dict[str, Any]:
    word, more = CASES[family]
    keys: dict[str, Any] = {"general.architecture": word, "general.file_type": 1}
    keys["tokenizer.ggml.tokens"] = [f"w{number}" for number in range(config["vocab_size"])]
    for key, name in (USUAL | more).items():
        if config.get(name) is not None:
            keys[f"{word}.{key}"] = config[name]
    if family.startswith("deepseek"):
        if config["q_lora_rank"] is not None:
            keys[f"{word}.attention.q_lora_rank"] = config["q_lora_rank"]
        keys[f"{word}.rope.dimension_count"] = config["qk_rope_head_dim"]
        keys[f"{word}.attention.key_length"] = config["qk_nope_head_dim"] + config["qk_rope_head_dim"]
        keys[f"{word}.attention.value_length"] = config["v_head_dim"]
        keys[f"{word}.expert_gating_func"] = 2 if family == "deepseek_v3" else 1
        keys[f"{word}.attention.head_count_kv"] = 1  # as llama.cpp has latent attention
    return keys


def values_of(family: str, r: random.Random) -> dict[str, Any]:
    values = SAMPLERS[family](r) | {"attention_bias": False}
    if family in ("qwen2_moe", "qwen3_moe"):  # dense layers between are not among a file's keys
        values |= {"decoder_sparse_step": 1, "mlp_only_layers": []}
    if family == "llama":
        values |= {"mlp_bias": False}
    if family == "qwen3_moe":
        values |= {"norm_topk_prob": True}
    if family in ("qwen2", "qwen3", "qwen2_moe", "qwen3_moe"):
        values |= {"use_sliding_window": False, "layer_types": None}
    if family in ("mixtral", "olmoe", "qwen2", "qwen2_moe"):
        values.pop("head_dim", None)
        values |= {"sliding_window": None} if family == "mixtral" else {}
    if family == "gpt_oss":
        values |= {"attention_bias": True, "layer_types": None}
    if family == "deepseek_v2":
        values |= {"topk_method": "greedy", "n_group": 1, "topk_group": 1, "mlp_bias": False}
    return values


@pytest.mark.parametrize("family", sorted(CASES))
def test_the_keys_of_a_file_say_what_the_config_says(family: str, tmp_path: Path) -> None:
    r = random.Random(f"gguf {family}")
    for number in range(4):
        module = oracle.build(family, values_of(family, r))
        config = oracle.saved_config(module)
        if family == "qwen3_moe":  # written under another name
            config["num_experts"] = module.config.num_experts
        path = tmp_path / f"model-{number}.gguf"
        gguf_writer.write(path, metadata(family, config), module)
        read, theirs = load_architecture(path).architecture, read_config(config).architecture
        assert total_params(read) == oracle.count(module), config
        assert active_params(read) == active_params(theirs)
        published = moewright.inspect(path).published
        assert published.total_bytes == 2 * oracle.count(module)


def small(tmp_path: Path, **changed: Any) -> Path:
    module = oracle.build("qwen3", {**SAMPLERS["qwen3"](random.Random(3)), "attention_bias": False})
    keys = metadata("qwen3", oracle.saved_config(module)) | changed
    gguf_writer.write(tmp_path / "model.gguf", keys, module)
    return tmp_path / "model.gguf"


def test_parts_and_folders(tmp_path: Path) -> None:
    whole = small(tmp_path)
    assert load_architecture(tmp_path).name == "model"
    wanted = load_architecture(whole).architecture
    part = tmp_path / "big-00001-of-00001.gguf"
    whole.rename(part)
    assert load_architecture(part).name == "big"
    assert not any("parts are here" in warning for warning in load_architecture(part).warnings)
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    (lonely / "big-00001-of-00003.gguf").write_bytes(part.read_bytes())
    assert any(warning.startswith("1 of 3 parts are here") for warning in load_architecture(lonely).warnings)
    assert load_architecture(tmp_path).architecture == wanted
    small(tmp_path)
    with pytest.raises(UserError, match="several GGUF models; name one"):
        load_architecture(tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"general.architecture": "qwen9moe"}, "is not one whose keys moewright reads.*qwen3moe"),
        ({"general.architecture": 7}, "general.architecture: missing"),
        ({"qwen3.block_count": 10**9}, "num_hidden_layers: expected"),
        ({"qwen3.block_count": 10**6}, "more than 1000 layers"),
        ({"qwen3.attention.head_count": 0}, "num_attention_heads"),
        ({"qwen3.attention.head_count": 2.5}, "num_attention_heads"),
        ({"qwen3.attention.head_count_kv": [1, 2]}, "unlike layers"),
        ({"qwen3.embedding_length": "wide"}, "hidden_size"),
    ],
)
def test_keys_that_say_nothing_fit(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        load_architecture(small(tmp_path, **changed))
    assert str(refusal.value).startswith(str(tmp_path))
    assert "\n" not in str(refusal.value)


def test_safetensors_without_a_config_say_what_they_hold(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(10), "b": torch.zeros(3, 4, dtype=torch.bfloat16)}, tmp_path / "model.safetensors")
    for place in (tmp_path, tmp_path / "model.safetensors"):
        with pytest.raises(UserError, match=r"22 numbers in 2 tensors, 64 B; .*config\.json"):
            load_architecture(place)


def test_random_bytes_after_the_magic_are_one_line(tmp_path: Path) -> None:
    r = random.Random("gguf bytes")
    good = small(tmp_path).read_bytes()
    path = tmp_path / "broken.gguf"
    for _ in range(200):
        bytes_ = bytearray(good[: r.randrange(4, 3000)] if r.random() < 0.3 else good)
        for _ in range(r.randrange(1, 6)):
            place = r.randrange(4, min(len(bytes_), 2500) + 1) - 1
            bytes_[place : place + 8] = struct.pack("<Q", r.choice((0, 1, 2**31, 2**62, r.randrange(2**16))))[
                : r.choice((1, 4, 8))
            ]
        path.write_bytes(bytes_)
        with contextlib.suppress(UserError):  # nothing else is raised
            load_architecture(path)
