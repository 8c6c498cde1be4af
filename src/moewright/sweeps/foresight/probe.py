"""What a measuring job does: some steps of one shape after the other, each result written at once.

Torch is imported when measuring begins, as in a worker: where that is a fork of a process that has loaded torch, this
is one too, so that what a job's start takes is measured as it will be.
"""

import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moewright.experiment.recipe import Recipe
from moewright.experiment.step_times import MeasuredRecipe
from moewright.files import AppendOnlyFile
from moewright.sweeps.running.worker import take_cores

FEWEST_PROBED_SHAPES = 2


def probe(out: str, recipes: Sequence[dict[str, Any]], *, seconds: float, threads: int, cores: Sequence[int]) -> float:
    """Measure recipes in turn for so many seconds in all, at least two of them. Returns the seconds that this took.

    `out` gets a `MeasuredRecipe` for each; the first with validation.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # submitit's handler would go on
    take_cores(threads, cores)
    file = AppendOnlyFile(Path(out))
    try:
        from moewright.lab.measuring import begin_measuring, measure

        begin_measuring()
        began = time.monotonic()
        for index, recipe in enumerate(recipes):
            left = seconds - (time.monotonic() - began)
            if index >= FEWEST_PROBED_SHAPES and left < 0:
                break
            share = max(0.0, left) / (len(recipes) - index)
            times = measure(Recipe.from_dict(recipe), share, with_validation=index == 0)
            file.write(MeasuredRecipe(index=index, times=times).to_dict())
        return time.monotonic() - began
    finally:
        file.close()
