"""The independent count: the module that transformers builds, on the meta device."""

import contextlib
import io
import json
import logging
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
import transformers
from torch.nn.functional import linear
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedModel

from moewright.hf.config import get_family

logging.getLogger("transformers").setLevel(logging.ERROR)


def build(model_type: str, values: dict[str, Any], device: str = "meta") -> Any:
    """The causal-LM module of a config."""
    # The plain loop over experts and plain attention run at any size; on the meta device nothing runs.
    plain = {} if device == "meta" else {"experts_implementation": "eager", "attn_implementation": "eager"}
    with torch.device(device):
        if model_type in _TEXT_MODELS:
            config_class, model_class = (getattr(transformers, name) for name in _TEXT_MODELS[model_type])
            return _WithHead(model_class, config_class(**values), plain)
        config = AutoConfig.for_model(model_type, **values)
        if type(config) not in AutoModelForCausalLM._model_mapping:  # built inside a multimodal wrapper only
            return getattr(transformers, get_family(model_type).class_name)._from_config(config, **plain)
        return AutoModelForCausalLM.from_config(config, **plain)


# Language models that transformers builds inside multimodal models only, without a class with a head of their own.
_TEXT_MODELS = {
    "deepseek_ocr2_text": ("DeepseekOcr2TextConfig", "DeepseekOcr2TextModel"),
    "unlimited_ocr_text": ("UnlimitedOcrTextConfig", "UnlimitedOcrTextModel"),
    "ernie4_5_vl_moe_text": ("Ernie4_5_VLMoeTextConfig", "Ernie4_5_VLMoeTextModel"),
    "glm5_next_text": ("Glm5NextTextConfig", "Glm5NextTextModel"),
    "mistral_large4_text": ("MistralLarge4TextConfig", "MistralLarge4TextModel"),
    "muse_spark_text": ("MuseSparkTextConfig", "MuseSparkTextModel"),
    "step3p5": ("Step3p7TextConfig", "Step3p7TextModel"),
    "qwen3_omni_moe_text": ("Qwen3OmniMoeTextConfig", "Qwen3OmniMoeThinkerTextModel"),
}


class _WithHead(torch.nn.Module):
    """A text model and the head that its multimodal model puts on it."""

    def __init__(self, model_class: Any, config: Any, settings: dict[str, str]) -> None:
        super().__init__()
        self.config = config
        self.model = model_class._from_config(config, **settings)
        if not getattr(config, "tie_word_embeddings", False):
            self.lm_head = torch.nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def get_decoder(self) -> Any:
        return self.model

    def get_input_embeddings(self) -> Any:
        return self.model.embed_tokens

    def forward(self, tokens: torch.Tensor, **settings: Any) -> SimpleNamespace:
        found = self.model(tokens, **settings)
        head = self.lm_head if hasattr(self, "lm_head") else partial(linear, weight=self.model.embed_tokens.weight)
        cache = found.cache if hasattr(found, "cache") else found.past_key_values
        return SimpleNamespace(logits=head(found.last_hidden_state), past_key_values=cache)


def build_multimodal(model_type: str, values: dict[str, Any]) -> PreTrainedModel:
    """The image-and-text module of a family's default config, but for `values`, on the meta device."""
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(AutoConfig.for_model(model_type, **values))


def saved_config(module: Any) -> dict[str, Any]:
    """What transformers would write to config.json."""
    with contextlib.redirect_stderr(io.StringIO()):
        return json.loads(module.config.to_json_string())


def count(module: torch.nn.Module) -> int:
    """All parameters, shared ones once."""
    return sum(parameter.numel() for parameter in module.parameters())
