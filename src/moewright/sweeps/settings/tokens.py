"""How long a cell trains: a rule of tokens by parameters, or of training FLOPs."""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from moewright.architecture.counts import active_params, total_params, training_flops_per_token
from moewright.architecture.spec import Architecture
from moewright.errors import UserError
from moewright.sweeps.settings.values import MisfitError, amount, fraction

BY_PARAMS = {"tokens_per_active_param": active_params, "tokens_per_total_param": total_params}


def check_rules(settings: Mapping[str, Any]) -> None:
    """UserError for a rule's value that is no positive number."""
    for rule in BY_PARAMS:
        if rule in settings and fraction(settings[rule], rule) == 0:
            raise UserError(f"{rule}: {settings[rule]!r} must be above 0")
    if "train_flops" in settings:
        amount(settings["train_flops"], "train_flops")


def recipe_tokens(values: Mapping[str, Any]) -> int:
    """A recipe's train_tokens."""
    return _size(values, "train_tokens")


def tokens_by_params(rule: str, value: Any, architecture: Architecture, values: Mapping[str, Any]) -> int:
    """Tokens times the model's active or total parameters (input embedding included), rounded up to whole batches."""
    batch = _size(values, "batch_tokens")
    return math.ceil(fraction(value, rule) * BY_PARAMS[rule](architecture) / batch) * batch


def train_flops(architecture: Architecture, tokens: int, values: Mapping[str, Any]) -> float:
    """FLOPs of a training run, attention at the recipe's sequence_length included."""
    return tokens * training_flops_per_token(architecture, _size(values, "sequence_length"))


def tokens_by_flops(flops: float, architecture: Architecture, values: Mapping[str, Any]) -> int:
    """The whole number of batches whose training FLOPs are nearest to those given, as tokens; MisfitError for none."""
    batch = _size(values, "batch_tokens")
    of_a_batch = train_flops(architecture, batch, values)
    batches = math.floor(Fraction(flops) / Fraction(of_a_batch) + Fraction(1, 2))
    if batches < 1:
        raise MisfitError(f"train_flops = {flops:.4g} are less than half of one batch, {of_a_batch:.4g}")
    return batches * batch


def _size(values: Mapping[str, Any], name: str) -> int:
    if name not in values:
        raise UserError(f"{name}: the recipe has none, and the cells' tokens follow from it; state it")
    size = int(amount(values[name], name))
    if size < 1:
        raise UserError(f"{name}: {values[name]!r} must be at least 1")
    return size
