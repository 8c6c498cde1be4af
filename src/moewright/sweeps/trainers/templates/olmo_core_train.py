"""One run of a sweep by OLMo-core: pretraining of model/olmo_core_config.json on shards of tokens.

Written by `moewright sweep`, with what it is told beside it in settings.json. It needs ai2-olmo-core 3 and goes on from
the newest checkpoint in output/: torchrun --nproc-per-node N train.py
"""

import json
from pathlib import Path

import torch
from olmo_core.config import DType
from olmo_core.data import (
    NumpyDataLoaderConfig,
    NumpyFSLDatasetConfig,
    NumpyPaddedFSLDatasetConfig,
    TokenizerConfig,
)
from olmo_core.data.types import NumpyDatasetDType
from olmo_core.distributed.parallel import DataParallelType
from olmo_core.nn.transformer import TransformerConfig
from olmo_core.optim import WSD, AdamWConfig, ConstantWithWarmup, CosWithWarmup, OptimGroupOverride
from olmo_core.train import Duration, TrainerConfig, prepare_training_environment, teardown_training_environment
from olmo_core.train.callbacks import (
    CheckpointerCallback,
    ConsoleLoggerCallback,
    LMEvaluatorCallbackConfig,
    MetricSaverCallback,
)
from olmo_core.train.train_module import TransformerDataParallelConfig, TransformerTrainModuleConfig
from olmo_core.utils import seed_all

HERE = Path(__file__).resolve().parent
SETTINGS = json.loads((HERE / "settings.json").read_text())
RECIPE = SETTINGS["recipe"]
OUTPUT = HERE / "output"
BATCH, LENGTH, STEPS = RECIPE["batch_tokens"], RECIPE["sequence_length"], SETTINGS["steps"]


def dataset(kind, files, metadata=None):
    """Sequences of the shards: one after the other, or padded, a document at a time, which the evaluator wants."""
    end = SETTINGS["end_of_document"]
    tokenizer = TokenizerConfig(vocab_size=SETTINGS["data_vocab_size"], eos_token_id=end, pad_token_id=end)
    return kind(
        paths=files,
        metadata=metadata,
        tokenizer=tokenizer,
        sequence_length=LENGTH,
        dtype=NumpyDatasetDType(SETTINGS["token_dtype"]),
        work_dir=str(HERE / "work"),
    )


def schedule():
    """The recipe's, in steps."""
    warmup, floor = SETTINGS["warmup_steps"], RECIPE["schedule"].get("final_share", 1.0)
    if SETTINGS["schedule"] == "wsd":
        low = SETTINGS["final_learning_rate"]
        return WSD(warmup=warmup, decay=SETTINGS["decay_steps"], decay_fraction=None, decay_min_lr=low)
    if SETTINGS["schedule"] == "constant":
        return ConstantWithWarmup(warmup=warmup)
    return CosWithWarmup(warmup=warmup, alpha_f=floor)


def every(tokens):
    """An interval of the recipe in steps; None: only at the end."""
    return max(1, round(tokens / BATCH)) if tokens else None


def main():
    seed_all(RECIPE["seed"])
    model = TransformerConfig.from_dict(json.loads((HERE / "model/olmo_core_config.json").read_text())).build(
        init_device="cpu"
    )
    print(f"{sum(each.numel() for each in model.parameters()):,} parameters", flush=True)
    optimizer = RECIPE["optimizer"]
    vectors = [name for name, each in model.named_parameters() if each.ndim == 1]
    module = TransformerTrainModuleConfig(
        rank_microbatch_size=RECIPE["micro_batch_sequences"] * LENGTH,
        max_sequence_length=LENGTH,
        optim=AdamWConfig(
            lr=SETTINGS["learning_rate"],
            betas=(optimizer["beta1"], optimizer["beta2"]),
            eps=optimizer["eps"],
            weight_decay=optimizer["weight_decay"],
            group_overrides=[OptimGroupOverride(params=vectors, opts={"weight_decay": 0.0})] if vectors else None,
        ),
        max_grad_norm=optimizer["clip_norm"],
        scheduler=schedule(),
        autocast_precision=DType.bfloat16 if RECIPE["precision"] == "bf16" else None,
        dp_config=TransformerDataParallelConfig(name=DataParallelType.ddp) if SETTINGS["processes"] > 1 else None,
    ).build(model)
    train = dataset(NumpyFSLDatasetConfig, SETTINGS["train_files"]).build()
    loader = NumpyDataLoaderConfig(
        global_batch_size=BATCH, seed=RECIPE["seed"], work_dir=str(HERE / "work"), num_workers=0
    ).build(train, dp_process_group=module.dp_process_group)
    held_out = [file for files in SETTINGS["validation"].values() for file in files]
    evaluated = every(RECIPE["evaluation"]["every_tokens"])
    trainer = TrainerConfig(
        save_folder=str(OUTPUT),
        work_dir=str(HERE / "work"),
        save_overwrite=True,
        max_duration=Duration.steps(STEPS),
        metrics_collect_interval=RECIPE["log_every_steps"],
        cancel_check_interval=5,
        callbacks={
            "checkpointer": CheckpointerCallback(
                save_interval=every(RECIPE["checkpoints"]["every_tokens"]) or STEPS,
                pre_train_checkpoint=False,
                save_async=False,
            ),
            "console": ConsoleLoggerCallback(log_interval=RECIPE["log_every_steps"]),
            "saver": MetricSaverCallback(save_interval=RECIPE["log_every_steps"]),
            "evaluator": LMEvaluatorCallbackConfig(
                eval_dataset=dataset(
                    NumpyPaddedFSLDatasetConfig,
                    held_out,
                    [{"label": "validation"} for _ in held_out],  # one loss over all sets
                ),
                eval_interval=evaluated or STEPS,
                eval_on_finish=True,
            ),
        },
    ).build(module, loader)
    trainer.fit()


if __name__ == "__main__":
    cuda = torch.cuda.is_available()
    prepare_training_environment(seed=RECIPE["seed"], backend="cpu:gloo,cuda:nccl" if cuda else "gloo")
    main()
    teardown_training_environment()
