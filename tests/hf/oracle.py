"""The independent count: the module that transformers builds, on the meta device."""

import contextlib
import io
import json
import logging
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedModel

logging.getLogger("transformers").setLevel(logging.ERROR)


def build(model_type: str, values: dict[str, Any], device: str = "meta") -> PreTrainedModel:
    """The causal-LM module of a config."""
    config = AutoConfig.for_model(model_type, **values)
    # The plain loop over experts and plain attention run at any size; on the meta device nothing runs.
    plain = {} if device == "meta" else {"experts_implementation": "eager", "attn_implementation": "eager"}
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, **plain)


def build_multimodal(model_type: str) -> PreTrainedModel:
    """The image-and-text module of a family's default config, on the meta device."""
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(AutoConfig.for_model(model_type))


def saved_config(module: PreTrainedModel) -> dict[str, Any]:
    """What transformers would write to config.json."""
    with contextlib.redirect_stderr(io.StringIO()):
        return json.loads(module.config.to_json_string())


def count(module: torch.nn.Module) -> int:
    """All parameters, shared ones once."""
    return sum(parameter.numel() for parameter in module.parameters())
