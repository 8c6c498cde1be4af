"""What a GGUF file says of its model, in the words of a Hugging Face config.json.

Sources: the keys of ggml-org/ggml, docs/gguf.md, and of llama.cpp's gguf-py/gguf/constants.py; what each means to
transformers is in transformers 5.24, integrations/ggml.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moewright.complaints import hint
from moewright.errors import UserError
from moewright.quantities import brief

Metadata = Mapping[str, Any]

_USUAL = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
    "context_length": "max_position_embeddings",
}
_HEAD = {"attention.key_length": "head_dim"}
_EXPERTS = {
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
}
_DEEPSEEK = {
    "expert_count": "n_routed_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_shared_count": "n_shared_experts",
    "expert_group_count": "n_group",
    "expert_group_used_count": "topk_group",
    "expert_weights_scale": "routed_scaling_factor",
    "expert_weights_norm": "norm_topk_prob",
    "leading_dense_block_count": "first_k_dense_replace",
}
_SIGMOID = 2
"""Of expert_gating_func (llama.cpp, LLAMA_EXPERT_GATING_FUNC_TYPE_SIGMOID)."""


@dataclass(frozen=True)
class _Line:
    """An architecture of llama.cpp: the family, what its further keys are called there, and values that it implies."""

    family: str
    keys: Mapping[str, str] = field(default_factory=dict)
    implied: Mapping[str, Any] = field(default_factory=dict)


_LOCAL = {"expert_count": "num_local_experts", "expert_used_count": "num_experts_per_tok"}
_LINES: dict[str, _Line] = {
    "llama": _Line("llama", _HEAD),
    "mixtral": _Line("mixtral", _HEAD | _LOCAL),  # llama.cpp's word is llama too
    "qwen2": _Line("qwen2", _HEAD),
    "qwen2moe": _Line(
        "qwen2_moe",
        _EXPERTS | {"expert_shared_feed_forward_length": "shared_expert_intermediate_size"},
    ),
    "qwen3": _Line("qwen3", _HEAD),
    "qwen3moe": _Line("qwen3_moe", _HEAD | _EXPERTS, {"norm_topk_prob": True}),
    "olmoe": _Line("olmoe", _EXPERTS),
    "gpt-oss": _Line(
        "gpt_oss",
        _HEAD
        | _LOCAL
        | {"expert_feed_forward_length": "intermediate_size", "attention.sliding_window": "sliding_window"},
    ),
    "deepseek2": _Line(
        "deepseek_v2",
        _DEEPSEEK | {"attention.q_lora_rank": "q_lora_rank", "attention.kv_lora_rank": "kv_lora_rank"},
    ),
    "glm4moe": _Line("glm4_moe", _HEAD | _DEEPSEEK),
    "minimax-m2": _Line("minimax_m2", _HEAD | _LOCAL | {"expert_feed_forward_length": "intermediate_size"}),
}


def config_of_gguf(metadata: Metadata, shapes: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, Any], list[str]]:
    """The config.json that says the same as a file's keys and its tensors' shapes, and what its reader should know.

    Raises UserError for an architecture of llama.cpp that is not read and for keys that are missing.
    """
    word = metadata.get("general.architecture")
    if not isinstance(word, str):
        raise UserError("general.architecture: missing; a model's GGUF file names its architecture there")
    line = _LINES.get("mixtral" if word == "llama" and f"{word}.expert_count" in metadata else word)
    if line is None:
        known = hint(word, [name for name in _LINES if name != "mixtral"])
        raise UserError(f"general.architecture: {brief(word)} is not one whose keys moewright reads{known}")
    prefix = f"{word}."
    values: dict[str, Any] = {"model_type": line.family, **line.implied}
    names = {**_USUAL, **line.keys}
    for key, value in metadata.items():
        name = names.get(key.removeprefix(prefix)) if key.startswith(prefix) else None
        if name is not None:
            values[name] = _single(key, value)
    embedding = shapes.get("token_embd.weight")
    if embedding is None or len(embedding) != 2:
        raise UserError("token_embd.weight: missing; without it the vocabulary's size is not known")
    values["vocab_size"] = embedding[0]
    values["tie_word_embeddings"] = "output.weight" not in shapes
    warnings = []
    if word in ("llama", "mixtral", "qwen3", "qwen3moe", "olmoe", "glm4moe"):
        values["attention_bias"] = "blk.0.attn_q.bias" in shapes
    if word == "qwen2moe":
        values["qkv_bias"] = "blk.0.attn_q.bias" in shapes
    if word == "deepseek2":
        _latent_sizes(metadata, values)
    if word in ("deepseek2", "glm4moe"):
        blocks = metadata.get(f"{word}.nextn_predict_layers", 0)
        if type(blocks) is int and 0 < blocks < values.get("num_hidden_layers", 0):  # counted among the layers
            values["num_hidden_layers"] -= blocks
            values["num_nextn_predict_layers"] = blocks
    if word == "glm4moe":
        values["use_qk_norm"] = "blk.0.attn_q_norm.weight" in shapes
    if word == "gpt-oss":
        values["layer_types"] = [
            "full_attention" if index % 2 else "sliding_attention"
            for index in range(values.get("num_hidden_layers", 0))
        ]
    if any(key.startswith(f"{prefix}rope.scaling") for key in metadata):
        warnings.append(f"{prefix}rope.scaling: how the rotation is stretched is not read; it changes no count")
    return values, warnings


def _single(key: str, value: Any) -> Any:
    """A value of all layers, which some files list layer by layer."""
    if isinstance(value, list):
        if not value or any(item != value[0] for item in value):
            raise UserError(f"{key}: unlike layers of a GGUF file are not read; give its config.json")
        return value[0]
    return value


def _latent_sizes(metadata: Metadata, values: dict[str, Any]) -> None:
    """DeepSeek's latent attention: the channels of a head, which newer files have under keys of their own."""

    def size(*keys: str) -> int:
        for key in keys:
            value = metadata.get(f"deepseek2.{key}")
            if type(value) is int and value > 0:
                return value
        raise UserError(f"deepseek2.{keys[-1]}: missing; latent attention has no size without it")

    rotating = size("rope.dimension_count")
    values["qk_rope_head_dim"] = rotating
    values["qk_nope_head_dim"] = size("attention.key_length_mla", "attention.key_length") - rotating
    values["v_head_dim"] = size("attention.value_length_mla", "attention.value_length")
    values["num_key_value_heads"] = values.get("num_attention_heads")
    values.setdefault("q_lora_rank", None)
    if metadata.get("deepseek2.expert_gating_func") == _SIGMOID:
        values["model_type"] = "deepseek_v3"
    else:
        values.pop("norm_topk_prob", None)
        values["topk_method"] = "greedy"
