"""One run of a sweep by torchtitan: pretraining of the model in model/ on shards of tokens.

Written by `moewright sweep`, with what it is told beside it in settings.json, and recipe_data.py. It needs torchtitan
0.3 and goes on from the newest checkpoint in output/: torchrun --nproc-per-node N train.py, with more of torchtitan's
own arguments behind. `run` is what torchtitan's `--config` names.
"""

# ruff: noqa: E402 - the device is settled before torchtitan is imported

import json
import logging
import os
import signal
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import torch
import torch._utils

HERE = Path(__file__).resolve().parent
SETTINGS = json.loads((HERE / "settings.json").read_text())
RECIPE = SETTINGS["recipe"]
OUTPUT = HERE / "output"
BATCH, LENGTH, STEPS = RECIPE["batch_tokens"], RECIPE["sequence_length"], SETTINGS["steps"]
ON_CPU = not torch.accelerator.is_available()

if ON_CPU:
    # torchtitan 0.3 takes CUDA where there is no accelerator, and asks each device for its memory.
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    torch._utils._get_available_device_type = lambda: "cpu"
    for name, answer in {
        "get_device_name": "CPU",
        "get_device_properties": SimpleNamespace(total_memory=memory),
        "current_device": 0,
        "memory_stats": {},
        "reset_peak_memory_stats": None,
        "empty_cache": None,
    }.items():
        setattr(torch.cpu, name, lambda *_, told=answer: told)

if not hasattr(torch.distributed, "set_timeout"):  # not in torch 2.13: timeouts stay as they are at the first step
    torch.distributed.set_timeout = lambda timeout, group=None: None

sys.path.insert(0, str(HERE / "model"))

import torchtitan.train
from moewright_torchtitan import pretrain
from recipe_data import Joined, Sequences, passes, share
from torchtitan.components.checkpointer import CheckpointManager
from torchtitan.components.dataloader import BaseDataLoader
from torchtitan.components.loss import IGNORE_INDEX
from torchtitan.components.metrics import MetricsProcessor
from torchtitan.components.optimizer import LRSchedulersContainer, OptimizersContainer, ParamGroupConfig
from torchtitan.components.tokenizer import BaseTokenizer
from torchtitan.components.validate import Validator
from torchtitan.config.configs import DebugConfig, TrainingConfig
from torchtitan.distributed.activation_checkpoint import FullAC
from torchtitan.models.common.attention import FlexAttention, ScaledDotProductAttention
from torchtitan.tools.logging import logger
from torchtitan.trainer import Trainer

stopped = []
"""The signal by which the run was told to stop."""


class Shards(BaseDataLoader):
    """Sequences of the shards in the lab's order, in turn for each process."""

    @dataclass(kw_only=True, slots=True)
    class Config(BaseDataLoader.Config):
        infinite: bool = True
        """True: for training. False: the validation sets, once."""

    def __init__(self, config, *, dp_world_size, dp_rank, local_batch_size, **others):
        sets = SETTINGS["token_dtype"], LENGTH
        if config.infinite:
            self.sequences = Sequences(SETTINGS["train_files"], *sets, STEPS * BATCH // LENGTH, RECIPE["seed"])
        else:
            validation = [Sequences(files, *sets) for files in SETTINGS["validation"].values()]
            self.sequences = Joined(validation, RECIPE["evaluation"]["sequences"])
        self.all, self.rank, self.size = dp_world_size * local_batch_size, dp_rank, local_batch_size
        self.taken = 0

    def __iter__(self):
        while self.taken * self.all < len(self.sequences):
            first = self.taken * self.all + self.rank * self.size
            self.taken += 1
            # All processes have equally many batches: after the last sequence come targets that do not count.
            rows = [self.sequences[min(place, len(self.sequences) - 1)] for place in range(first, first + self.size)]
            for place, row in enumerate(rows, first):
                if place >= len(self.sequences):
                    row["labels"] = torch.full_like(row["labels"], IGNORE_INDEX)
            inputs = {"input": torch.stack([row["input_ids"] for row in rows])}
            if not ON_CPU:  # a sequence is one document to the attention mask
                inputs["positions"] = torch.arange(LENGTH).repeat(self.size, 1)
            yield inputs, torch.stack([row["labels"] for row in rows])

    def state_dict(self):
        return {"taken": self.taken}

    def load_state_dict(self, state):
        self.taken = state["taken"]


class NoTokenizer(BaseTokenizer):
    """The data are tokens already."""

    @dataclass(kw_only=True, slots=True)
    class Config(BaseTokenizer.Config):
        pass

    def __init__(self, config, **others):
        super().__init__()

    def encode(self, *texts, **others):
        raise NotImplementedError("the data are tokens already")

    decode = encode

    def get_vocab_size(self):
        return SETTINGS["vocab_size"]


class Evaluation(Validator):
    """All that the recipe evaluates, when it says, and at the end."""

    @dataclass(kw_only=True, slots=True)
    class Config(Validator.Config):
        pass

    last = None

    def should_validate(self, step):
        return step == STEPS or passes(RECIPE["evaluation"]["every_tokens"], BATCH, step)

    def validate(self, model_parts, step):
        super().validate(model_parts, step)
        self.last = step


@dataclass(kw_only=True, slots=True)
class Schedule(LRSchedulersContainer.Config):
    """The recipe's learning rates, which are the lab's."""

    def build(self, *, optimizers, training_steps):
        return LRSchedulersContainer(optimizers, partial(share, RECIPE))


class Run(Trainer):
    """The trainer, which keeps its console in output/ too and writes a checkpoint when it is told to stop."""

    @dataclass(kw_only=True, slots=True)
    class Config(Trainer.Config):
        pass

    def __init__(self, config):
        signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
        if int(os.environ["RANK"]) == 0:
            OUTPUT.mkdir(exist_ok=True)
            console = logging.FileHandler(OUTPUT / "train.log")
            console.setFormatter(logger.handlers[0].formatter)
            logger.addHandler(console)
        super().__init__(config)

    def should_continue_training(self):
        told = torch.tensor(len(stopped), device=self.device)
        if torch.distributed.get_world_size() > 1:  # all stop after the same step
            torch.distributed.all_reduce(told)
        if not told or self.step >= STEPS:
            return super().should_continue_training()
        stopped.append(signal.SIGTERM)
        if self.step % self.config.checkpoint.interval:
            self.checkpointer.save(self.step, last_step=True)
        return False

    def train(self):
        try:
            super().train()
        except RuntimeError as error:
            logger.error(error)
            raise
        # The last evaluation comes after the last checkpoint, and the start before was killed between the two.
        if self.step == STEPS and self.validator.last != STEPS:
            self.validator.validate(self.model_parts, self.step)


def run():
    """The configuration: the model's from model/, everything else from settings.json."""
    base = pretrain()
    if ON_CPU:  # where flexible attention has no backward pass; the same without documents
        for _, _, parent, name in list(base.model_spec.model.traverse(FlexAttention.Config)):
            setattr(parent, name, ScaledDotProductAttention.Config())
    optimizer, kept, every = RECIPE["optimizer"], RECIPE["checkpoints"]["keep"], RECIPE["checkpoints"]["every_tokens"]
    told = {
        "lr": SETTINGS["learning_rate"],
        "betas": (optimizer["beta1"], optimizer["beta2"]),
        "eps": optimizer["eps"],
    }
    groups = ((r"norm\.weight$", 0.0), (".*", optimizer["weight_decay"]))
    more = {"activation_checkpoint": FullAC.Config()} if RECIPE["recompute"] else {"activation_checkpoint": None}
    return Run.Config(
        model_spec=base.model_spec,
        loss=base.loss,
        dump_folder=str(OUTPUT),
        tokenizer=NoTokenizer.Config(),
        dataloader=Shards.Config(),
        optimizer=OptimizersContainer.Config(
            param_groups=[
                ParamGroupConfig(
                    pattern=pattern, optimizer_name="AdamW", optimizer_kwargs={**told, "weight_decay": decay}
                )
                for pattern, decay in groups
            ],
            implementation="for-loop" if ON_CPU else "fused",
        ),
        lr_scheduler=Schedule(warmup_steps=SETTINGS["warmup_steps"]),
        training=TrainingConfig(
            local_batch_size=RECIPE["micro_batch_sequences"],
            global_batch_size=BATCH // LENGTH,
            seq_len=LENGTH,
            max_norm=optimizer["clip_norm"] or float("inf"),
            steps=STEPS,
            mixed_precision_param="bfloat16" if RECIPE["precision"] == "bf16" else "float32",
            disable_cuda_graphs=True,
        ),
        checkpoint=CheckpointManager.Config(
            enable=True,
            folder=".",
            interval=max(1, round(every / BATCH)) if every else STEPS,
            last_save_model_only=False,
            keep_latest_k=max(2, kept),
        ),
        validator=Evaluation.Config(enable=True, dataloader=Shards.Config(infinite=False)),
        metrics=MetricsProcessor.Config(log_freq=RECIPE["log_every_steps"], enable_tensorboard=True),
        debug=DebugConfig(seed=RECIPE["seed"]),
        **more,
    )


if __name__ == "__main__":
    sys.modules["train"] = sys.modules["__main__"]  # what --module names is this file, and not a second copy of it
    sys.argv[1:1] = ["--module", "train", "--config", "run"]
    torchtitan.train.main()
    if stopped:
        sys.exit(143)  # the checkpoint is written
