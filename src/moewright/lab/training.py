"""`moewright train`: a run from its recipe to its last checkpoint, through interruptions."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from moewright.data.dataset import Dataset
from moewright.errors import PlaceError, RunStopped, UserError
from moewright.experiment import binding, initial_weights, run_folder
from moewright.experiment.early_digests import CHECKPOINT_FILES, EarlyDigests
from moewright.experiment.identity import TRAINING_VERSION, RunIdentity, code_digest
from moewright.experiment.locks import take_lock
from moewright.experiment.planning import RunPlan, least_checkpoint_bytes, open_data, plan_with
from moewright.experiment.product_backends import ProductChoice, about_bf16
from moewright.experiment.provenance import provenance
from moewright.experiment.recipe import Recipe
from moewright.experiment.run_folder import CheckpointState, TrainingResult
from moewright.experiment.threads import ThreadChoice
from moewright.foreign_text import visible
from moewright.hf.loading import SPEC
from moewright.lab.fast.choice import using_products
from moewright.lab.loop import TrainingLoop
from moewright.lab.machine import free_memory, keep_freed_memory, using_threads
from moewright.lab.product_timing import product_rates, products_for
from moewright.lab.session import Session
from moewright.lab.sharding import World, world
from moewright.outputs import NO_SPACE, check_space


def train(
    source: Recipe | str | Path, out: str | Path, *, show: bool = True, digests: EarlyDigests | None = None
) -> TrainingResult:
    """Train a recipe in a run folder: a new one, or one that the same recipe began, which then continues exactly.

    `show`: print what is to be known of the recipe and the folder. `digests`: under way already, of the files of the
    checkpoint that it goes on from. Under torchrun every process calls this. An
    interruption (Ctrl-C, SIGTERM) ends with a checkpoint. Raises UserError for bad input, and RunStopped, after which
    the last checkpoint is still there, for a run that diverged or a disk that is full. Of several processes only one
    raises these, the others OtherProcessError.
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
            threads = stack.enter_context(using_threads(_threads_begun(folder)))
            if members.is_first:
                stack.enter_context(lock(folder))
                products = products_for(folder, members.device)
                try:
                    begin(folder, planned, dataset, members, initial_weights.fingerprint(recipe), threads, products)
                except OSError as error:
                    raise RunStopped(f"{folder} cannot be written: {error.strerror or error}") from None
        if members.is_first and show:
            for note in planned.warnings:
                print(visible(f"warning: {note}"), file=sys.stderr)
        with members.together():  # all have the same files before them, and fail alike
            run, status = run_folder.read_run(folder), run_folder.read_status(folder)
            if status is not None:
                binding.check_status(folder, run, status)
            found = run_folder.checkpoints(folder)
            state = binding.check_checkpoint(found[-1], run) if found else None
        old = binding.not_bound(run, status, state)
        if members.is_first and show and old is not None:
            print(visible(f"warning: {folder}: {old}"), file=sys.stderr)
        if status is not None and status.state == "finished":
            return TrainingResult(
                folder, "finished", status.step, status.tokens or 0, status.loss, status, members.is_first
            )
        with members.together():
            _check_room(folder, recipe)
            if not members.is_first:  # as the first one has written it
                products = products_for(folder, members.device)
            stack.enter_context(using_products(products))
            if digests is None:
                digests = stack.enter_context(EarlyDigests())
            checkpoint = found[-1] if found else None
            session = _session(recipe, dataset, members, binding.id_of(run), checkpoint, state, digests)
        if members.is_first:
            for note in notes_on(recipe, threads, products):  # into the logs of sweeps too
                print(visible(f"warning: {note}"), file=sys.stderr)
        training = TrainingLoop(session, folder, planned, threads, products, resumed=bool(found))
        training.loss = None if status is None else status.loss
        return training.run()


def _session(
    recipe: Recipe,
    dataset: Dataset,
    members: World,
    run: str,
    checkpoint: Path | None,
    state: CheckpointState | None,
    digests: EarlyDigests,
) -> Session:
    """The run as it begins, or as its last checkpoint has it, whose files are hashed while the model is made."""
    if checkpoint is None or state is None:
        return Session(recipe, dataset, members, run)
    for name in state.files:
        digests.begin(checkpoint / name)
    session = Session(recipe, dataset, members, run, to_restore=True)
    for name in reversed(CHECKPOINT_FILES):  # the last one may not have been begun: then it is hashed here
        binding.check_file(checkpoint, state, name, digests)
    session.restore(checkpoint, state)
    for name in CHECKPOINT_FILES:  # what was checked is what was read
        binding.check_used(checkpoint, state, name, digests)
    return session


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


def _check_room(folder: Path, recipe: Recipe) -> None:
    """RunStopped if not even one more checkpoint fits on the disk, before anything is trained."""
    try:
        check_space(folder, least_checkpoint_bytes(recipe), "out")
    except PlaceError as problem:
        raise RunStopped(f"{NO_SPACE}: {problem}") from None


def _threads_begun(folder: Path) -> int | None:
    """The threads that the folder's run began with; None: it begins now."""
    if not (folder / run_folder.RUN).exists():
        return None
    return run_folder.read_run(folder).provenance.machine.threads


def notes_on(recipe: Recipe, threads: ThreadChoice, products: ProductChoice | None) -> Iterator[str]:
    """What the user should know of the machine under a run."""
    if threads.warning is not None:
        yield threads.warning
    if products is None:
        return
    if products.warning is not None:
        yield products.warning
    if recipe.precision == "bf16":
        now = products.rates if products.because == "measured" else None
        note = about_bf16(now or product_rates())
        if note is not None:
            yield note


def begin(
    folder: Path,
    planned: RunPlan,
    dataset: Dataset,
    members: World,
    weights: str | None,
    threads: ThreadChoice,
    products: ProductChoice | None,
) -> None:
    """Write a new run's description, or check that the folder's run is this one.

    `weights`: the fingerprint of those that the recipe begins with.
    """
    recipe = planned.recipe
    identity = RunIdentity.of(recipe, dataset.fingerprint, initial_weights=weights)
    if (folder / run_folder.RUN).exists():
        _check_same(folder, recipe, identity)
        if not (folder / SPEC).exists():
            recipe.architecture.save(folder / SPEC)
        status = run_folder.read_status(folder)
        if status is not None and status.state == "diverged":
            raise UserError(f"out: the run in {folder} diverged; change the recipe and name a new folder")
        return
    # A process that was killed while it wrote run.json leaves its lock and a hidden file behind.
    if any(not path.name.startswith(".") for path in folder.iterdir()):
        raise UserError(f"out: {folder} is not empty and holds no run; name a new folder")
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    record = run_folder.RunRecord(
        id=identity.id,
        recipe=recipe.to_dict(),
        training_version=TRAINING_VERSION,
        code=code_digest(),
        facts=planned.facts,
        warnings=planned.warnings,
        data=run_folder.RunData(fingerprint=dataset.fingerprint, train_tokens=len(dataset.train)),
        initial_weights=weights,
        tokenizer=None if dataset.tokenizer is None else str(dataset.tokenizer),
        tokenizer_sha256=None if dataset.record is None else dataset.record.tokenizer.sha256,
        end_of_document=dataset.end_of_document,
        processes=members.size,
        device=members.device.type,
        provenance=provenance(torch.backends.cpu.get_cpu_capability(), threads, products, gpus),
    )
    record.write(folder / run_folder.RUN)
    recipe.architecture.save(folder / SPEC)


def _check_same(folder: Path, recipe: Recipe, identity: RunIdentity) -> None:
    before = run_folder.read_run(folder)
    recorded = binding.recorded_identity(before)
    changed = recorded.difference(identity)
    if changed == "data":
        raise UserError(f"out: {folder} was begun on other tokens than {recipe.data} holds now")
    if changed == "initial_weights" and None not in (recorded.initial_weights, identity.initial_weights):
        raise UserError(f"out: {folder} was begun with other weights than {recipe.initial_weights} holds now")
    if changed == "training_version":
        raise UserError(
            f"out: {folder} was begun by code that computes other losses (training version {before.training_version}, "
            f"now {TRAINING_VERSION}); go on with the moewright that began it, or name a new folder"
        )
    if changed is not None:
        raise UserError(f"out: {folder} holds a run of another recipe, which differs in {changed}; name a new folder")
