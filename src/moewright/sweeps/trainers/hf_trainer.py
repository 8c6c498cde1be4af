"""transformers' Trainer: a training script in the run's folder, with the model's config.json."""

from typing import ClassVar

from moewright.data.dataset import Dataset
from moewright.errors import UserError
from moewright.experiment.recipe import Recipe
from moewright.experiment.trainer_folder import LossPlace
from moewright.sweeps.trainers.expressible import refuse_settings
from moewright.sweeps.trainers.torch_trainer import TorchTrainer, check_bare_tokens, script_text, settings_text
from moewright.sweeps.trainers.trainer import CellFolder, CellRun

_LACKS = {
    "optimizer.kind muon": "the script has AdamW",
    "initialization.rule mup": "the Trainer has one learning rate for all sizes; take rule standard",
    "balancing.selection_bias": "its models keep the bias as it is",
    "dispatch": "its experts take all tokens; leave dispatch out",
    "architecture.mtp_layers": "transformers' modules have no prediction blocks",
    "document_mask": "the script packs documents; leave it out",
    "parallel shard": "the script keeps a whole model on each process",
}
_OWN = (
    "output_dir",
    "max_steps",
    "num_train_epochs",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "seed",
    "optim",
    "save_strategy",
    "eval_strategy",
)
"""Of TrainingArguments: what the recipe decides."""


class HuggingFaceTrainer(TorchTrainer):
    """The Trainer of transformers 5."""

    called: ClassVar[str] = "hf"

    @property
    def name(self) -> str:
        """hf."""
        return "hf"

    def check(self, recipe: Recipe, dataset: Dataset) -> tuple[str, ...]:
        """What it does otherwise than the lab. UserError for what neither the Trainer nor transformers' models have."""
        for name in self.arguments:
            if name in _OWN:
                raise UserError(f"trainer.arguments: {name} is the recipe's own; set it there")
        refuse_settings(recipe, self.name, _LACKS)
        check_bare_tokens(dataset, self.name)
        notes = list(self.exported(recipe).notes)
        if recipe.initial_weights is None:
            notes.append("initial weights: the lab's deviations, other draws of the seed")
        return tuple(notes)

    def cell(self, run: CellRun) -> CellFolder:
        """config.json, the script, and what it is told."""
        exported = self.exported(run.recipe)
        return CellFolder(
            files={
                **{f"model/{name}": text for name, text in exported.files.items()},
                "settings.json": settings_text(run, arguments=self.arguments),
                "train.py": script_text("hf_train.py"),
                "recipe_data.py": script_text("recipe_data.py"),
            },
            command=self.start("train.py", run.execution),
            loss=LossPlace(metric="eval_loss", format="hf_trainer"),
            resumes=True,
            checkpoints=r"checkpoint-(\d+)",
            notes=self.check(run.recipe, run.dataset),
        )
