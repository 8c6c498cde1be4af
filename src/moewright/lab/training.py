"""`moewright train`: a run from its recipe to its last checkpoint, through interruptions."""

import sys
from contextlib import ExitStack
from pathlib import Path

import torch

from moewright.errors import RunStopped
from moewright.experiment import run_folder
from moewright.experiment.planning import open_data, plan_with
from moewright.experiment.recipe import Recipe
from moewright.lab.beginning import begin, lock
from moewright.lab.loop import Result, TrainingLoop
from moewright.lab.machine import free_memory, keep_freed_memory
from moewright.lab.session import Session
from moewright.lab.sharding import world


def train(source: Recipe | str | Path, out: str | Path, *, show: bool = True) -> Result:
    """Train a recipe in a run folder: a new one, or one that the same recipe began, which then continues exactly.

    `show`: draw progress if standard error is a terminal. Under torchrun every process calls this. An interruption
    (Ctrl-C, SIGTERM) ends with a checkpoint. Raises UserError for bad input, and RunStopped, after which the last
    checkpoint is still there, for a run that diverged or a disk that is full. Of several processes only one raises
    these, the others OtherProcessError.
    """
    folder = Path(out)
    keep_freed_memory()
    with world() as members, ExitStack() as stack:
        if members.device.type == "cuda":  # on processors the operators in use are deterministic anyway
            torch.use_deterministic_algorithms(True, warn_only=True)
        with members.together():
            recipe = source if isinstance(source, Recipe) else Recipe.load(source)
            dataset = open_data(recipe)
            planned = plan_with(recipe, dataset, members.size, free_memory(members.device))
            if members.is_first:
                stack.enter_context(lock(folder))
                try:
                    begin(folder, planned, dataset, members)
                except OSError as error:
                    raise RunStopped(f"{folder} cannot be written: {error.strerror or error}") from None
        if members.is_first and show:
            for note in planned.warnings:
                print(f"warning: {note}", file=sys.stderr)
        status = run_folder.read_status(folder)
        if status is not None and status.state == "finished":
            return Result(folder, "finished", status.step, status.tokens or 0, status.loss, status, members.is_first)
        with members.together():  # all have the same files before them, and fail alike
            session = Session(recipe, dataset, members)
            found = run_folder.checkpoints(folder)
            if found:
                session.restore(found[-1])
        training = TrainingLoop(session, folder, planned, resumed=bool(found), show=show)
        training.loss = None if status is None else status.loss
        return training.run()
