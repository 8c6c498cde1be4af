"""What a measuring job does: some steps of one shape after the other, each result written at once.

Torch is imported when measuring begins, as in a worker, so that the start of a process is measured too.
"""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moewright.files import AppendOnlyFile
from moewright.sweeps.running.worker import take_cores

if TYPE_CHECKING:
    from moewright.experiment.recipe import Recipe

FEWEST_SHAPES, FEWEST_STEPS, MOST_STEPS = 2, 2, 50


def probe(out: str, recipes: Sequence[dict[str, Any]], *, seconds: float, threads: int, cores: Sequence[int]) -> float:
    """Measure recipes in turn for so many seconds in all, at least two of them. Returns the seconds that this took.

    `out` gets a line for each: index, first_seconds (until the first step is done, from nothing), step_seconds; the
    first also validation_share (time of a validation token over a training token's).
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # submitit's handler would go on
    take_cores(threads, cores)
    file = AppendOnlyFile(Path(out))
    try:
        _begin()
        began = time.monotonic()
        for index, recipe in enumerate(recipes):
            left = seconds - (time.monotonic() - began)
            if index >= FEWEST_SHAPES and left < 0:
                break
            share = max(0.0, left) / (len(recipes) - index)
            file.write({"index": index, **_measure(recipe, share, with_validation=index == 0)})
        return time.monotonic() - began
    finally:
        file.close()


def _begin() -> None:
    """What every run does before its model is built."""
    import torch

    from moewright.lab import training
    from moewright.lab.memory import keep_freed_memory
    from moewright.lab.throughput import matmul_peak

    assert training
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    keep_freed_memory()
    matmul_peak(torch.device("cuda" if torch.cuda.is_available() else "cpu"), torch.float32)


def _measure(values: dict[str, Any], seconds: float, with_validation: bool) -> dict[str, float]:
    from moewright.experiment.recipe import Recipe

    recipe = Recipe.from_dict(values)
    began = time.monotonic()
    session = _session(recipe)
    session.next_step()
    first = time.monotonic() - began
    steps: list[float] = []
    while len(steps) < FEWEST_STEPS or (time.monotonic() - began < seconds and len(steps) < MOST_STEPS):
        start = time.monotonic()
        session.next_step()
        steps.append(time.monotonic() - start)
    step = sum(steps) / len(steps)
    measured = {"first_seconds": first, "step_seconds": step}
    if not with_validation:
        return measured
    start = time.monotonic()
    report = session.evaluate()
    validation = (time.monotonic() - start) / sum(report.tokens_by_set.values())
    return {**measured, "validation_share": validation * recipe.batch_tokens / step}


def _session(recipe: "Recipe") -> Any:
    from moewright.experiment.planning import open_data
    from moewright.lab.session import Session
    from moewright.lab.sharding import world

    # One forward pass for each set is enough to see what a token takes.
    few = min(recipe.evaluation.sequences or recipe.micro_batch_sequences, recipe.micro_batch_sequences)
    recipe = recipe.model_copy(update={"evaluation": recipe.evaluation.model_copy(update={"sequences": few})})
    with world() as members:
        return Session(recipe, open_data(recipe), members)
