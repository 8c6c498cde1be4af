"""Megatron-LM: the arguments of pretrain_gpt.py, with the shards in the form of its indexed datasets.

Written for the Megatron-LM of megatron-core 0.16.1 (megatron/training/arguments.py, core/datasets/indexed_dataset.py).
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from moewright.data.dataset import Dataset
from moewright.errors import UserError
from moewright.experiment.recipe import Recipe
from moewright.experiment.routing import SelectionBias
from moewright.experiment.schedule import peak_learning_rate
from moewright.experiment.trainer_folder import OUTPUT, LossPlace
from moewright.exporters.megatron import ARGUMENTS
from moewright.foreign_text import shell_words
from moewright.sweeps.trainers.expressible import mixture_layers, refuse_settings
from moewright.sweeps.trainers.recipe_values import recipe_values
from moewright.sweeps.trainers.torch_trainer import TorchTrainer, check_bare_tokens, option_words
from moewright.sweeps.trainers.trainer import CellFolder, CellRun

_LACKS = {
    "optimizer.kind muon": "the recipe's Muon is another than Megatron-LM's",
    "initialization.rule mup": "it has one learning rate for all sizes; take rule standard",
    "initial_weights": "it starts from its own checkpoints",
    "dispatch": "the recipe's capacity is another than Megatron-LM's; leave it out",
    "document_mask": "its data have no ends of documents here; leave it out",
    "parallel shard": "give --use-distributed-optimizer under arguments",
    "mirrors": "give its own flags under arguments",
    "checkpoints.every_minutes": "it saves by steps; set every_tokens, and every_minutes: null",
}
_DTYPE_CODES = {"uint16": 8, "uint32": 4}
"""DType.code of indexed_dataset.py; it has no uint32, whose tokens are those of int32, below 2**31."""
_BOTH = '"${MODEL_ARGS[@]}" "${TRAIN_ARGS[@]}"'
_SCHEDULES = {"cosine": "cosine", "wsd": "WSD", "constant": "constant"}


class MegatronTrainer(TorchTrainer):
    """pretrain_gpt.py of a Megatron-LM that lies somewhere here."""

    called: ClassVar[str] = "megatron"
    indifferent: ClassVar[tuple[str, ...]] = (*TorchTrainer.indifferent, "script")

    script: str = "pretrain_gpt.py"
    """Its path, from the run's folder if it is not absolute."""

    @property
    def name(self) -> str:
        """megatron."""
        return "megatron"

    def check(self, recipe: Recipe, dataset: Dataset) -> tuple[str, ...]:
        """What it does otherwise than the lab. UserError for what it cannot express."""
        refuse_settings(recipe, self.name, _LACKS)
        check_bare_tokens(dataset, self.name)
        if recipe.balancing.selection_bias not in (None, SelectionBias()):
            raise UserError(
                "megatron moves the selection bias by 0.001 and its sign; take balancing.selection_bias: {}"
            )
        biased = any(moe.router.selection_bias is not None for _, moe in recipe.architecture.moe_layers())
        if biased and recipe.balancing.selection_bias is None:
            raise UserError("megatron moves the routers' selection bias; set balancing.selection_bias: {}")
        own = {word.removeprefix("--") for word in _arguments(recipe, dataset, Path()) if word.startswith("--")}
        for name in self.arguments:
            if name.replace("_", "-") in own:
                raise UserError(f"trainer.arguments: {name} is the recipe's own; set it there")
        notes = [*self.exported(recipe).notes]
        notes.append("data: each shard is one document; the order of sequences is Megatron-LM's, by the same seed")
        notes.append("initial weights: Megatron-LM's, with the recipe's deviation")
        if recipe.balancing.z_loss:
            notes.append("z-loss: over the layers with experts, since Megatron-LM's is the sum over layers")
        return tuple(notes)

    def cell(self, run: CellRun) -> CellFolder:
        """The arguments of the model and of the training, and the shards' indices."""
        words = [*_arguments(run.recipe, run.dataset, run.folder), *option_words(self.arguments, dashes=True)]
        start = self.start(self.script, run.execution)
        return CellFolder(
            files={
                **{f"model/{name}": text for name, text in self.exported(run.recipe).files.items()},
                "train_args.sh": _as_array("TRAIN_ARGS", words),
                **_indexed(run.dataset),
            },
            command=f"source model/{ARGUMENTS}\nsource train_args.sh\n{start} {_BOTH}",
            loss=LossPlace(metric="validation/lm loss", format="megatron"),
            resumes=True,
            checkpoints=r"iter_(\d+)",
            notes=self.check(run.recipe, run.dataset),
        )


def _arguments(recipe: Recipe, dataset: Dataset, folder: Path) -> list[str]:
    """Of the training, as words."""
    values = recipe_values(recipe)
    steps, batch = recipe.total_steps, recipe.batch_tokens
    output = str(folder / OUTPUT)
    evaluated, saved = recipe.evaluation.every_tokens, recipe.checkpoints.every_tokens
    held_out = sum((len(shards) - 1) // recipe.sequence_length for shards in dataset.validation.values())
    if recipe.evaluation.sequences is not None:
        held_out = min(held_out, recipe.evaluation.sequences * len(dataset.validation))
    pairs = {
        "seq-length": recipe.sequence_length,
        "micro-batch-size": recipe.micro_batch_sequences,
        "global-batch-size": recipe.batch_sequences,
        "train-iters": steps,
        "lr": peak_learning_rate(recipe),
        "min-lr": values["final_learning_rate"],
        "lr-decay-style": _SCHEDULES[recipe.schedule.kind],
        "lr-decay-iters": steps,
        "lr-warmup-iters": values["warmup_steps"],
        "optimizer": "adam",
        "weight-decay": recipe.optimizer.weight_decay,
        "adam-beta1": recipe.optimizer.beta1,
        "adam-beta2": recipe.optimizer.beta2,
        "adam-eps": recipe.optimizer.eps,
        "clip-grad": recipe.optimizer.clip_norm or 0.0,
        "init-method-std": recipe.initialization.deviation,
        "seed": max(1, recipe.seed + 1),  # it takes none below 1
        "tokenizer-type": "NullTokenizer",
        "vocab-size": recipe.architecture.vocab_size - 1,  # it adds one for the end of a document
        "log-interval": recipe.log_every_steps,
        "eval-interval": steps if evaluated is None else max(1, round(evaluated / batch)),
        "eval-iters": max(1, held_out // recipe.batch_sequences),
        "save": output,
        "load": output,
        "save-interval": steps if saved is None else max(1, round(saved / batch)),
    }
    if recipe.schedule.kind == "wsd":
        pairs |= {"lr-wsd-decay-style": "linear", "lr-wsd-decay-iters": values["decay_steps"]}
    if recipe.architecture.mtp_layers:
        pairs["mtp-loss-scaling-factor"] = recipe.prediction_loss_weight
    if recipe.balancing.z_loss:
        pairs["moe-z-loss-coeff"] = recipe.balancing.z_loss / mixture_layers(recipe)
    if recipe.recompute:
        pairs |= {"recompute-granularity": "full", "recompute-method": "uniform", "recompute-num-layers": 1}
    flags = ["exit-signal-handler", *(["bf16"] if recipe.precision == "bf16" else [])]
    words = option_words({**pairs, **dict.fromkeys(flags, True)})
    validation = list(dataset.validation.values())
    train = _prefixes(folder, "train", len(dataset.train.files))
    held = [
        each for place, shards in enumerate(validation) for each in _prefixes(folder, f"held{place}", len(shards.files))
    ]
    return [*words, "--train-data-path", *train, "--valid-data-path", *held]


def _prefixes(folder: Path, split: str, files: int) -> list[str]:
    return [str(folder / "data" / f"{split}-{number}") for number in range(files)]


def _as_array(name: str, words: Sequence[str]) -> str:
    lines = [f"{name}=("]
    for word in words:
        if word.startswith("--"):
            lines.append(f"  {word}")
        else:
            lines[-1] += f" {shell_words(word)}"
    return "\n".join([*lines, ")", ""])


def _indexed(dataset: Dataset) -> dict[str, str | bytes | Path]:
    """Each shard as PREFIX.bin, a link, and PREFIX.idx: one document."""
    files: dict[str, str | bytes | Path] = {}
    held = {f"held{place}": shards for place, shards in enumerate(dataset.validation.values())}
    for split, shards in {"train": dataset.train, **held}.items():
        size = np.dtype(shards.dtype).itemsize
        for number, path in enumerate(shards.files):
            files[f"data/{split}-{number}.bin"] = path.absolute()
            files[f"data/{split}-{number}.idx"] = index_of(path.stat().st_size // size, shards.dtype)
    return files


def index_of(tokens: int, dtype: str) -> bytes:
    """An .idx of one document: magic, version, dtype, counts of sequences and documents, lengths, offsets, documents.

    UserError for more tokens than its lengths, int32, can say.
    """
    if tokens >= 2**31:
        raise UserError(
            f"data: a shard of {tokens:,} tokens is too long for Megatron-LM; prepare with --tokens-per-shard"
        )
    head = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, _DTYPE_CODES[dtype], 1, 2)
    return head + struct.pack("<iqqq", tokens, 0, 0, 1)
