"""Filling the budgets: for every combination of the space the widest experts that fit, and the law's loss of each."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from moewright.architecture import Architecture, cache, counts, storage
from moewright.design.budgets import Budgets
from moewright.design.space import (
    EXPERT_SIZE_LEAST,
    EXPERT_SIZE_MOST,
    EXPERT_SIZE_STEP,
    Candidates,
    Column,
    all_candidates,
    columns,
)
from moewright.errors import UserError
from moewright.laws import Law
from moewright.quantities import format_bytes, format_count

Losses = npt.NDArray[np.float64]

# Fields of Budgets that bound a model, with the name of the option that sets each.
BOUNDS = {"memory_bytes": "memory", "total_params": "total-params", "active_params": "active-params"}


def fill(budgets: Budgets) -> Candidates:
    """Every combination of the space that fits, each with the widest experts that do.

    Raises UserError, saying what the smallest model of the space needs, if none fits.
    """
    space = all_candidates()
    fitted = _widen(space, budgets)
    if not len(fitted):
        raise UserError(_why_nothing_fits(space, budgets))
    return fitted


def losses(law: Law, candidates: Candidates, budgets: Budgets) -> Losses:
    """The law's loss of every candidate, in nats."""
    return np.asarray(law.loss(**law_variables(law, candidates, budgets)))


def law_variables(law: Law, candidates: Candidates, budgets: Budgets) -> dict[str, Any]:
    """The law's variables for every candidate, as columns, in the law's own conventions."""
    architecture = columns(candidates, budgets.vocab_size)
    inputs = [variable for variable in law.inputs if variable.is_input]
    return {variable.name: variable.of(architecture, budgets.train_tokens) for variable in inputs}


def binding(candidates: Candidates, budgets: Budgets) -> dict[str, npt.NDArray[np.bool_]]:
    """By field of Budgets: whether experts one step wider would break it."""
    names = _bounded(budgets)
    wider = costs(candidates.with_expert_size(candidates.expert_size + EXPERT_SIZE_STEP), budgets, names)
    return {name: wider[name] > getattr(budgets, name) for name in names}


def memory_bytes(architecture: Architecture, budgets: Budgets) -> int:
    """Bytes of the weights and of the cache of all sequences, under the budgets' conditions."""
    sequence = cache.cache_bytes_per_sequence(architecture, budgets.context)
    return storage.weights_bytes(architecture, budgets.weights_dtype) + budgets.batch * sequence


def costs(candidates: Candidates, budgets: Budgets, names: Iterable[str] = tuple(BOUNDS)) -> dict[str, Column]:
    """What each candidate takes of the named budgets."""
    architecture = columns(candidates, budgets.vocab_size)
    count = {
        "memory_bytes": lambda: memory_bytes(architecture, budgets),
        "total_params": lambda: counts.total_params(architecture),
        "active_params": lambda: counts.active_params(architecture),
    }
    return {name: np.asarray(count[name]()) for name in names}


def _bounded(budgets: Budgets) -> list[str]:
    return [name for name in BOUNDS if getattr(budgets, name) is not None]


def _widen(space: Candidates, budgets: Budgets) -> Candidates:
    """Give every combination the widest experts that the budgets and the space allow; drop those without any.

    Parameters are linear in the expert size, so two counts give the size at which a budget is full. Bytes of block
    formats have rounding on top, so the size found is checked, and narrowed by a step while it is too large.
    """
    names = _bounded(budgets)
    empty, one_step = costs(space, budgets, names), costs(space.with_expert_size(EXPERT_SIZE_STEP), budgets, names)
    steps = EXPERT_SIZE_MOST * space.hidden_size // EXPERT_SIZE_STEP
    for name in names:
        room = getattr(budgets, name) - empty[name]
        steps = np.minimum(steps, np.floor_divide(room, one_step[name] - empty[name]).astype(np.int64))
    possible = steps * EXPERT_SIZE_STEP >= EXPERT_SIZE_LEAST
    fitted = space.take(possible).with_expert_size(steps[possible] * EXPERT_SIZE_STEP)
    while len(fitted) and (too_large := _exceeds(fitted, budgets)).any():
        narrower = fitted.with_expert_size(fitted.expert_size - EXPERT_SIZE_STEP * too_large)
        fitted = narrower.take(narrower.expert_size >= EXPERT_SIZE_LEAST)
    return fitted


def _exceeds(candidates: Candidates, budgets: Budgets) -> npt.NDArray[np.bool_]:
    over = np.zeros(len(candidates), dtype=np.bool_)
    for name, taken in costs(candidates, budgets, _bounded(budgets)).items():
        over |= taken > getattr(budgets, name)
    return over


def _why_nothing_fits(space: Candidates, budgets: Budgets) -> str:
    least = costs(space.with_expert_size(EXPERT_SIZE_LEAST), budgets)
    for name in _bounded(budgets):
        budget, smallest = getattr(budgets, name), least[name].min()
        if smallest > budget:
            form, conditions = format_count, f"with a vocabulary of {budgets.vocab_size:,}"
            if name == "memory_bytes":
                form, conditions = (
                    format_bytes,
                    f"{conditions} and a cache of {budgets.batch} x {budgets.context:,} tokens",
                )
            return (
                f"{BOUNDS[name]}: no design: {form(budget)} is too small; the smallest of the space takes "
                f"{form(float(smallest))} {conditions}"
            )
    return "no design of the space is within all budgets together; raise one of them"
