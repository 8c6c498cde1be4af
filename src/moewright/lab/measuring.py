"""Measuring a recipe: what its first step, its further steps and its validation take on this machine."""

import os
import time

import torch

from moewright.experiment.planning import open_data
from moewright.experiment.recipe import Recipe
from moewright.experiment.step_times import StepTimes
from moewright.lab import training
from moewright.lab.fast.choice import using_products
from moewright.lab.machine import keep_freed_memory, matmul_peak, use_threads
from moewright.lab.product_timing import products_for
from moewright.lab.session import Session
from moewright.lab.sharding import World, world

FEWEST_STEPS, MOST_STEPS = 2, 50


def begin_measuring() -> None:
    """What every run does before its model is built."""
    assert training
    use_threads(int(os.environ["OMP_NUM_THREADS"]))
    keep_freed_memory()
    products_for(None, torch.device("cpu"))
    matmul_peak(torch.device("cuda" if torch.cuda.is_available() else "cpu"), torch.float32)


def measure(recipe: Recipe, seconds: float, *, with_validation: bool) -> StepTimes:
    """Steps of a recipe for so many seconds, at least two of them."""
    with world() as members, using_products(products_for(None, members.device)):
        return _measure(recipe, seconds, members, with_validation)


def _measure(recipe: Recipe, seconds: float, members: World, with_validation: bool) -> StepTimes:
    began = time.monotonic()
    session = _session(recipe, members)
    session.next_step()
    first = time.monotonic() - began
    steps: list[float] = []
    while len(steps) < FEWEST_STEPS or (time.monotonic() - began < seconds and len(steps) < MOST_STEPS):
        start = time.monotonic()
        session.next_step()
        steps.append(time.monotonic() - start)
    step = sum(steps) / len(steps)
    if not with_validation:
        return StepTimes(first_seconds=first, step_seconds=step)
    start = time.monotonic()
    report = session.evaluate()
    validation = (time.monotonic() - start) / sum(report.tokens_by_set.values())
    share = validation * recipe.batch_tokens / step
    return StepTimes(first_seconds=first, step_seconds=step, validation_share=share)


def _session(recipe: Recipe, members: World) -> Session:
    # One forward pass for each set is enough to see what a token takes.
    few = min(recipe.evaluation.sequences or recipe.micro_batch_sequences, recipe.micro_batch_sequences)
    recipe = recipe.model_copy(update={"evaluation": recipe.evaluation.model_copy(update={"sequences": few})})
    return Session(recipe, open_data(recipe), members)
