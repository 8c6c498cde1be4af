"""Random models of the seven families, and the two sides that the tests compare."""

import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from moewright import Architecture
from moewright.hf.config import read_config
from moewright.lab.model import Transformer
from tests.hf import oracle
from tests.hf.samplers import SAMPLERS, flag

LENGTH = 13  # longer than the samplers' windows of 8


def draw(family: str, r: random.Random) -> dict[str, Any]:
    """Keyword arguments of the family's config class that transformers can run, not only build."""
    values = SAMPLERS[family](r)
    layers = min(values["num_hidden_layers"], 3)
    values |= {
        "num_hidden_layers": layers,
        "rms_norm_eps": r.choice((1e-6, 1e-5, 1e-3)),
        "hidden_act": r.choice(("silu", "gelu", "gelu_pytorch_tanh", "relu")),
        "rope_parameters": {"rope_type": "default", "rope_theta": r.choice((100.0, 1e4, 5e5))},
    }
    if "mlp_only_layers" in values:
        values["mlp_only_layers"] = [i for i in values["mlp_only_layers"] if i < layers]
    if "first_k_dense_replace" in values:  # the families whose routers also have these
        values["first_k_dense_replace"] = r.randrange(0, layers + 1)
        values |= {"norm_topk_prob": flag(r), "routed_scaling_factor": r.choice((1.0, 2.5))}
    if "n_shared_experts" in values:
        values["n_shared_experts"] = r.choice((0, 1, 2))
    if family in ("glm4_moe", "deepseek_v3"):  # transformers builds no prediction blocks
        values["num_nextn_predict_layers"] = 0
    if family == "glm4_moe":
        values["head_dim"] = r.choice((4, 8, 12))
        values["rope_parameters"]["partial_rotary_factor"] = r.choice((0.5, 1.0))
    if family == "qwen3_moe" and flag(r):
        values |= {"use_sliding_window": True, "sliding_window": 8}
    if family == "dots1" and flag(r):
        values |= {"sliding_window": 8, "max_window_layers": r.randrange(1, 3)}
    if family == "olmoe":
        values["clip_qkv"] = None
    if family == "deepseek_v3":
        values |= {"rope_interleave": r.random() < 0.7, "num_key_value_heads": values["num_attention_heads"]}
    return values


def architecture_of(family: str, values: dict[str, Any]) -> Architecture:
    """What moewright reads of the config that transformers would write."""
    return read_config(oracle.saved_config(oracle.build(family, values))).architecture


def randomize(tensors: dict[str, Tensor], r: random.Random) -> None:
    """Fill in place: weights that keep activations near 1, norms and biases away from their usual 1 and 0."""
    generator = torch.Generator().manual_seed(r.randrange(2**31))
    for name, tensor in tensors.items():
        if tensor.numel():
            is_norm = "norm" in name and "bias" not in name
            spread = 0.3 if tensor.ndim == 1 else tensor.shape[-1] ** -0.5
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * spread + (1.0 if is_norm else 0.0))


@torch.no_grad()
def random_lab_model(architecture: Architecture, r: random.Random) -> Transformer:
    model = Transformer(architecture).eval()
    randomize(model.state_dict(), r)
    return model


@torch.no_grad()
def random_hf_model(family: str, values: dict[str, Any], r: random.Random) -> PreTrainedModel:
    model = oracle.build(family, values, "cpu").eval()
    randomize(model.state_dict(), r)
    model.tie_weights()
    return model


def lab_model(architecture: Architecture, state: dict[str, Tensor]) -> Transformer:
    model = Transformer(architecture).eval()
    model.load_state_dict(state)
    return model


def load(folder: Path) -> PreTrainedModel:
    """from_pretrained, with every tensor found and none left over."""
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager", experts_implementation="eager"
    )
    model, info = loaded
    assert not any(info.values()), info
    return model.eval()


def random_tokens(architecture: Architecture, r: random.Random) -> Tensor:
    return torch.tensor([[r.randrange(architecture.vocab_size) for _ in range(LENGTH)] for _ in range(2)])


@torch.no_grad()
def largest_difference(model: Transformer, theirs: PreTrainedModel, tokens: Tensor) -> float:
    """Of the logits, over their largest magnitude."""
    ours = model(tokens)[0]
    expected = theirs(tokens).logits
    return ((ours - expected).abs().max() / expected.abs().max()).item()
