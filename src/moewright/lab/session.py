"""A run in memory: model, optimizers, data and where it stands; and its way to and from a checkpoint."""

from pathlib import Path

import torch

from moewright.data.batches import Batches
from moewright.data.dataset import Dataset
from moewright.errors import RunStopped, UserError
from moewright.experiment.initial_weights import check_architecture
from moewright.experiment.metrics import GradientNorms
from moewright.experiment.planning import ValidationSets
from moewright.experiment.recipe import Recipe
from moewright.experiment.run_folder import MODEL, OPTIMIZER, CheckpointState
from moewright.experiment.schedule import peak_learning_rate, schedule_share
from moewright.lab import checkpoint_files, sharding
from moewright.lab.losses import EvaluationReport, StepLosses, accumulate_gradients, evaluate
from moewright.lab.model import Transformer
from moewright.lab.model.balancing import set_even_bias, update_selection_bias
from moewright.lab.optimization import build_optimizers, gradient_norms, initialize
from moewright.lab.sharding import World

_DTYPES = {"fp32": None, "bf16": torch.bfloat16}


class Session:
    """The state that training moves, one optimizer step at a time."""

    def __init__(
        self, recipe: Recipe, dataset: Dataset, members: World, run: str | None = None, to_restore: bool = False
    ):
        """A model as it begins, or with `to_restore` without values yet.

        `run`: the id that its checkpoints name. Raises UserError for weights or data that do not fit.
        """
        self.recipe, self.dataset, self.members, self.run = recipe, dataset, members, run
        self.batches = Batches(dataset.train, recipe.sequence_length, recipe.seed)
        self.validation = ValidationSets(dataset, recipe)
        self.peak_rate = peak_learning_rate(recipe)
        self.model = Transformer(recipe.architecture, _DTYPES[recipe.precision])
        self.model.recompute = recipe.recompute
        if recipe.initial_weights is None and not to_restore:
            initialize(self.model, recipe.initialization, recipe.seed)
        elif not to_restore:
            self._load_weights(Path(str(recipe.initial_weights)))
        self.model.to(members.device)
        if recipe.parallel == "shard" and members.size > 1:
            sharding.shard(self.model, members)
        self.optimizers = build_optimizers(self.model, recipe)
        self.step = 0
        """Optimizer steps done."""
        self.steps_worse_than_guessing = 0
        self.gradient_norms: GradientNorms | None = None
        """Of the last step, where it is one that metrics hold."""

    @property
    def tokens(self) -> int:
        """Training tokens seen."""
        return self.step * self.recipe.batch_tokens

    @property
    def is_done(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.recipe.total_steps

    def is_logged(self, step: int) -> bool:
        """Whether metrics hold this step: the first, the last and every so many."""
        return step == 1 or step % self.recipe.log_every_steps == 0 or step >= self.recipe.total_steps

    def next_step(self) -> tuple[StepLosses, float, float]:
        """One optimizer step: its losses, the gradient's norm and the learning rate.

        Raises RunStopped, with the weights as they were, if a loss or a gradient is not finite.
        """
        recipe = self.recipe
        losses = accumulate_gradients(
            self.model, recipe, self.batches, self.step, self.members, self.dataset.end_of_document
        )
        if recipe.parallel == "replicate":
            sharding.sum_gradients(self.model, self.members)
        self.gradient_norms = gradient_norms(self.model) if self.is_logged(self.step + 1) else None
        norm = self._clip()
        if not all(value - value == 0 for value in [*losses.values, norm]):
            raise RunStopped(self._what_is_not_finite(losses))
        share = schedule_share(recipe.schedule, self.tokens + recipe.batch_tokens, recipe.train_tokens)
        rate = self.peak_rate * share
        self.optimizers.step(rate)
        bias = recipe.balancing.selection_bias
        if bias is not None and bias.update == "quantile":
            set_even_bias(bias.memory, self.model.moe_layers(), losses.totals.even_bias())
        elif bias is not None:
            update_selection_bias(bias, self.model.moe_layers(), losses.totals.loads)
        self.step += 1
        return losses, norm, rate

    def evaluate(self) -> EvaluationReport:
        """Losses on the validation sets."""
        return evaluate(self.model, self.recipe, self.validation, self.members)

    def _clip(self) -> float:
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = sharding.full_tensor(torch.nn.utils.get_total_norm(gradients))
        limit = self.recipe.optimizer.clip_norm
        if limit is not None and norm > limit:
            factor = float(limit / norm)
            for gradient in gradients:
                gradient.mul_(factor)
        return float(norm)

    def _what_is_not_finite(self, losses: StepLosses) -> str:
        named = {"the cross-entropy": losses.cross_entropy}
        named |= {"the z-loss": losses.z} if self.recipe.balancing.z_loss else {}
        named |= {f"balance loss {index}": value for index, value in enumerate(losses.balance)}
        found = [name for name, value in named.items() if value - value != 0]
        if not found:
            found = [
                f"the gradient of {name}"
                for name, p in self.model.named_parameters()
                if p.grad is not None and not bool(torch.isfinite(sharding.full_tensor(p.grad)).all())
            ][:3]
        what = ", ".join(found) or "the norm of all gradients"
        return f"step {self.step + 1}: {what} {'are' if len(found) > 1 else 'is'} not finite"

    # To a checkpoint and back

    def save(self, folder: Path) -> None:
        """Write a checkpoint; a call that all processes make, and the first one writes.

        Raises RunStopped for weights that are not finite, and OSError.
        """
        model = {name: sharding.full_tensor(tensor) for name, tensor in self.model.state_dict().items()}
        optimizer = self.optimizers.state()
        with self.members.together():
            self._write(folder, model, optimizer)

    def _write(self, folder: Path, model: dict[str, torch.Tensor], optimizer: dict[str, torch.Tensor]) -> None:
        bad = next((name for name, tensor in model.items() if not bool(torch.isfinite(tensor).all())), None)
        if bad is not None:  # the last step's update went too far, which the next step's loss would have shown
            raise RunStopped(f"step {self.step}: {bad} is not finite")
        if self.members.is_first:
            state = CheckpointState(
                run=self.run,
                step=self.step,
                tokens=self.tokens,
                next_sequence=self.step * self.recipe.batch_sequences,
                steps_worse_than_guessing=self.steps_worse_than_guessing,
            )
            checkpoint_files.write_checkpoint(folder, model, optimizer, state)
            checkpoint_files.keep_newest(folder, self.recipe.checkpoints.keep)

    def restore(self, checkpoint: Path, state: CheckpointState) -> None:
        """Go on exactly from where a checkpoint was written. `state`: its own record, whose files are checked."""
        self._copy_weights(checkpoint_files.load_tensors(checkpoint, MODEL), checkpoint)
        self.optimizers.load_state(checkpoint_files.load_tensors(checkpoint, OPTIMIZER))
        self.step = state.step
        self.steps_worse_than_guessing = state.steps_worse_than_guessing

    @torch.no_grad()
    def _copy_weights(self, tensors: dict[str, torch.Tensor], source: Path) -> None:
        mine = self.model.state_dict()
        if set(mine) != set(tensors):
            odd = next(iter(set(mine) ^ set(tensors)))
            raise UserError(f"{source}: its tensors do not fit the model at {odd}")
        for name, tensor in mine.items():
            tensor.copy_(sharding.like(tensors[name], tensor))

    def _load_weights(self, folder: Path) -> None:
        from moewright.lab.hf_weights import read_hf_checkpoint

        architecture, tensors = read_hf_checkpoint(folder)
        try:
            check_architecture(self.recipe, architecture)
        except UserError as error:
            raise UserError(f"initial_weights: {error}") from None
        self._copy_weights(tensors, folder)
