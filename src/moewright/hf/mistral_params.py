"""params.json, in which Mistral describes its models, in the words of a Hugging Face config.json.

Source: `TransformerArgs` and `MoeArgs` of mistral-inference 1.6 (src/mistral_inference/args.py, moe.py).
"""

from collections.abc import Mapping
from typing import Any

from moewright.complaints import hint
from moewright.errors import UserError
from moewright.quantities import brief

FILE = "params.json"
_NAMES = {
    "dim": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "hidden_dim": "intermediate_size",
    "vocab_size": "vocab_size",
    "norm_eps": "rms_norm_eps",
    "rope_theta": "rope_theta",
    "sliding_window": "sliding_window",
    "max_seq_len": "max_position_embeddings",
    "max_position_embeddings": "max_position_embeddings",
    "tied_embeddings": "tie_word_embeddings",
}
_NEEDED = ("dim", "n_layers", "n_heads", "n_kv_heads", "head_dim", "hidden_dim", "vocab_size")
_MOE = {"num_experts": "num_local_experts", "num_experts_per_tok": "num_experts_per_tok"}
_NEUTRAL = ("max_batch_size", "model_type")
_TOWERS = ("vision_encoder", "audio_encoder", "multimodal")
_ROPE_THETA = 1e6
"""Where the file has none."""


def is_mistral_params(values: Mapping[str, Any]) -> bool:
    """Whether a mapping speaks Mistral's words."""
    return "dim" in values and "n_layers" in values


def config_of_params(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The config.json that says the same, and what its reader should know.

    The dense models are `mistral`, those with `moe` are `mixtral`. Raises UserError for a key that is missing, unknown,
    or of a model that these two are not.

    >>> dense = dict(dim=64, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=16, hidden_dim=128, vocab_size=1000)
    >>> config_of_params(dense)[0]["model_type"]
    'mistral'
    """
    if values.get("model_type", "transformer") != "transformer":
        raise UserError(f"model_type: {brief(values['model_type'])} of a params.json is not read; transformer is")
    if missing := [name for name in _NEEDED if name not in values]:
        raise UserError(f"{missing[0]}: missing; a params.json says it")
    config: dict[str, Any] = {"model_type": "mistral", "rope_theta": _ROPE_THETA, "sliding_window": None}
    warnings = []
    for name, value in values.items():
        if name in _NAMES:
            if value is not None:
                config[_NAMES[name]] = value
        elif name == "moe":
            if value is not None:
                config |= {"model_type": "mixtral"} | _mixture(value)
        elif name in _TOWERS:
            warnings.append(f"{name} is left out: only the language model is counted")
        elif name not in _NEUTRAL and value is not None:
            raise UserError(f"{name}: is not understood in a params.json{hint(name, [*_NAMES, 'moe'])}")
    return config, warnings


def _mixture(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"moe: expected a mapping, found {brief(value)}")
    for name in (*_MOE, *value):
        if name not in value:
            raise UserError(f"moe.{name}: missing; a params.json says it")
        if name not in _MOE:
            raise UserError(f"moe.{name}: is not understood in a params.json{hint(name, _MOE)}")
    return {_MOE[name]: size for name, size in value.items()}
