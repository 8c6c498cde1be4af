"""The learning rate: its peak by a published rule, and its share of the peak along the run."""

import math

from moewright.architecture import Architecture
from moewright.experiment.recipe import LawRate, Recipe, Schedule


def peak_learning_rate(recipe: Recipe) -> float:
    """The recipe's own number, or what the law that it names advises. UserError if the law does not apply."""
    rate = recipe.learning_rate
    return rate if isinstance(rate, float) else advised_rate(rate, recipe.architecture, recipe.train_tokens)


def advised_rate(rate: LawRate, architecture: Architecture, train_tokens: int) -> float:
    """Peak learning rate by a law's own definition of the model's size (`moewright laws NAME`)."""
    from moewright.laws import get  # numpy, for the recipes that name a law alone

    law = get(rate.law)
    variables = law.variables(architecture, train_tokens=train_tokens)
    return rate.multiplier * float(law.learning_rate(**variables))


def schedule_share(schedule: Schedule, tokens: int, train_tokens: int) -> float:
    """Share of the peak for the step that ends at so many tokens of the run."""
    if tokens <= schedule.warmup_tokens:
        return tokens / schedule.warmup_tokens
    if schedule.kind == "constant":
        return 1.0
    if schedule.kind == "wsd":
        decay = schedule.decay_share * train_tokens
        done = max(0.0, min(tokens, train_tokens) - (train_tokens - decay)) / decay
        return 1 - (1 - schedule.final_share) * done
    done = (min(tokens, train_tokens) - schedule.warmup_tokens) / (train_tokens - schedule.warmup_tokens)
    return schedule.final_share + (1 - schedule.final_share) * (1 + math.cos(math.pi * done)) / 2
