"""The independent count of quantised bytes: the module that transformers' quantisers make, on the meta device."""

from typing import Any

import torch
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING, AUTO_QUANTIZER_MAPPING

from tests.hf import oracle


def quantized(model_type: str, values: dict[str, Any], quantization: dict[str, Any]) -> torch.nn.Module:
    """The module of a config, as transformers lays it out to load weights that are quantised so."""
    module = oracle.build(model_type, values).to(torch.bfloat16)
    kind: Any = AUTO_QUANTIZATION_CONFIG_MAPPING[quantization["quant_method"]]
    settings = kind.from_dict(dict(quantization))
    quantizer = AUTO_QUANTIZER_MAPPING[quantization["quant_method"]](settings, pre_quantized=True)
    quantizer.preprocess_model(module, config=module.config, device_map=None)
    return module


def stored_bytes(module: torch.nn.Module) -> int:
    """All parameters, shared ones once. What transformers holds in fp32 beside the scales, files keep in their bf16."""
    plain = {
        name: value.dtype == torch.float32 and "scale_inv" not in name for name, value in module.named_parameters()
    }
    return sum(
        value.numel() * (2 if plain[name] else value.element_size()) for name, value in module.named_parameters()
    )


def saved(model_type: str, values: dict[str, Any], quantization: dict[str, Any] | None) -> dict[str, Any]:
    """What config.json would say."""
    config = oracle.saved_config(oracle.build(model_type, values))
    config.pop("torch_dtype", None)
    return config | {"dtype": "bfloat16"} | ({} if quantization is None else {"quantization_config": quantization})
