"""How weights begin and how they move, by each parameter's part in the model.

Initialization and learning-rate factors go together (`Initialization.rule`); the optimizers' formulas are torch's.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from moewright.errors import UserError
from moewright.experiment.metrics import GradientNorms
from moewright.experiment.recipe import Initialization, Optimizer, Recipe
from moewright.lab import sharding
from moewright.lab.model import Transformer

Role = Literal["embedding", "vector", "readout", "matrix"]
_TO_RESIDUAL = ("o_proj", "down_proj", "latent.up")
_READOUTS = ("lm_head", "router.weight", "shared_gate")
_ONES = ("norm.weight", "latent.norm", "q_norm", "k_norm", "kv_a_norm", "q_a_norm")
STATE_SEPARATOR = "/"
"""Between a parameter's name and the name of a piece of its state."""


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


class AdamW:
    """torch's AdamW by torch's own function, in place of its class: that loads torch's compiler, which nothing here
    uses and which takes as long to import as torch."""

    def __init__(self, groups: list[dict[str, Any]], betas: tuple[float, float], eps: float):
        self.param_groups, self.betas, self.eps = groups, betas, eps
        self.state: dict[Tensor, dict[str, Tensor]] = {}

    @torch.no_grad()
    def step(self) -> None:
        """One step of every tensor that has a gradient."""
        for group in self.param_groups:
            tensors = [tensor for tensor in group["params"] if tensor.grad is not None]
            averages, squares, steps = (
                [self.state[tensor][piece] for tensor in tensors] for piece in ("exp_avg", "exp_avg_sq", "step")
            )
            adamw(
                tensors,
                [tensor.grad for tensor in tensors],
                averages,
                squares,
                [],
                steps,
                fused=True,
                amsgrad=False,
                beta1=self.betas[0],
                beta2=self.betas[1],
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=self.eps,
                maximize=False,
            )

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for group in self.param_groups:
            for tensor in group["params"]:
                tensor.grad = None


@torch.no_grad()
def gradient_norms(model: Transformer) -> GradientNorms:
    """Norms of the gradients that the parameters hold, by layer and over its experts. With sharding, a call that all
    processes make."""
    layers, experts = [], []
    for layer in (*model.layers, *model.prediction):
        gradients = [p.grad for p in layer.parameters() if p.grad is not None]
        layers.append(sharding.full_tensor(torch.nn.utils.get_total_norm(gradients)))
    for moe in model.moe_layers():
        by_group = []
        for group in moe.groups:
            held = [p.grad for p in group.parameters() if p.grad is not None]
            squares = [sharding.full_tensor(torch.linalg.vector_norm(grad, dim=(1, 2))).square() for grad in held]
            by_group.append(torch.stack(squares).sum(0).sqrt())
        norms = torch.cat(by_group)
        experts.append(torch.stack((norms.min(), norms.median(), norms.max())))
    least, median, largest = torch.stack(experts).t().tolist() if experts else ((), (), ())
    return GradientNorms(
        layers=_short(torch.stack(layers).tolist()),
        least_expert=_short(least),
        median_expert=_short(median),
        largest_expert=_short(largest),
    )


def _short(norms: Sequence[float]) -> tuple[float, ...]:
    """To six digits: a line of metrics has one for each layer."""
    return tuple(float(f"{norm:.6g}") for norm in norms)


@dataclass
class Optimizers:
    """One or two optimizers, and the tensors that they step by name."""

    optimizers: list[AdamW | torch.optim.Optimizer]
    tensors: dict[str, nn.Parameter]
    """What the optimizers hold: parameters, or views of them that are matrices."""
    views: list[tuple[nn.Parameter, nn.Parameter, tuple[int, slice] | None]]
    """(parameter, view, its place): views get their part of the parameter's gradient before each step."""
    rates: dict[int, float]
    """id of a parameter group -> factor on the learning rate."""

    def step(self, learning_rate: float) -> None:
        """One step at this learning rate; gradients are gone afterwards."""
        for parameter, view, place in self.views:
            assert parameter.grad is not None
            view.grad = parameter.grad if place is None else parameter.grad[place]
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * self.rates[id(group)]
            optimizer.step()
            optimizer.zero_grad()
        for parameter, _, _ in self.views:
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """All state on the processor: `parameter/piece` -> tensor. With sharding, a call that all processes make."""
        state = {}
        for name, tensor in self.tensors.items():
            for optimizer in self.optimizers:
                for piece, value in optimizer.state.get(tensor, {}).items():
                    state[f"{name}{STATE_SEPARATOR}{piece}"] = sharding.full_tensor(torch.as_tensor(value)).cpu()
        return state

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""
        pieces: dict[str, dict[str, Tensor]] = {}
        for key, value in state.items():
            name, _, piece = key.rpartition(STATE_SEPARATOR)
            pieces.setdefault(name, {})[piece] = value
        if set(pieces) != set(self.tensors):
            odd = next(iter(set(pieces) ^ set(self.tensors)))
            raise UserError(f"checkpoint: its optimizer state does not fit the model at {odd}")
        for name, tensor in self.tensors.items():
            owner = next(o for o in self.optimizers if any(tensor is p for g in o.param_groups for p in g["params"]))
            owner.state[tensor] = {
                piece: value.to(tensor.device, copy=True) if value.ndim == 0 else sharding.like(value, tensor)
                for piece, value in pieces[name].items()
            }


def build_optimizers(model: Transformer, recipe: Recipe) -> Optimizers:
    """AdamW on everything, or Muon on the layers' matrices (each expert's, each half of a gated pair) beside AdamW."""
    settings = recipe.optimizer
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    by_adamw: dict[str, nn.Parameter] = {}
    by_muon: dict[str, nn.Parameter] = {}
    views = []
    factors: dict[str, float] = {}
    for name, parameter in trained.items():
        factor = rate_factor(name, parameter, recipe.initialization)
        if settings.kind == "muon" and role(name, parameter) == "matrix":
            for label, place in _matrices(name, parameter, model):
                view = nn.Parameter(parameter.data if place is None else parameter.data[place])
                by_muon[name + label] = view
                views.append((parameter, view, place))
                factors[name + label] = factor
        else:
            by_adamw[name] = parameter
            factors[name] = factor
    groups = _groups(by_adamw, factors, settings)
    optimizers: list[AdamW | torch.optim.Optimizer] = [AdamW(groups, (settings.beta1, settings.beta2), settings.eps)]
    if by_muon:
        muon_groups = _groups(by_muon, factors, settings)
        optimizers.append(torch.optim.Muon(muon_groups, momentum=settings.momentum, adjust_lr_fn="match_rms_adamw"))
    _begin_state(optimizers)
    rates = {id(group): group["factor"] for optimizer in optimizers for group in optimizer.param_groups}
    return Optimizers(optimizers, {**by_adamw, **by_muon}, views, rates)


def _begin_state(optimizers: list[AdamW | torch.optim.Optimizer]) -> None:
    """The state with which torch's first step begins, made before it: made later, what lives for the whole run would
    lie between the holes that the first step's activations left, and the next ones would need new memory."""
    for optimizer in optimizers:
        pieces = ("exp_avg", "exp_avg_sq") if isinstance(optimizer, AdamW) else ("momentum_buffer",)
        for group in optimizer.param_groups:
            for tensor in group["params"]:
                optimizer.state[tensor] = {piece: torch.zeros_like(tensor.data) for piece in pieces}
                if "exp_avg" in pieces:
                    optimizer.state[tensor]["step"] = torch.zeros((), dtype=torch.float32, device=tensor.device)


def _matrices(name: str, parameter: Tensor, model: Transformer) -> list[tuple[str, tuple[int, slice] | None]]:
    """The matrices in a parameter, with labels for their names: stacks by expert, and gate and up apart."""
    halves = [("", slice(None))]
    owner = model.get_submodule(name.rpartition(".")[0])
    if name.endswith("up_proj") and getattr(owner, "gated", False):
        half = parameter.shape[-2] // 2
        halves = [(".gate", slice(0, half)), (".up", slice(half, None))]
    if parameter.ndim == 2:
        if len(halves) == 1:
            return [("", None)]
        return [(label, (rows,)) for label, rows in halves]  # type: ignore[misc]
    return [(f".{e}{label}", (e, rows)) for e in range(len(parameter)) for label, rows in halves]


def _groups(tensors: Mapping[str, nn.Parameter], factors: Mapping[str, float], settings: Optimizer) -> list[dict]:  # type: ignore[type-arg]
    """Parameter groups by weight decay and learning-rate factor."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, tensor in tensors.items():
        decay = 0.0 if tensor.ndim == 1 else settings.weight_decay
        groups.setdefault((decay, factors[name]), []).append(tensor)
    return [{"params": members, "weight_decay": decay, "factor": factor} for (decay, factor), members in groups.items()]
