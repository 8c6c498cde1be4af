"""Megatron-LM below a sweep: its arguments by its own parser, its data by its own reader, its log by ours.

Its sources are not on PyPI: put them on PYTHONPATH for the tests that need them (tried at d98e8a6).
"""

import argparse
import struct
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from moewright.errors import UserError
from moewright.experiment.trainer_folder import EXIT_CODE, OUTPUT, PRINTED
from moewright.experiment.trainer_outcome import read_outcome
from moewright.sweeps.running.sweeping import sweep
from moewright.sweeps.trainers.megatron_trainer import index_of
from tests.lab.tiny import VOCAB
from tests.sweeps.test_hf_trainer import qwen


def cell(folder: Path, trainer: dict[str, Any] | None = None, **changes: Any) -> Path:
    """The folder of one run."""
    losses = [{"weight": 0.01}]
    balancing = {"losses": losses, "z_loss": 0.001}
    values = qwen(folder, **{"balancing": balancing, "evaluation": {"every_tokens": 1280}, **changes})
    values["architecture"]["max_context"] = 64
    spec = {"recipe": values, "trainer": {"kind": "megatron", "script": "/m/pretrain_gpt.py", **(trainer or {})}}
    (script,) = sweep(spec, folder / "out", write_only=True).written
    return Path(script).parent


def words_of(run: Path) -> list[str]:
    """The arguments as bash gives them to the script."""
    command = "source model/pretrain_gpt_args.sh; source train_args.sh; "
    command += 'printf "%s\\0" "${MODEL_ARGS[@]}" "${TRAIN_ARGS[@]}"'
    said = subprocess.run(["bash", "-c", command], cwd=run, check=True, capture_output=True).stdout
    return said.decode().split("\0")[:-1]


def test_the_recipe_in_its_words(tmp_path: Path) -> None:
    run = cell(tmp_path, {"arguments": {"use_distributed_optimizer": True, "tensor-model-parallel-size": 2}})
    words = words_of(run)
    assert "--use-distributed-optimizer" in words
    for name, value in {
        "seq-length": "16",
        "micro-batch-size": "4",
        "global-batch-size": "8",
        "train-iters": "50",
        "lr": "0.01",
        "min-lr": "0.001",
        "lr-warmup-iters": "10",
        "eval-interval": "10",
        "seed": "1",
        "moe-z-loss-coeff": "0.0005",
        "moe-aux-loss-coeff": "0.005",
        "tensor-model-parallel-size": "2",
        "load": str(run / OUTPUT),
    }.items():
        assert words[words.index(f"--{name}") + 1] == value, name


@pytest.mark.parametrize(
    ("changes", "trainer", "complaint"),
    [
        ({"document_mask": True}, {}, "megatron has no document_mask"),
        ({"initial_weights": "x"}, {}, "initial_weights"),
        ({}, {"arguments": {"train_iters": 3}}, "trainer.arguments: train_iters is the recipe's own"),
        ({"checkpoints": {"every_minutes": 5.0}}, {}, "it saves by steps; set every_tokens"),
    ],
)
def test_what_it_cannot_do_is_refused(tmp_path: Path, changes: Any, trainer: Any, complaint: str) -> None:
    with pytest.raises(UserError) as error:
        cell(tmp_path, trainer, **changes)
    assert complaint in str(error.value)


def test_the_shards_are_linked_with_an_index(tmp_path: Path) -> None:
    """By the layout that its sources document; and nothing is written through a link."""
    run = cell(tmp_path)
    assert (run / "data/train-0.bin").readlink() == tmp_path / "train.bin"
    index = (run / "data/train-0.idx").read_bytes()
    assert index[:9] == b"MMIDIDX\x00\x00"
    assert struct.unpack("<QBQQiqqq", index[9:]) == (1, 8, 1, 2, 20_000, 0, 0, 1)
    before = (tmp_path / "train.bin").read_bytes()
    (run / "data/train-0.bin").unlink()
    (run / "data/train-0.bin").symlink_to(tmp_path / "near.bin")
    near = (tmp_path / "near.bin").read_bytes()
    assert cell(tmp_path) == run
    assert (run / "data/train-0.bin").read_bytes() == before
    assert (tmp_path / "near.bin").read_bytes() == near
    with pytest.raises(UserError, match="too long for Megatron-LM"):
        index_of(2**31, "uint16")


def test_its_log_comes_home(tmp_path: Path) -> None:
    """Lines as it prints them (megatron/training/training.py); a start that ended before its last step is not done."""
    run = cell(tmp_path)
    (run / OUTPUT).mkdir()
    line = " iteration {0}0/      50 | consumed samples: {0}00 | lm loss: {1}E+00 | grad norm: 1.0 |"
    lines = [line.format(step, 4 - step / 2) for step in (1, 2, 3)]
    (run / PRINTED).write_text("\n".join(lines) + "\n")
    (run / EXIT_CODE).write_text("0\n")
    status = read_outcome(run).status
    assert status is not None
    assert (status.state, status.step) == ("interrupted", 30) or "validation/lm loss" in str(status.reason)
    lines += [line.format(step, 4 - step / 2) for step in (4, 5)]
    lines += [
        " validation loss at iteration 50 on validation set | lm loss value: 1.750000E+00 | lm loss PPL: 5.7E+00 |"
    ]
    (run / PRINTED).write_text("\n".join(lines) + "\n")
    status = read_outcome(run).status
    assert status is not None
    assert (status.state, status.step, status.loss) == ("finished", 50, 1.75)


def test_its_parser_takes_them(tmp_path: Path) -> None:
    try:
        arguments = import_module("megatron.training.arguments")
    except ImportError as error:
        pytest.skip(f"Megatron-LM's sources are not on the path: {error}")
    for kind in ("cosine", "wsd", "constant"):
        schedule = {"kind": kind, "warmup_tokens": 1280}
        (tmp_path / kind).mkdir()
        run = cell(tmp_path / kind, schedule=schedule, recompute=True, precision="bf16")
        parser = argparse.ArgumentParser(allow_abbrev=False)
        arguments.add_megatron_arguments(parser)
        found, left = parser.parse_known_args(words_of(run))
        assert left == []
        assert (found.train_iters, found.global_batch_size, found.lr, found.bf16) == (50, 8, 0.01, True)
        assert found.lr_decay_style == {"wsd": "WSD"}.get(kind, kind)
        assert found.lr_wsd_decay_iters == (10 if kind == "wsd" else None)
        assert found.vocab_size + 1 == VOCAB
        assert found.train_data_path == [str(run / "data/train-0")]
        assert found.num_experts == 4


def test_its_reader_takes_the_shards(tmp_path: Path) -> None:
    try:
        indexed = import_module("megatron.core.datasets.indexed_dataset")
    except ImportError as error:
        pytest.skip(f"megatron-core is not on the path: {error}")
    run = cell(tmp_path)
    dataset = indexed.IndexedDataset(str(run / "data/train-0"))
    assert len(dataset) == 1
    assert np.array_equal(dataset[0], np.fromfile(tmp_path / "train.bin", "<u2"))
