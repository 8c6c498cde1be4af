"""torchtitan: a training script in the run's folder, with the exported model. Written for torchtitan 0.3.0."""

from typing import ClassVar

from moewright.data.dataset import Dataset
from moewright.errors import UserError
from moewright.experiment.recipe import Recipe
from moewright.experiment.routing import SelectionBias
from moewright.experiment.trainer_folder import LossPlace
from moewright.sweeps.trainers.expressible import refuse_settings
from moewright.sweeps.trainers.torch_trainer import (
    TorchTrainer,
    check_bare_tokens,
    option_words,
    script_text,
    settings_text,
)
from moewright.sweeps.trainers.trainer import CellFolder, CellRun

_LACKS = {
    "optimizer.kind muon": "the script has AdamW",
    "initialization.rule mup": "the script has one learning rate for all sizes; take rule standard",
    "initial_weights": "it starts from its own checkpoints",
    "balancing.losses": "it balances by balancing.selection_bias alone",
    "balancing.z_loss": "leave it out",
    "dispatch": "its experts take all tokens; leave dispatch out",
    "document_mask": "the script packs documents; leave it out",
    "mirrors": "the script logs to files; leave them out, or give metrics.enable_wandb under arguments",
    "checkpoints.every_minutes": "it saves by steps; set every_tokens, and every_minutes: null",
}
_OWN = (
    "module",
    "config",
    "dump_folder",
    "optimizer",
    "lr_scheduler",
    "dataloader",
    "tokenizer",
    "validator",
    "checkpoint",
    "activation_checkpoint",
    "debug.seed",
    "training.local_batch_size",
    "training.global_batch_size",
    "training.seq_len",
    "training.max_norm",
    "training.steps",
    "training.mixed_precision_param",
    "metrics.log_freq",
)
"""Of its options and groups of options: what the recipe decides."""
_BIAS = SelectionBias(zero_mean=True)
"""How it moves the routers' biases (components/optimizer/optimizer.py)."""


class TorchtitanTrainer(TorchTrainer):
    """The trainer of torchtitan."""

    called: ClassVar[str] = "torchtitan"
    always_torchrun: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """torchtitan."""
        return "torchtitan"

    def check(self, recipe: Recipe, dataset: Dataset) -> tuple[str, ...]:
        """What it does otherwise than the lab. UserError for what it cannot express."""
        for name in self.arguments:
            plain = name.replace("-", "_")
            if any(plain == own or plain.startswith(f"{own}.") for own in _OWN):
                raise UserError(f"trainer.arguments: {name} is the recipe's own; set it there")
        refuse_settings(recipe, self.name, _LACKS)
        check_bare_tokens(dataset, self.name)
        biased = any(moe.router.selection_bias is not None for _, moe in recipe.architecture.moe_layers())
        if biased and recipe.balancing.selection_bias is None:
            raise UserError("torchtitan moves the routers' biases; set balancing.selection_bias: {zero_mean: true}")
        if recipe.balancing.selection_bias not in (None, _BIAS):
            rule = "by 0.001 and its sign, with mean zero"
            raise UserError(
                f"torchtitan moves the selection bias {rule}; take balancing.selection_bias: {{zero_mean: true}}"
            )
        notes = [*self.exported(recipe).notes, "initial weights: torchtitan's own rule for its family"]
        if recipe.architecture.moe_layers() and recipe.precision == "fp32":
            notes.append("precision: the experts' products are in bf16, which is all that torchtitan has")
        if recipe.parallel != "shard":
            notes.append("parallel: weights are sharded over the processes, the same mathematics")
        if recipe.checkpoints.keep < 2:
            notes.append("checkpoints: two are kept, the fewest that torchtitan allows")
        return tuple(notes)

    def cell(self, run: CellRun) -> CellFolder:
        """The exported model, the script, and what it is told."""
        return CellFolder(
            files={
                **{f"model/{name}": text for name, text in self.exported(run.recipe).files.items()},
                "settings.json": settings_text(run),
                "train.py": script_text("torchtitan_train.py"),
                "recipe_data.py": script_text("recipe_data.py"),
            },
            command=self.start("train.py", run.execution, *option_words(self.arguments)),
            loss=LossPlace(metric="validation_metrics/loss", format="torchtitan"),
            resumes=True,
            checkpoints=r"step-(\d+)",
            notes=self.check(run.recipe, run.dataset),
        )
