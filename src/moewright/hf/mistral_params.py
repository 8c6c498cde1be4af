"""params.json, in which Mistral describes its models, in the words of a Hugging Face config.json.

Sources: `TransformerArgs` and `MoeArgs` of mistral-inference 1.6 (src/mistral_inference/args.py, moe.py); for latent
attention, shared experts, YaRN and quantised weights what vllm-project/vllm
(vllm/transformers_utils/configs/mistral.py) and huggingface/transformers (integrations/mistral) make of the files.
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
    "q_lora_rank": "q_lora_rank",
    "kv_lora_rank": "kv_lora_rank",
    "qk_rope_head_dim": "qk_rope_head_dim",
    "qk_nope_head_dim": "qk_nope_head_dim",
    "v_head_dim": "v_head_dim",
    "quantization_config": "quantization_config",
    "dtype": "dtype",
}
_LATENT = ("kv_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim")
_NEEDED = ("dim", "n_layers", "n_heads", "n_kv_heads", "head_dim", "hidden_dim", "vocab_size")
_MOE = {"num_experts": "num_local_experts", "num_experts_per_tok": "num_experts_per_tok"}
_SHARED_MOE = {
    "num_experts": "n_routed_experts",
    "num_experts_per_tok": "num_experts_per_tok",
    "expert_hidden_dim": "moe_intermediate_size",
    "num_shared_experts": "n_shared_experts",
    "first_k_dense_replace": "first_k_dense_replace",
    "routed_scale": "routed_scaling_factor",
    "num_expert_groups": "n_group",
    "num_expert_groups_per_tok": "topk_group",
}
"""Of mixtures with shared experts and latent attention: Mistral Large 3, Small 4."""
_SHARED_NEEDED = ("num_experts", "num_experts_per_tok", "expert_hidden_dim")
_MOE_NEUTRAL = ("expert_parallel", "expert_model_parallel")
_YARN = {
    "factor": "factor",
    "original_max_position_embeddings": "original_max_position_embeddings",
    "beta": "beta_fast",
    "alpha": "beta_slow",
}
_NEUTRAL = ("max_batch_size", "model_type")
_TOWERS = ("vision_encoder", "audio_encoder", "multimodal")
_ROPE_THETA = 1e6
"""Where the file has none."""


def is_mistral_params(values: Mapping[str, Any]) -> bool:
    """Whether a mapping speaks Mistral's words."""
    return "dim" in values and "n_layers" in values


def config_of_params(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The config.json that says the same, and what its reader should know.

    The dense models are `mistral`, or `ministral3` where positions are scaled; those with `moe` are `mixtral`, or
    `mistral4` where experts are shared. Raises UserError for a key that is missing, unknown, or of no such model.

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
        elif name in ("moe", "yarn", "llama_4_scaling", "quantization"):
            continue
        elif name in _TOWERS:
            warnings.append(f"{name} is left out: only the language model is counted")
        elif name not in _NEUTRAL and value is not None:
            raise UserError(f"{name}: is not understood in a params.json{hint(name, [*_NAMES, 'moe'])}")
    config |= _mixture(values) | _positions(values, config["rope_theta"]) | _quantization(values)
    if config["model_type"] == "mistral4":
        if missing := [name for name in _LATENT if values.get(name) is None]:
            raise UserError(f"{missing[0]}: missing; a params.json with shared experts says it")
        config.setdefault("q_lora_rank", None)
    elif latent := [name for name in ("q_lora_rank", *_LATENT) if values.get(name) is not None]:
        raise UserError(f"{latent[0]}: is understood in a params.json with shared experts only")
    elif "rope_parameters" in config and config["model_type"] == "mistral":
        config["model_type"] = "ministral3"
    return config, warnings


def _section(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    stated = values.get(key)
    if stated is not None and not isinstance(stated, dict):
        raise UserError(f"{key}: expected a mapping, found {brief(stated)}")
    return stated or {}


def _mixture(values: Mapping[str, Any]) -> dict[str, Any]:
    moe = _section(values, "moe")
    if values.get("moe") is None:
        return {}
    shared = any(name in moe for name in ("expert_hidden_dim", "num_shared_experts"))
    names, needed = (_SHARED_MOE, _SHARED_NEEDED) if shared else (_MOE, tuple(_MOE))
    for name in (*needed, *moe):
        if name not in moe:
            raise UserError(f"moe.{name}: missing; a params.json says it")
        if name == "route_every_n":
            if moe[name] != 1:
                raise UserError(f"moe.{name}: only 1 is understood, found {brief(moe[name])}")
        elif name not in names and name not in _MOE_NEUTRAL:
            raise UserError(f"moe.{name}: is not understood in a params.json{hint(name, names)}")
    config = {names[name]: size for name, size in moe.items() if name in names}
    if not shared:
        return {"model_type": "mixtral", **config}
    defaults = {"first_k_dense_replace": 0, "n_shared_experts": 1, "norm_topk_prob": True}
    return {"model_type": "mistral4", **defaults, **config}


def _positions(values: Mapping[str, Any], theta: Any) -> dict[str, Any]:
    """YaRN and Llama 4's scaling by position, which have no weights."""
    yarn, by_position = _section(values, "yarn"), _section(values, "llama_4_scaling")
    if strange := [name for name in yarn if name not in (*_YARN, "apply_scale")]:
        raise UserError(f"yarn.{strange[0]}: is not understood in a params.json{hint(strange[0], _YARN)}")
    if not yarn and not by_position:
        return {}
    rope: dict[str, Any] = {"rope_type": "yarn" if yarn else "default", "rope_theta": theta}
    rope |= {_YARN[name]: value for name, value in yarn.items() if name in _YARN}
    if yarn.get("apply_scale") is False:
        rope["attention_factor"] = 1.0
    if by_position:
        rope["llama_4_scaling_beta"] = by_position.get("beta")
        rope.setdefault("original_max_position_embeddings", by_position.get("original_max_position_embeddings"))
    return {"rope_parameters": rope}


def _quantization(values: Mapping[str, Any]) -> dict[str, Any]:
    """Mistral's own words for fp8, or those of compressed-tensors, as a quantization_config."""
    stated = _section(values, "quantization")
    if not stated:
        return {}
    if values.get("quantization_config") is not None:
        raise UserError("quantization: stands beside quantization_config; expected one of them")
    if "quant_method" in stated or "config_groups" in stated:
        return {"quantization_config": dict(stated)}
    if strange := [name for name in stated if name not in ("qformat_weight", "qscheme_act")]:
        raise UserError(f"quantization.{strange[0]}: is not understood in a params.json")
    if stated.get("qformat_weight") != "fp8_e4m3":
        raise UserError(
            f"quantization.qformat_weight: only fp8_e4m3 is understood, found {brief(stated.get('qformat_weight'))}"
        )
    static = stated.get("qscheme_act") in ("TENSOR", None)
    activations = "static" if static else "dynamic"
    return {"quantization_config": {"quant_method": "fp8", "activation_scheme": activations}}
