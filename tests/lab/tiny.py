"""Runs that take a second: a mixture of 2 layers, width 32 and 4 experts, and tokens with something to learn."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from moewright.experiment import run_folder
from moewright.files import read_objects
from moewright.lab.session import Session

VOCAB, LENGTH, BATCH = 64, 16, 8
"""Tokens of the vocabulary and of a sequence, sequences of an optimizer step."""
MEASURED = ("time", "tokens_per_second", "matmul_utilization", "matmul_peak_flops", "peak_memory_bytes")
"""Fields of metrics that differ from run to run."""


def write_tokens(folder: Path, tokens: int = 6000) -> dict[str, Any]:
    """Files of a noisy walk through the vocabulary, as the `data` of a recipe; two validation sets."""
    r = np.random.default_rng(5)
    for name, count in (("train", tokens), ("near", 200), ("far", 130)):
        steps = np.where(r.random(count) < 0.7, 1, r.integers(0, VOCAB, count))
        (np.cumsum(steps) % VOCAB).astype("<u2").tofile(folder / f"{name}.bin")
    files = {name: [str(folder / f"{name}.bin")] for name in ("train", "near", "far")}
    validation = {name: files[name] for name in ("near", "far")}
    return {"train": files["train"], "validation": validation, "vocab_size": VOCAB, "dtype": "uint16"}


def architecture(
    width: int = 32, selection_bias: str | None = None, dense: bool = False, **changes: Any
) -> dict[str, Any]:
    """Two layers, as a file would have them; 2 of 4 experts are active, beside a shared one."""
    feed_forward: dict[str, Any] = {
        "kind": "moe",
        "groups": [{"count": 4, "expert_size": 24, "top_k": 2}],
        "router": {"selection_bias": selection_bias},
        "shared": {"expert_size": 16},
    }
    if dense:
        feed_forward = {"kind": "dense", "size": 48}
    mixer = {"kind": "attention", "num_heads": width // 8, "num_kv_heads": width // 16, "head_dim": 8}
    layer = {"mixer": {**mixer, "rope": {"theta": 100.0}}, "feed_forward": feed_forward}
    return {
        "format": "moewright-architecture/1",
        "vocab_size": VOCAB,
        "hidden_size": width,
        "layers": [{"repeat": 2, "layers": [layer]}],
        **changes,
    }


def recipe(data: dict[str, Any], steps: int = 10, **changes: Any) -> dict[str, Any]:
    """A recipe as a plain dictionary: 8 sequences of 16 tokens a step, every step in the metrics."""
    biased = (changes.get("balancing") or {}).get("selection_bias") is not None
    return {
        "architecture": architecture(selection_bias="buffer" if biased else None),
        "data": data,
        "train_tokens": steps * BATCH * LENGTH,
        "sequence_length": LENGTH,
        "batch_tokens": BATCH * LENGTH,
        "micro_batch_sequences": BATCH,
        "learning_rate": 0.01,
        "balancing": {"losses": [{"weight": 0.01}]},
        "log_every_steps": 1,
        **changes,
    }


def metrics(folder: Path, *kinds: str) -> list[dict[str, Any]]:
    """The run's records without what is measured; of some kinds only, where they are named."""
    records = [record for record in read_objects(folder / run_folder.METRICS) if not kinds or record["kind"] in kinds]
    return [{key: value for key, value in record.items() if key not in MEASURED} for record in records]


def last_state(folder: Path) -> tuple[str, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The newest checkpoint: its name, the weights and biases, the optimizer's state."""
    newest = run_folder.checkpoints(folder)[-1]
    return newest.name, load_file(newest / run_folder.MODEL), load_file(newest / run_folder.OPTIMIZER)


def assert_same_end(folder: Path, expected: Path) -> None:
    """Two runs ended in the same step with the same bits and the same losses."""
    (name, *states), (wanted, *wanted_states) = last_state(folder), last_state(expected)
    assert name == wanted
    for state, other in zip(states, wanted_states, strict=True):
        assert state.keys() == other.keys()
        assert all(torch.equal(state[key], other[key]) for key in state)
    assert metrics(folder, "evaluation")[-1] == metrics(expected, "evaluation")[-1]


def start(*arguments: str) -> subprocess.Popen[str]:
    """`python -m ...` in a process of its own, on one thread."""
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"},
    )


def save(recipe: dict[str, Any], path: Path) -> str:
    """Write a recipe as a file; its name."""
    path.write_text(json.dumps(recipe))
    return str(path)


def interrupt_after(patch: pytest.MonkeyPatch, steps: int, by: int = signal.SIGTERM) -> None:
    """The run that begins next gets a signal during this step."""
    take_step = Session.next_step

    def next_step(self: Session) -> Any:
        if self.step == steps - 1:
            os.kill(os.getpid(), by)
        return take_step(self)

    patch.setattr(Session, "next_step", next_step)
