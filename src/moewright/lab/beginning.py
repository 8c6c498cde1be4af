"""The beginning of a run in its folder: nobody else is in it, and what it holds is this run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from moewright.data.dataset import Dataset
from moewright.errors import UserError
from moewright.experiment import run_folder
from moewright.experiment.identity import TRAINING_VERSION, RunIdentity, code_digest
from moewright.experiment.locks import take_lock
from moewright.experiment.planning import RunPlan
from moewright.experiment.provenance import provenance
from moewright.experiment.recipe import Recipe
from moewright.lab.sharding import World


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold the run folder: two trainers would write over each other."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = take_lock(folder / run_folder.LOCK)
    except OSError as error:
        raise UserError(f"out: {folder} cannot be used: {error.strerror}") from None
    if handle is None:
        raise UserError(f"out: another process is training in {folder}")
    try:
        yield
    finally:
        os.close(handle)


def begin(folder: Path, planned: RunPlan, dataset: Dataset, members: World) -> None:
    """Write a new run's description, or check that the folder's run is this one."""
    recipe = planned.recipe
    if (folder / run_folder.RUN).exists():
        _check_same(folder, recipe, dataset.fingerprint)
        if not (folder / "architecture.yaml").exists():
            recipe.architecture.save(folder / "architecture.yaml")
        status = run_folder.read_status(folder)
        if status is not None and status.state == "diverged":
            raise UserError(f"out: the run in {folder} diverged; change the recipe and name a new folder")
        return
    # A process that was killed while it wrote run.json leaves its lock and a hidden file behind.
    if any(not path.name.startswith(".") for path in folder.iterdir()):
        raise UserError(f"out: {folder} is not empty and holds no run; name a new folder")
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    record = run_folder.RunRecord(
        recipe=recipe.to_dict(),
        training_version=TRAINING_VERSION,
        code=code_digest(),
        facts=planned.facts,
        warnings=planned.warnings,
        data=run_folder.RunData(fingerprint=dataset.fingerprint, train_tokens=len(dataset.train)),
        tokenizer=None if dataset.tokenizer is None else str(dataset.tokenizer),
        end_of_document=dataset.end_of_document,
        processes=members.size,
        device=members.device.type,
        provenance=provenance(torch.backends.cpu.get_cpu_capability(), torch.get_num_threads(), gpus),
    )
    record.write(folder / run_folder.RUN)
    recipe.architecture.save(folder / "architecture.yaml")


def _check_same(folder: Path, recipe: Recipe, fingerprint: str) -> None:
    before = run_folder.read_run(folder)
    recorded = RunIdentity.recorded(
        before.recipe, before.facts.peak_learning_rate, before.data.fingerprint, before.training_version
    )
    changed = recorded.difference(RunIdentity.of(recipe, fingerprint))
    if changed == "data":
        raise UserError(f"out: {folder} was begun on other tokens than {recipe.data} holds now")
    if changed == "training_version":
        raise UserError(
            f"out: {folder} was begun by code that computes other losses (training version {before.training_version}, "
            f"now {TRAINING_VERSION}); go on with the moewright that began it, or name a new folder"
        )
    if changed is not None:
        raise UserError(f"out: {folder} holds a run of another recipe, which differs in {changed}; name a new folder")
