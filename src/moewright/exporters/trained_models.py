"""The model of a run by what its trainer logged of it: Megatron-LM's arguments, and OLMo-core's config."""

import re
from collections.abc import Mapping
from typing import Any

from moewright.architecture.spec import Architecture
from moewright.errors import UserError
from moewright.exporters import megatron, olmo_core
from moewright.quantities import brief

_WHOLE = {"num_layers", "padded_vocab_size", "normalization", "position_embedding_type", "add_bias_linear", "swiglu"}
"""Megatron-LM prints all of its arguments; a list without these is somebody's choice of them, which says no model."""
_PATTERN = re.compile(r"\[(\d)\]\*(\d+)")


def trained_model(config: Mapping[str, Any]) -> Architecture | None:
    """The architecture that a run's settings describe; None where they are not of these trainers.

    UserError for settings that describe a model which the exporter of that trainer does not know.

    >>> trained_model({"lr": 0.1}) is None
    True
    """
    model = config.get("model")
    try:
        if config.keys() >= _WHOLE:
            return _by_megatron(config)
        if isinstance(model, dict) and _has_mixers(model):
            return olmo_core.read(model)
    except UserError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"the trainer's settings of the model are not understood: {brief(str(error))}") from None
    return None


def _has_mixers(model: Mapping[str, Any]) -> bool:
    """Whether a block is as OLMo-core 3 writes it, or all of several kinds are."""
    block = model.get("block")
    blocks = block.values() if isinstance(block, dict) and "sequence_mixer" not in block else [block]
    return "d_model" in model and all(isinstance(each, dict) and "sequence_mixer" in each for each in blocks)


def _by_megatron(given: Mapping[str, Any]) -> Architecture:
    if given["add_bias_linear"]:
        raise UserError("Megatron-LM's run has biases in all linear layers (add_bias_linear), which no spec here has")
    if given["position_embedding_type"] not in ("rope", "none"):
        raise UserError(f"Megatron-LM's run has positions of another kind: {brief(given['position_embedding_type'])}")
    settings = {megatron.SETTING_NAMES.get(name, name): value for name, value in given.items() if value is not None}
    layers = settings["num_layers"]
    if settings.get("multi_latent_attention"):
        settings.setdefault("q_lora_rank", None)
    else:
        for name in ("qk_layernorm", "add_qkv_bias"):
            settings.setdefault(name, False)
        if not settings.get("group_query_attention"):
            settings["num_query_groups"] = settings["num_attention_heads"]
    if settings.get("squared_relu"):
        settings |= {"activation_func": "relu2", "gated_linear_unit": False}
    else:
        settings |= {
            "activation_func": "silu" if settings["swiglu"] else "gelu",
            "gated_linear_unit": settings["swiglu"],
        }
    for name in ("moe_layer_freq", "window_attn_skip_freq"):
        if name in settings:
            settings[name] = _pattern(settings[name], layers, every=name == "moe_layer_freq")
    if "window_size" in settings:
        settings["window_size"] = _whole_numbers(settings["window_size"])
        settings.setdefault("window_attn_skip_freq", [1] * layers)
    if "num_moe_experts" in settings:
        settings.setdefault("moe_layer_freq", [1] * layers)
        settings.setdefault("moe_ffn_hidden_size", settings["ffn_hidden_size"])
        for name in ("moe_router_pre_softmax", "moe_shared_expert_gate"):  # Megatron-LM's defaults
            settings.setdefault(name, False)
        settings.setdefault("moe_router_score_function", "softmax")
    model = {
        **settings,
        "vocab_size": settings["padded_vocab_size"],
        "share_embeddings_and_output_weights": not settings.get("untie_embeddings_and_output_weights"),
    }
    return megatron.read({"transformer_config": settings, "gpt_model": model})


def _pattern(value: Any, layers: int, every: bool) -> list[int]:
    """Layers by a list, by a pattern as ([0]*1+[1]*60), or by a number: each so many-th one, or all but it."""
    if isinstance(value, str) and "*" in value:
        return [int(kind) for kind, times in _PATTERN.findall(value) for _ in range(int(times))]
    if isinstance(value, str | list):
        return _whole_numbers(value)
    return [int((place % value == 0) if every else ((place + 1) % value != 0)) for place in range(layers)]


def _whole_numbers(value: Any) -> list[int]:
    """A list, or one as Python prints it."""
    return [int(each) for each in (re.findall(r"-?\d+", value) if isinstance(value, str) else value)]
