"""What a recipe comes to, before anything is allocated."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from moewright.architecture.counts import active_params, total_params, training_flops_per_token
from moewright.data.dataset import Dataset, open_dataset, open_files
from moewright.errors import UserError
from moewright.experiment.recipe import Recipe
from moewright.experiment.schedule import peak_learning_rate
from moewright.lab.memory import check_memory
from moewright.lab.mirrors import import_tracker
from moewright.lab.sharding import local_device


@dataclass(frozen=True)
class Plan:
    """What a recipe comes to, before anything is allocated."""

    recipe: Recipe
    warnings: tuple[str, ...]
    facts: dict[str, Any]
    """For people and --json: sizes, tokens, steps, learning rate, FLOPs, memory."""


def plan(source: Recipe | str | Path, processes: int = 1) -> Plan:
    """Check a recipe with its data, and count what it will take. Raises UserError for what cannot be trained."""
    recipe = source if isinstance(source, Recipe) else Recipe.load(source)
    dataset = open_data(recipe)
    return plan_with(recipe, dataset, processes, local_device())


def plan_with(recipe: Recipe, dataset: Dataset, processes: int, device: torch.device) -> Plan:
    architecture = recipe.architecture
    notes = list(recipe.warnings)
    check_vocabulary(dataset, recipe)
    if dataset.vocab_size < architecture.vocab_size:
        notes.append(f"vocab_size {architecture.vocab_size:,} is more than the data's {dataset.vocab_size:,} tokens")
    if recipe.document_mask and dataset.end_of_document is None:
        raise UserError("document_mask: the data does not say which token ends a document; set end_of_document")
    if recipe.batch_sequences % (processes * recipe.micro_batch_sequences):
        raise UserError(
            f"batch_tokens: {recipe.batch_sequences} sequences do not divide among {processes} processes with "
            f"micro_batch_sequences {recipe.micro_batch_sequences}"
        )
    for name in recipe.mirrors:
        import_tracker(name)
    expected = check_memory(recipe, device, processes)
    epochs = recipe.train_tokens / len(dataset.train)
    if epochs > 1:
        notes.append(f"the run goes {epochs:.2f} times through its {len(dataset.train):,} training tokens")
    facts = {
        "total_params": total_params(architecture),
        "active_params": active_params(architecture),
        "train_tokens": recipe.train_tokens,
        "epochs": epochs,
        "steps": recipe.total_steps,
        "peak_learning_rate": peak_learning_rate(recipe),
        "train_flops": recipe.train_tokens * training_flops_per_token(architecture, recipe.sequence_length),
        "expected_memory_bytes": {
            "total": float(expected.total),
            **{name: float(value) for name, value in vars(expected).items()},
        },
    }
    return Plan(recipe, tuple(notes), facts)


def check_vocabulary(dataset: Dataset, recipe: Recipe) -> None:
    """UserError if the tokens do not fit the model."""
    if dataset.vocab_size > recipe.architecture.vocab_size:
        raise UserError(
            f"data: its vocabulary of {dataset.vocab_size:,} does not fit the architecture's vocab_size "
            f"{recipe.architecture.vocab_size:,}"
        )


def open_data(recipe: Recipe) -> Dataset:
    data = recipe.data
    if isinstance(data, str):
        return open_dataset(data)
    return open_files(data.train, data.validation, data.vocab_size, data.dtype, data.end_of_document)
