"""Any trainer, by the command that starts it: a template with placeholders, and a line that says where its loss is."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, model_validator

from moewright.data.dataset import Dataset
from moewright.errors import UserError
from moewright.experiment.recipe import Recipe, ShardFiles
from moewright.experiment.trainer_folder import OUTPUT, LossPlace, compiled
from moewright.exporters.exported import export_to
from moewright.foreign_text import to_json
from moewright.sweeps.trainers.placeholders import PlaceholderValue, Template
from moewright.sweeps.trainers.recipe_values import recipe_values
from moewright.sweeps.trainers.trainer import CellFolder, CellRun, Trainer

PLACEHOLDERS = {
    "here": "the folder of the sweep's specification",
    "python": "the Python that runs moewright",
    "output": "the folder for its own files; it is there",
    "settings": "a JSON file with all that stands here, and the whole recipe under `recipe`",
    "architecture": "a JSON file with the architecture, as moewright has it",
    "model": "the folder with the model in the format that `model:` names",
    "data": "the folder that `moewright data prepare` wrote",
    "train_files": "the files of training tokens, one argument each",
    "validation_files": "the files of validation tokens, one argument each",
    "token_dtype": "uint16 or uint32",
    "vocab_size": "of the model",
    "steps": "optimizer steps",
    "train_tokens": "tokens of all steps",
    "batch_tokens": "tokens of a step",
    "batch_sequences": "sequences of a step",
    "micro_batch_sequences": "sequences of a forward pass on one process",
    "sequence_length": "tokens of a sequence",
    "learning_rate": "at the peak: given, by a law, or found by tuning",
    "final_learning_rate": "at the end",
    "schedule": "cosine, wsd or constant",
    "warmup_steps": "until the peak",
    "decay_steps": "of wsd's decay; of the others, from the peak to the end",
    "optimizer": "adamw or muon",
    "weight_decay": "decoupled",
    "beta1": "of AdamW",
    "beta2": "of AdamW",
    "eps": "of AdamW",
    "clip_norm": "of all gradients together; 0: none",
    "precision": "fp32 or bf16",
    "seed": "of weights and data",
    "processes": "GPUs of the run, or 1",
    "run": "the run's id",
}
"""What a template may name."""


def _metric_or_place(value: Any) -> Any:
    return {"metric": value} if isinstance(value, str) else value


class CommandTrainer(Trainer):
    """A command of the user's own."""

    called: ClassVar[str] = "command"
    indifferent: ClassVar[tuple[str, ...]] = ("loss", "checkpoints")

    run: str
    """Lines of bash with placeholders, started in the run's folder."""
    loss: Annotated[LossPlace, BeforeValidator(_metric_or_place)]
    """A metric's name, or a pattern for the lines that it prints."""
    resumes: bool = False
    """True: the command goes on with what it finds in {output}. False: another start begins in an empty one."""
    checkpoints: str | None = None
    """A regular expression for the names of its checkpoints in {output}, with a group for the step."""
    model: Literal["hf", "megatron", "olmo-core", "torchtitan"] | None = None
    """The format of {model}."""

    @model_validator(mode="after")
    def _known_placeholders(self) -> "CommandTrainer":
        try:
            names = self.template.names
        except UserError as problem:
            raise ValueError(str(problem)) from None
        if "model" in names and self.model is None:
            raise ValueError("{model} needs `model:`, the format: hf, megatron, olmo-core or torchtitan")
        if self.model is not None and "model" not in names:
            raise ValueError("model has no use without {model} in the command")
        if self.checkpoints is not None and compiled(self.checkpoints).groups == 0:
            raise ValueError(r"checkpoints: needs a group for the step: step-(\d+)")
        if self.checkpoints is not None and not self.resumes:
            raise ValueError("checkpoints has no use in a command that does not go on: set resumes: true")
        return self

    @property
    def name(self) -> str:
        """command."""
        return "command"

    @property
    def template(self) -> Template:
        """The command, checked."""
        return Template.read(self.run, PLACEHOLDERS, "run")

    def check(self, recipe: Recipe, dataset: Dataset) -> tuple[str, ...]:
        """UserError for a model that its format cannot express, and for data that are no folder."""
        if "data" in self.template.names and isinstance(recipe.data, ShardFiles):
            raise UserError("run: {data} is a prepared folder and the recipe names files; use {train_files}")
        if self.model is not None:
            return export_to(self.model, recipe.architecture).notes
        return ()

    def check_cells(self, recipes: Sequence[Recipe]) -> None:
        """UserError where two recipes come to the same command."""
        names = self.template.names
        if "settings" in names:
            return
        seen: dict[str, Recipe] = {}
        for recipe in recipes:
            values = recipe_values(recipe)
            told: dict[str, Any] = {name: values[name] for name in names if name in values}
            if {"architecture", "model"} & set(names):
                told["architecture"] = recipe.architecture.to_dict()
            if {"data", "train_files", "validation_files"} & set(names):
                told["data"] = recipe.to_dict()["data"]
            key = json.dumps(told, sort_keys=True, default=str)
            if seen.setdefault(key, recipe) != recipe:
                differs = _first_unlike(recipe_values(seen[key]), values) or "settings"
                raise UserError(
                    f"trainer: two cells come to the same command; add {{{differs}}}, or {{settings}}, to run"
                )

    def cell(self, run: CellRun) -> CellFolder:
        """The command with the run's values."""
        folder, recipe, dataset = run.folder, run.recipe, run.dataset
        values: dict[str, PlaceholderValue] = {
            "run": run.id,
            "here": run.beside,
            "python": sys.executable,
            "output": folder / OUTPUT,
            "settings": folder / "settings.json",
            "architecture": folder / "architecture.json",
            "model": folder / "model",
            "data": recipe.data if isinstance(recipe.data, str) else "",
            "train_files": tuple(path.absolute() for path in dataset.train.files),
            "validation_files": tuple(path.absolute() for each in dataset.validation.values() for path in each.files),
            "token_dtype": dataset.train.dtype,
            "processes": run.execution.gpus_per_run or 1,
            **recipe_values(recipe),
        }
        plain = {name: list(map(str, value)) if isinstance(value, tuple) else value for name, value in values.items()}
        settings = {**plain, "recipe": recipe.to_dict()}
        files = {
            "settings.json": to_json(json.dumps(settings, indent=1, default=str)) + "\n",
            "architecture.json": to_json(json.dumps(recipe.architecture.to_dict(), indent=1)) + "\n",
        }
        notes: tuple[str, ...] = ()
        if self.model is not None:
            exported = export_to(self.model, recipe.architecture)
            files |= {f"model/{name}": text for name, text in exported.files.items()}
            notes = exported.notes
        try:
            command = self.template.fill(values)
        except ValueError as error:
            raise UserError(f"run: {error}") from None
        return CellFolder(
            files=files,
            command=command,
            loss=self.loss,
            resumes=self.resumes,
            counts_steps=False,
            checkpoints=self.checkpoints,
            notes=notes,
        )


def _first_unlike(one: Mapping[str, PlaceholderValue], other: Mapping[str, PlaceholderValue]) -> str | None:
    return next((name for name in one if one[name] != other[name]), None)
