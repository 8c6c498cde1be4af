"""The numbers of a recipe that every trainer is told in its own words."""

from pathlib import Path
from typing import Any

from moewright.data.dataset import Dataset
from moewright.experiment.recipe import Recipe
from moewright.experiment.schedule import peak_learning_rate


def recipe_values(recipe: Recipe) -> dict[str, str | int | float]:
    """By name, as `docs/trainers.md` lists them: lengths, the learning rate and its way, the optimizer, the seed."""
    schedule, optimizer, steps = recipe.schedule, recipe.optimizer, recipe.total_steps
    peak = peak_learning_rate(recipe)
    warmup = -(-schedule.warmup_tokens // recipe.batch_tokens)
    return {
        "vocab_size": recipe.architecture.vocab_size,
        "steps": steps,
        "train_tokens": recipe.trained_tokens,
        "batch_tokens": recipe.batch_tokens,
        "batch_sequences": recipe.batch_sequences,
        "micro_batch_sequences": recipe.micro_batch_sequences,
        "sequence_length": recipe.sequence_length,
        "learning_rate": peak,
        "final_learning_rate": peak * (1.0 if schedule.kind == "constant" else schedule.final_share),
        "schedule": schedule.kind,
        "warmup_steps": warmup,
        "decay_steps": round(schedule.decay_share * steps) if schedule.kind == "wsd" else steps - warmup,
        "optimizer": optimizer.kind,
        "weight_decay": optimizer.weight_decay,
        "beta1": optimizer.beta1,
        "beta2": optimizer.beta2,
        "eps": optimizer.eps,
        "clip_norm": optimizer.clip_norm or 0.0,
        "precision": recipe.precision,
        "seed": recipe.seed,
    }


def token_files(dataset: Dataset) -> dict[str, Any]:
    """Where the tokens lie: `train_files`, `validation` by set, and `token_dtype`; absolute paths."""

    def paths(files: tuple[Path, ...]) -> list[str]:
        return [str(path.absolute()) for path in files]

    return {
        "train_files": paths(dataset.train.files),
        "validation": {name: paths(shards.files) for name, shards in dataset.validation.items()},
        "token_dtype": dataset.train.dtype,
    }
