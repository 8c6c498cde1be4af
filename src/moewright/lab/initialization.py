"""How weights begin, by each parameter's part in the model, and the learning-rate factors that go with it."""

import math
from typing import Literal

import torch
from torch import Tensor

from moewright.experiment.recipe import Initialization
from moewright.lab.model import Transformer

Role = Literal["embedding", "vector", "readout", "matrix"]
_TO_RESIDUAL = ("o_proj", "down_proj")
_READOUTS = ("lm_head", "router.weight", "shared_gate")
_ONES = ("norm.weight", "q_norm", "k_norm", "kv_a_norm", "q_a_norm")


def role(name: str, parameter: Tensor) -> Role:
    """embedding: looked up. vector: norms and biases. readout: width to few (head, router). matrix: the rest."""
    if name == "embed_tokens":
        return "embedding"
    if parameter.ndim == 1:
        return "vector"
    return "readout" if name.endswith(_READOUTS) else "matrix"


@torch.no_grad()
def initialize(model: Transformer, settings: Initialization, seed: int) -> None:
    """Fill all parameters, in the order of their names, from one generator; selection biases begin at 0."""
    generator = torch.Generator().manual_seed(seed)
    layers = len(model.layers)
    for name, parameter in sorted(model.named_parameters()):
        if role(name, parameter) == "vector":
            parameter.fill_(1.0 if name.endswith(_ONES) else 0.0)
            continue
        deviation = _deviation(name, parameter, settings, layers)
        values = torch.empty(parameter.shape, dtype=torch.float32).normal_(std=deviation, generator=generator)
        parameter.copy_(values)
    for layer in model.moe_layers():
        if layer.router.selection_bias is not None:
            layer.router.selection_bias.zero_()


def _deviation(name: str, parameter: Tensor, settings: Initialization, layers: int) -> float:
    kind, inputs = role(name, parameter), parameter.shape[-1]
    if settings.rule == "standard":
        deviation = settings.deviation
    elif kind == "embedding":
        deviation = settings.base_width**-0.5
    elif kind == "readout":
        deviation = settings.base_width**0.5 / inputs
    else:
        deviation = inputs**-0.5
    return deviation / math.sqrt(2 * layers) if name.endswith(_TO_RESIDUAL) else deviation


def rate_factor(name: str, parameter: Tensor, settings: Initialization) -> float:
    """What a parameter's learning rate is multiplied with."""
    if settings.rule == "standard" or role(name, parameter) in ("embedding", "vector"):
        return 1.0
    return settings.base_width / parameter.shape[-1]
