"""What `plan` prints, through the trainers' own parsers.

Megatron-LM's are not on PyPI: put its sources on PYTHONPATH (tried at d98e8a6 with Python 3.11, where `typing.override`
must be lent from typing_extensions, and triton). torchtitan's come with `pip install torchtitan` (tried with 0.3.0).
"""

import argparse
import dataclasses
import shlex
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

import moewright
from moewright.hardware.activations import modules_of
from moewright.hardware.layout_record import LayoutRecord

CASES: list[tuple[str, dict[str, Any]]] = [
    ("qwen3-30b-a3b", {"hardware": "H100", "devices": 64}),
    ("deepseek-v3", {"hardware": "GB200", "devices": 256, "precision": "mxfp8"}),
    ("olmoe-1b-7b", {"hardware": "A100", "devices": 8}),
    ("olmoe-1b-7b", {"hardware": "H100", "devices": 16, "layout": "tp=2,pp=4,ep=2,chunks=2,recompute=layers"}),
    (
        "olmoe-1b-7b",
        {"hardware": "H100", "devices": 16, "layout": "pp=8,ep=2,recompute=layernorm+moe_act"},
    ),
    (
        "deepseek-v3",
        {"hardware": "H100", "devices": 256, "layout": "pp=8,ep=32,recompute=mla_up_proj+mlp+moe"},
    ),
    ("olmoe-1b-7b", {"hardware": "B200", "devices": 8, "precision": "nvfp4", "optimizer": "muon"}),
    ("olmoe-1b-7b", {"hardware": "H100", "devices": 8, "precision": "fp8", "optimizer": "adamw_8bit"}),
    (
        "olmoe-1b-7b",
        {"hardware": "H100", "devices": 8, "optimizer": "adamw_precision_aware", "gradient_dtype": "bf16"},
    ),
    ("deepseek-v3", {"hardware": "H100", "devices": 64, "layout": "pp=16,ep=4"}),
    ("mixtral-8x7b", {"hardware": "H100", "devices": 16, "layout": "cp=2,ep=8,zero=3"}),
]


def layouts() -> Iterator[LayoutRecord]:
    for model, settings in CASES:
        yield from moewright.plan(model, **settings).layouts


def test_megatron_lm_takes_its_flags() -> None:
    try:
        arguments = import_module("megatron.training.arguments")
    except ImportError as error:
        pytest.skip(f"Megatron-LM's sources are not on the path: {error}")
    for layout in layouts():
        parser = argparse.ArgumentParser(allow_abbrev=False)
        arguments.add_megatron_arguments(parser)
        found, left = parser.parse_known_args(shlex.split(" ".join(layout.megatron)))
        assert left == []
        assert found.tensor_model_parallel_size == layout.tp
        assert found.pipeline_model_parallel_size == layout.pp
        assert found.expert_model_parallel_size == layout.ep
        assert found.context_parallel_size == layout.cp
        assert found.micro_batch_size == layout.micro_batch
        assert found.sequence_parallel == (layout.tp > 1)
        selective = modules_of(layout.recompute) - {"layers"}
        granularity = "full" if layout.recompute == "layers" else "selective" if selective else None
        assert found.recompute_granularity == granularity
        if selective:
            assert set(found.recompute_modules) == selective
        assert found.bf16


def test_torchtitan_takes_its_settings() -> None:
    try:
        tyro = import_module("tyro")
        config = import_module("torchtitan.config")
        checkpointing = import_module("torchtitan.distributed.activation_checkpoint")
    except ImportError as error:
        pytest.skip(f"torchtitan is not installed: {error}")
    sections = {
        "training": (config.TrainingConfig, config.TrainingConfig),
        "parallelism": (config.ParallelismConfig, config.ParallelismConfig),
        "activation_checkpoint": (checkpointing.ActivationCheckpointingConfig, lambda: None),
    }
    together = dataclasses.make_dataclass(
        "Job", [(name, kind, dataclasses.field(default_factory=made)) for name, (kind, made) in sections.items()]
    )
    for layout in layouts():
        if layout.torchtitan is None:
            continue
        found = tyro.cli(together, args=shlex.split(" ".join(layout.torchtitan)))
        parallelism = found.parallelism
        assert parallelism.tensor_parallel_degree == layout.tp
        assert parallelism.pipeline_parallel_degree == layout.pp
        assert parallelism.expert_parallel_degree == layout.ep
        assert parallelism.context_parallel_degree == layout.cp
        shards = parallelism.data_parallel_replicate_degree * parallelism.data_parallel_shard_degree
        assert shards * layout.tp * layout.pp * layout.cp % (layout.dp * layout.tp * layout.pp * layout.cp) == 0
        assert (found.activation_checkpoint is None) == (layout.recompute != "layers")
        assert found.training.local_batch_size % parallelism.pipeline_parallel_microbatch_size == 0
        passed = found.training.local_batch_size * shards
        assert found.training.global_batch_size % passed == 0
        if layout.pp > 1:  # one optimizer step is one pass of the pipeline
            assert found.training.global_batch_size == passed
