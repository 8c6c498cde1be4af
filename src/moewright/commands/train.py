"""`moewright train`: a small, real pretraining run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from moewright.commands.checking import command, writes
from moewright.errors import UserError, needs_the_lab
from moewright.outputs import OWN_FOLDER

if TYPE_CHECKING:
    from moewright.experiment.planning import RunPlan
    from moewright.experiment.recipe import Recipe
    from moewright.experiment.run_folder import TrainingResult


@overload
def train(spec: str | Path | Recipe, out: str | Path, *, dry_run: Literal[False] = False) -> TrainingResult: ...


@overload
def train(spec: str | Path | Recipe, *, dry_run: Literal[True]) -> RunPlan: ...


@command
@writes(out=OWN_FOLDER)
def train(
    spec: str | Path | Recipe, out: str | Path | None = None, *, dry_run: bool = False
) -> TrainingResult | RunPlan:
    """Is that so on my data? Train a recipe; again with the same folder continues an interrupted run exactly.

    Under torchrun every process calls this. An interruption (Ctrl-C, SIGTERM) ends with a checkpoint.

    Args:
        spec: Recipe: a YAML or JSON file with model, data and training settings.
        out: Run folder: a new one, or one that this recipe began.
        dry_run: Check everything and say what the run will take; train nothing.

    Raises:
        UserError: For bad input, or where torch is not installed.
        RunStopped: For a run that diverged or a disk that is full; the last checkpoint is still there.
    """
    if dry_run == (out is not None):
        raise UserError("out: needed to train, and without use in a dry run; give --out DIR or --dry-run")
    if out is None:
        from moewright.experiment.planning import plan_run

        return plan_run(spec)
    from moewright.experiment.early_digests import of_newest_checkpoint

    with of_newest_checkpoint(out) as digests:  # hashed while torch is imported
        try:
            recipe = spec
            # Of several processes one complains, once they know each other.
            if isinstance(spec, str | Path) and os.environ.get("WORLD_SIZE", "1") == "1":
                from moewright.experiment.recipe import Recipe

                recipe = Recipe.load(spec)
            from moewright.lab.training import train as train_recipe
        except ModuleNotFoundError as error:
            raise needs_the_lab(error) from None
        return train_recipe(recipe, out, digests=digests)
