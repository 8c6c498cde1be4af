"""OLMo-core: a training script in the run's folder, with the model's config. Written for ai2-olmo-core 3.0.0."""

from typing import ClassVar

from moewright.data.dataset import Dataset
from moewright.errors import UserError
from moewright.experiment.recipe import Recipe
from moewright.experiment.trainer_folder import LossPlace
from moewright.exporters.olmo_core import CONFIG, needs_fused
from moewright.sweeps.trainers.expressible import refuse_settings
from moewright.sweeps.trainers.torch_trainer import TorchTrainer, check_bare_tokens, script_text, settings_text
from moewright.sweeps.trainers.trainer import CellFolder, CellRun

_LACKS = {
    "optimizer.kind muon": "the script has AdamW",
    "initialization.rule mup": "the script has one learning rate for all sizes; take rule standard",
    "initial_weights": "it starts from its own checkpoints",
    "balancing.z_loss": "the export sets none; leave it out",
    "balancing.selection_bias": "the script leaves the bias as it is",
    "dispatch": "its experts take all tokens; leave dispatch out",
    "architecture.mtp_layers": "it has no prediction blocks",
    "document_mask": "the script packs documents; leave it out",
    "recompute": "the script keeps activations; leave it out",
    "parallel shard": "the script keeps a whole model on each process",
    "mirrors": "the script logs to files; leave them out",
    "checkpoints.every_minutes": "it saves by steps; set every_tokens, and every_minutes: null",
}


class OlmoCoreTrainer(TorchTrainer):
    """The trainer of OLMo-core."""

    called: ClassVar[str] = "olmo-core"
    always_torchrun: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """olmo-core."""
        return "olmo-core"

    def check(self, recipe: Recipe, dataset: Dataset) -> tuple[str, ...]:
        """What it does otherwise than the lab. UserError for what it cannot express."""
        if self.arguments:
            raise UserError("trainer.arguments: the script of olmo-core takes none; change train.py in a copy")
        refuse_settings(recipe, self.name, _LACKS)
        check_bare_tokens(dataset, self.name)
        if dataset.end_of_document is None:
            raise UserError("olmo-core evaluates a document at a time; the data do not say which token ends one")
        if needs_fused(recipe.architecture):
            raise UserError("olmo-core has this model in fused blocks only, which its standard trainer does not train")
        return (
            *self.exported(recipe).notes,
            "data: the order of sequences is OLMo-core's; the last token of a sequence has no target",
            "evaluation: all of each set, a document at a time, padded: another number than the lab's",
            "initial weights: OLMo-core's own rule",
        )

    def cell(self, run: CellRun) -> CellFolder:
        """The model's config, the script, and what it is told."""
        return CellFolder(
            files={
                f"model/{CONFIG}": self.exported(run.recipe).files[CONFIG],
                "settings.json": settings_text(
                    run, data_vocab_size=run.dataset.vocab_size, end_of_document=run.dataset.end_of_document
                ),
                "train.py": script_text("olmo_core_train.py"),
            },
            command=self.start("train.py", run.execution),
            loss=LossPlace(metric="eval/lm/validation/CE loss", format="olmo_core"),
            resumes=True,
            checkpoints=r"step(\d+)",
            notes=self.check(run.recipe, run.dataset),
        )
