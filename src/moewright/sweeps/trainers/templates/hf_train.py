"""One run of a sweep by transformers' Trainer: pretraining of the model in model/ on shards of tokens.

Written by `moewright sweep`, with what it is told beside it in settings.json, and recipe_data.py. It needs transformers
5, accelerate and numpy, and goes on from the newest checkpoint in output/: python train.py, or torchrun
--nproc-per-node N train.py
"""

import json
import math
import signal
import sys
import time
from functools import partial
from pathlib import Path

import torch
from recipe_data import Joined, Sequences, passes, share
from torch.nn.functional import cross_entropy
from torch.utils.data import SequentialSampler
from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

HERE = Path(__file__).resolve().parent
SETTINGS = json.loads((HERE / "settings.json").read_text())
RECIPE = SETTINGS["recipe"]
OUTPUT = HERE / "output"
LENGTH = RECIPE["sequence_length"]
SEQUENCES = RECIPE["batch_tokens"] // LENGTH  # of an optimizer step
STEPS = SETTINGS["steps"]


@torch.no_grad()
def initialize(model):
    """Normal with one deviation, projections into the residual divided by sqrt(2 layers); norms and biases stay."""
    deviation = RECIPE["initialization"]["deviation"]
    generator = torch.Generator().manual_seed(RECIPE["seed"])
    layers = model.config.num_hidden_layers
    for name, parameter in sorted(model.named_parameters()):
        if parameter.ndim > 1:
            into_residual = name.removesuffix(".weight").endswith(("o_proj", "down_proj"))
            own = deviation / math.sqrt(2 * layers) if into_residual else deviation
            parameter.copy_(torch.empty(parameter.shape).normal_(std=own, generator=generator))


class Pretraining(Trainer):
    """The Trainer with the loss of next tokens, which is logged as `loss`, and the router's losses beside it."""

    seen = 0.0  # cross-entropy since the last line of the log

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.model_accepts_loss_kwargs = False  # micro-batches are equally long: the Trainer divides by their number

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        """Nothing: `main` has loaded the weights. The Trainer of transformers 5.24 takes the names in the file for the
        module's: experts, which a file has one by one and the module as one tensor, would stay as they began."""

    def _get_train_sampler(self, train_dataset=None):
        return SequentialSampler(self.train_dataset)  # the order is the dataset's own

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        config = self.model.config
        balance, z = getattr(config, "router_aux_loss_coef", 0.0) or 0.0, RECIPE["balancing"]["z_loss"]
        balance = balance if RECIPE["balancing"]["losses"] else 0.0
        routers = {"output_router_logits": True} if model.training and (balance or z) else {}
        outputs = model(input_ids=inputs["input_ids"], use_cache=False, **routers)
        logits = outputs.logits.float()
        loss = cross_entropy(logits.flatten(0, 1), inputs["labels"].flatten())
        if model.training:
            self.seen = self.seen + loss.detach() / self.current_gradient_accumulation_steps
            if balance:
                loss = loss + balance * outputs.aux_loss
            if z:
                loss = loss + z * sum((each.float().logsumexp(-1) ** 2).mean() for each in outputs.router_logits) / len(
                    outputs.router_logits
                )
        return (loss, {"loss": loss}) if return_outputs else loss

    def log(self, logs, start_time=None):
        if "loss" in logs:
            steps = self.state.global_step - getattr(self, "logged", self.first)
            seen = torch.as_tensor(self.seen, device=self.args.device) / max(1, steps)
            if torch.distributed.is_initialized():
                torch.distributed.all_reduce(seen, torch.distributed.ReduceOp.AVG)
            logs = {**logs, "loss": float(seen), "total_loss": logs["loss"]}
            self.logged, self.seen = self.state.global_step, 0.0
        logs["num_input_tokens_seen"] = self.state.global_step * RECIPE["batch_tokens"]
        super().log(logs, start_time)


class Rhythm(TrainerCallback):
    """Checkpoints by tokens, by minutes, at the end, and when the run is told to stop."""

    def __init__(self):
        self.stopped, self.saved = False, time.monotonic()
        signal.signal(signal.SIGTERM, self.stop)

    def stop(self, number, frame):
        self.stopped = True

    def on_step_end(self, args, state, control, **kwargs):
        every, minutes = RECIPE["checkpoints"]["every_tokens"], RECIPE["checkpoints"]["every_minutes"]
        batch = RECIPE["batch_tokens"]
        passed = passes(every, batch, state.global_step)
        late = minutes and time.monotonic() - self.saved > 60 * minutes
        if passed or late or self.stopped or state.global_step >= STEPS:
            control.should_save, self.saved = True, time.monotonic()
        passed = passes(RECIPE["evaluation"]["every_tokens"], batch, state.global_step)
        control.should_evaluate = passed or state.global_step >= STEPS
        control.should_training_stop |= self.stopped
        return control


def newest_checkpoint():
    """The newest one that is whole: the Trainer writes its state last."""
    found = sorted(OUTPUT.glob("checkpoint-*"), key=lambda path: int(path.name[11:]), reverse=True)
    for path in found:
        try:
            json.loads((path / "trainer_state.json").read_text())
        except (OSError, ValueError):
            continue
        return path
    return None


def main():
    checkpoint = newest_checkpoint()
    config = AutoConfig.from_pretrained(HERE / "model")
    begin = checkpoint or RECIPE["initial_weights"]
    if begin:
        model = AutoModelForCausalLM.from_pretrained(begin, config=config, dtype=torch.float32)
    else:
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        initialize(model)
    optimizer = RECIPE["optimizer"]
    decayed = [each for each in model.parameters() if each.ndim > 1]
    others = [each for each in model.parameters() if each.ndim == 1]
    groups = [{"params": decayed, "weight_decay": optimizer["weight_decay"]}, {"params": others, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(
        groups, lr=SETTINGS["learning_rate"], betas=(optimizer["beta1"], optimizer["beta2"]), eps=optimizer["eps"]
    )
    micro = RECIPE["micro_batch_sequences"]
    arguments = TrainingArguments(
        **{
            "output_dir": str(OUTPUT),
            "max_steps": STEPS,
            "per_device_train_batch_size": micro,
            "per_device_eval_batch_size": micro,
            "gradient_accumulation_steps": SEQUENCES // (micro * SETTINGS["processes"]),
            "learning_rate": SETTINGS["learning_rate"],
            "max_grad_norm": optimizer["clip_norm"] or 0.0,
            "seed": RECIPE["seed"],
            "bf16": RECIPE["precision"] == "bf16",
            "logging_steps": RECIPE["log_every_steps"],
            "logging_nan_inf_filter": False,
            "eval_strategy": "no",
            "save_strategy": "no",
            "save_total_limit": RECIPE["checkpoints"]["keep"],
            "remove_unused_columns": False,
            "prediction_loss_only": True,
            "report_to": RECIPE["mirrors"] or "none",
            "disable_tqdm": True,
            "use_cpu": not torch.cuda.is_available(),
            **({"gradient_checkpointing": True} if RECIPE["recompute"] else {}),
            **SETTINGS["arguments"],
        }
    )
    rhythm = Rhythm()
    kind = SETTINGS["token_dtype"], LENGTH
    sets = [Sequences(files, *kind) for files in SETTINGS["validation"].values()]
    trainer = Pretraining(
        model=model,
        args=arguments,
        train_dataset=Sequences(SETTINGS["train_files"], *kind, STEPS * SEQUENCES, RECIPE["seed"]),
        eval_dataset=Joined(sets, RECIPE["evaluation"]["sequences"]),
        optimizers=(adamw, torch.optim.lr_scheduler.LambdaLR(adamw, partial(share, RECIPE))),
        callbacks=[rhythm],
    )
    trainer.first = 0 if checkpoint is None else int(checkpoint.name[11:])
    print(f"{sum(each.numel() for each in model.parameters()):,} parameters, from step {trainer.first}", flush=True)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if trainer.state.global_step < STEPS:
        sys.exit(143)  # told to stop; the checkpoint is written
    # The last evaluation came after the last checkpoint of an earlier start, where that was killed between the two.
    if not any("eval_loss" in each and each["step"] == STEPS for each in trainer.state.log_history):
        trainer.evaluate()
    trainer.save_state()


if __name__ == "__main__":
    main()
