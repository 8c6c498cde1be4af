"""What a recipe comes to with its data, before anything is allocated. No torch."""

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from moewright.architecture.counts import active_params, mtp_params, prediction_layers, total_params, training_flops
from moewright.data.batches import Batches
from moewright.data.dataset import Dataset, open_dataset, open_files
from moewright.data.verification import check_shards
from moewright.display import Shown
from moewright.errors import UserError
from moewright.experiment import initial_weights
from moewright.experiment.recipe import Recipe
from moewright.experiment.run_folder import RunFacts
from moewright.experiment.schedule import peak_learning_rate
from moewright.experiment.support import LOGIT_ROWS
from moewright.hardware.pretraining import Parallelism, TrainingMemory, training_memory
from moewright.quantities import format_bytes
from moewright.records import Items, Output

_GPU_DRIVERS = ("/proc/driver/nvidia", "/dev/kfd")


class PlanAnswer(Output, RunFacts):
    """What a recipe comes to; nothing is trained."""

    command: ClassVar[str] = "train --dry-run"
    warnings: Items[str]
    """About the recipe and its data."""


@dataclass(frozen=True, repr=False)
class RunPlan(Shown):
    """What a recipe comes to."""

    recipe: Recipe
    warnings: tuple[str, ...]
    facts: RunFacts

    def answer(self) -> PlanAnswer:
        """For JSON."""
        return PlanAnswer(**dict(self.facts), warnings=self.warnings)

    def to_dict(self) -> dict[str, Any]:
        """The fields of `moewright train --dry-run --json`."""
        return self.answer().to_dict()

    def _facts(self) -> dict[str, Any]:
        names = ("total_params", "active_params", "train_tokens", "steps", "peak_learning_rate", "train_flops")
        return {**{name: getattr(self.facts, name) for name in names}, "warnings": len(self.warnings)}


class ValidationSets:
    """The validation sequences of a recipe: fixed, from the beginning of each set."""

    def __init__(self, dataset: Dataset, recipe: Recipe):
        """Raises UserError for a set that is shorter than one sequence."""
        self.batches = {
            name: Batches(shards, recipe.sequence_length, seed=0, shuffle=False)
            for name, shards in dataset.validation.items()
        }
        limit = recipe.evaluation.sequences
        self.counts = {
            name: min(batches.num_sequences, limit or batches.num_sequences) for name, batches in self.batches.items()
        }
        self.bytes_per_token = dataset.bytes_per_token
        self.end_of_document = dataset.end_of_document


def plan_run(source: Recipe | str | Path, processes: int = 1) -> RunPlan:
    """Check a recipe with its data, and count what it will take. Raises UserError for what cannot be trained.

    Its memory is compared with this machine's; where there are GPUs, whose memory only torch can tell, when the
    training begins.
    """
    recipe = source if isinstance(source, Recipe) else Recipe.load(source)
    return plan_with(recipe, open_data(recipe), processes, free_local_memory())


def plan_with(recipe: Recipe, dataset: Dataset, processes: int, free_bytes: float | None) -> RunPlan:
    """The plan on tokens that are open. `free_bytes`: of the device's memory for each process; None: not known."""
    architecture = recipe.architecture
    notes = list(recipe.warnings)
    check_vocabulary(dataset, recipe)
    initial_weights.check_initial_weights(recipe)
    if dataset.vocab_size < architecture.vocab_size:
        notes.append(f"vocab_size {architecture.vocab_size:,} is more than the data's {dataset.vocab_size:,} tokens")
    if recipe.document_mask and dataset.end_of_document is None:
        raise UserError("document_mask: the data does not say which token ends a document; set end_of_document")
    if recipe.batch_sequences % (processes * recipe.micro_batch_sequences):
        raise UserError(
            f"batch_tokens: {recipe.batch_sequences} sequences do not divide among {processes} processes with "
            f"micro_batch_sequences {recipe.micro_batch_sequences}; "
            + (
                f"take micro_batch_sequences: {recipe.batch_sequences // processes}, or what divides it"
                if recipe.batch_sequences % processes == 0
                else f"take a batch of a multiple of {processes} sequences"
            )
        )
    for name in recipe.mirrors:
        check_tracker(name)
    expected = check_memory(recipe, free_bytes, processes)
    epochs = recipe.train_tokens / len(dataset.train)
    if epochs > 1:
        notes.append(f"the run goes {epochs:.2f} times through its {len(dataset.train):,} training tokens")
    facts = RunFacts(
        total_params=total_params(architecture),
        active_params=active_params(architecture),
        train_tokens=recipe.train_tokens,
        epochs=epochs,
        steps=recipe.total_steps,
        peak_learning_rate=peak_learning_rate(recipe),
        train_flops=training_flops(architecture, recipe.trained_tokens, recipe.sequence_length),
        expected_memory_bytes=expected.record(),
    )
    return RunPlan(recipe, tuple(notes), facts)


WEIGHT_BYTES = 4
"""Of a parameter in a checkpoint: fp32, whatever the precision of the products."""


def least_checkpoint_bytes(recipe: Recipe) -> int:
    """Bytes that a checkpoint takes at least: weights, and two moments of each with AdamW or one with Muon."""
    moments = 2 if recipe.optimizer.kind == "adamw" else 1
    return (1 + moments) * WEIGHT_BYTES * _trained_params(recipe)


def most_checkpoint_bytes(recipe: Recipe) -> int:
    """Bytes that a run's checkpoints take at most at once: those that it keeps and the one under way, as AdamW's."""
    return (recipe.checkpoints.keep + 1) * 3 * WEIGHT_BYTES * _trained_params(recipe)


def _trained_params(recipe: Recipe) -> int:
    return total_params(recipe.architecture) + mtp_params(recipe.architecture)


def expected_memory(recipe: Recipe, processes: int = 1) -> TrainingMemory[float]:
    """What inspect's accounting expects of this recipe on one process, the framework's own base apart."""
    stage = 3 if recipe.parallel == "shard" else 0
    architecture = recipe.architecture
    if architecture.mtp_layers:  # as if their layers were the model's: norms and a D x 2 D projection are left out
        layers = (*architecture.layers, *architecture.mtp_layers * tuple(prediction_layers(architecture)))
        architecture = architecture.model_copy(update={"layers": layers, "mtp_layers": 0, "mtp_block": None})
    return training_memory(
        architecture,
        Parallelism(data=processes, zero_stage=stage),
        micro_batch=recipe.micro_batch_sequences,
        tokens_per_sequence=recipe.sequence_length,
        optimizer="adamw" if recipe.optimizer.kind == "adamw" else "muon",
        precision="fp32" if recipe.precision == "fp32" else "bf16_products",
        recompute="layers" if recipe.recompute else "experts",
        logit_rows=LOGIT_ROWS,
    )


def check_memory(recipe: Recipe, free_bytes: float | None, processes: int = 1) -> TrainingMemory[float]:
    """What `expected_memory` gives. Raises UserError if that is more than a process's `free_bytes` (None: not known),
    before anything is allocated."""
    expected = expected_memory(recipe, processes)
    if free_bytes is not None and expected.total > free_bytes:
        states = expected.weights + expected.gradients + expected.optimizer
        raise UserError(
            f"memory: this run needs some {format_bytes(expected.total)} and {format_bytes(free_bytes)} are free "
            f"(weights, gradients and optimizer {format_bytes(states)}, activations "
            f"{format_bytes(expected.activations)}); take a smaller model, fewer micro_batch_sequences, "
            "or recompute: true"
        )
    return expected


def free_local_memory() -> float | None:
    """Free bytes where a run on this machine would be, as far as that can be told without torch."""
    return None if any(Path(driver).exists() for driver in _GPU_DRIVERS) else free_host_memory()


def free_host_memory() -> float | None:
    """Free bytes of this machine's memory; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), None)


def check_tracker(name: str) -> None:
    """UserError if a tracker of `mirrors` is not installed."""
    is_there = sys.modules[name] is not None if name in sys.modules else find_spec(name) is not None
    if not is_there:
        raise UserError(f"mirrors: {name} is not installed; pip install {name}, or leave it out")


def check_vocabulary(dataset: Dataset, recipe: Recipe) -> None:
    """UserError if the tokens do not fit the model."""
    if dataset.vocab_size > recipe.architecture.vocab_size:
        raise UserError(
            f"data: its vocabulary of {dataset.vocab_size:,} does not fit the architecture's vocab_size "
            f"{recipe.architecture.vocab_size:,}"
        )


def open_data(recipe: Recipe) -> Dataset:
    """The tokens that a recipe names, as they were prepared, or files whose every token is of the vocabulary.

    Reads files once, but a prepared folder that it has read since the machine was started: see `data.verification`.
    Raises UserError.
    """
    data = recipe.data
    if isinstance(data, str):
        dataset = open_dataset(data)
        check_shards(dataset)
        return dataset
    return open_files(data.train, data.validation, data.vocab_size, data.dtype, data.end_of_document, check_tokens=True)
