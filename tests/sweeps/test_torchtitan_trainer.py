"""torchtitan below a sweep: its options by its own parser, and a mixture by its own trainer, on a CPU."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from moewright.errors import UserError
from moewright.experiment.collecting.collection import collect
from moewright.experiment.trainer_folder import EXIT_CODE, OUTPUT, PRINTED
from moewright.sweeps.running.sweeping import sweep
from tests.sweeps.test_hf_trainer import qwen

needs_torchtitan = pytest.mark.skipif(
    find_spec("torchtitan") is None, reason="needs torchtitan 0.3 and triton, in an environment of their own"
)
BIASED = {"balancing": {"selection_bias": {"zero_mean": True}}}


def cell(folder: Path, trainer: dict[str, Any] | None = None, biased: bool = True, **changes: Any) -> Path:
    """The folder of one run, whose routers have biases unless `biased` is false."""
    values = qwen(folder, **{"steps": 30, **(BIASED if biased else {"balancing": {}}), **changes})
    if biased:
        values["architecture"]["layers"][0]["layers"][0]["feed_forward"]["router"]["selection_bias"] = "buffer"
    spec = {"recipe": values, "trainer": {"kind": "torchtitan", "python": sys.executable, **(trainer or {})}}
    (script,) = sweep(spec, folder / "out", write_only=True).written
    return Path(script).parent


def test_the_folder_has_model_script_and_settings(tmp_path: Path) -> None:
    arguments = {"parallelism.tensor_parallel_degree": 2, "compile.enable": True}
    run = cell(tmp_path, {"arguments": arguments, "launch": "srun"})
    model = json.loads((run / "model/torchtitan_model.json").read_text())
    assert (model["model"], model["layers"][0]["moe"]["load_balance_coeff"]) == ("qwen3", 0.001)
    told = json.loads((run / "settings.json").read_text())
    assert (told["steps"], told["warmup_steps"], told["token_dtype"]) == (30, 10, "uint16")
    for name in ("train.py", "recipe_data.py", "model/moewright_torchtitan.py"):
        compile((run / name).read_text(), name, "exec")
    script = (run / "launch.sh").read_text()
    assert "train.py --parallelism.tensor_parallel_degree 2 --compile.enable" in script
    assert "srun --ntasks-per-node 1" in script


@pytest.mark.parametrize(
    ("changes", "trainer", "complaint"),
    [
        ({"balancing": {"losses": [{"weight": 0.01}]}}, {}, "torchtitan has no balancing.losses"),
        ({"balancing": {}}, {}, "torchtitan moves the routers' biases; set balancing.selection_bias"),
        ({"balancing": {"selection_bias": {}}}, {}, "take balancing.selection_bias: {zero_mean: true}"),
        ({"initial_weights": "x"}, {}, "initial_weights"),
        ({}, {"arguments": {"training.steps": 3}}, "trainer.arguments: training.steps is the recipe's own"),
        ({}, {"arguments": {"lr-scheduler.warmup_steps": 3}}, "lr-scheduler.warmup_steps is the recipe's own"),
        ({"checkpoints": {"every_minutes": 5.0}}, {}, "it saves by steps; set every_tokens"),
    ],
)
def test_what_it_cannot_do_is_refused(tmp_path: Path, changes: Any, trainer: Any, complaint: str) -> None:
    with pytest.raises(UserError) as error:
        cell(tmp_path, trainer, **changes)
    assert complaint in str(error.value)


@needs_torchtitan
def test_its_parser_takes_the_configuration(tmp_path: Path) -> None:
    run = cell(tmp_path, precision="bf16", recompute=True, checkpoints={"every_tokens": 1280, "every_minutes": None})
    ask = (
        "import sys, json; sys.argv = ['train']; import train\n"
        "from torchtitan.config import ConfigManager\n"
        "words = ['--module', 'train', '--config', 'run', '--parallelism.expert_parallel_degree', '2']\n"
        "c = ConfigManager().parse_args(words)\n"
        "g = c.optimizer.param_groups\n"
        "print(json.dumps([c.training.steps, c.training.global_batch_size, c.training.local_batch_size,"
        " c.training.mixed_precision_param, c.checkpoint.interval, c.parallelism.expert_parallel_degree,"
        " type(c.activation_checkpoint).__qualname__, [each.optimizer_kwargs['weight_decay'] for each in g]]))"
    )
    said = subprocess.run([sys.executable, "-c", ask], cwd=run, check=True, capture_output=True, text=True).stdout
    assert json.loads(said.splitlines()[-1]) == [30, 8, 4, "bfloat16", 10, 2, "FullAC.Config", [0.0, 0.1]]


@needs_torchtitan
def test_it_trains_a_mixture_and_goes_on_after_a_stop(tmp_path: Path) -> None:
    """Two micro-batches a step; both validation sets whole; the loss of a run that was stopped is the undisturbed's."""
    whole, stopped = (tmp_path / name for name in ("whole", "stopped"))
    for folder in (whole, stopped):
        folder.mkdir()
    changes: dict[str, Any] = {
        "checkpoints": {"every_tokens": 1280, "every_minutes": None},
        "evaluation": {"every_tokens": 1280},
    }
    plain = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = cell(whole, **changes)
    assert subprocess.run(["bash", str(run / "launch.sh")], check=False, env=plain).returncode == 0
    (row,) = collect(whole / "out").table.to_dict("records")
    assert (row["state"], row["train_tokens"]) == ("done", 30 * 128)
    assert row["final_rule"] == "last evaluation: validation_metrics/loss"
    assert f"{int(row['total_params']):,} total parameters" in (run / OUTPUT / "train.log").read_text()
    assert row["loss"] < 3.5  # of 4.16 without training

    again = cell(stopped, **changes)
    process = subprocess.Popen(["bash", str(again / "launch.sh")], env=plain, start_new_session=True)
    while "step: 13" not in ((again / PRINTED).read_text() if (again / PRINTED).exists() else ""):
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)
    process.wait()
    assert not (again / EXIT_CODE).exists()
    assert collect(stopped / "out").table["state"].tolist() == ["interrupted"]
    assert subprocess.run(["bash", str(again / "launch.sh")], check=False, env=plain).returncode == 0
    (other,) = collect(stopped / "out").table.to_dict("records")
    assert (other["state"], other["restarts"]) == ("done", 1)
    assert other["loss"] == pytest.approx(row["loss"], abs=1e-5)


@needs_torchtitan
def test_a_run_that_diverges_is_told(tmp_path: Path) -> None:
    """It stops at the first loss that is no number, which its console alone has."""
    run = cell(tmp_path, biased=False, learning_rate=1e8, optimizer={"clip_norm": None})
    assert subprocess.run(["bash", str(run / "launch.sh")], check=False).returncode == 1
    (row,) = collect(tmp_path / "out").table.to_dict("records")
    assert row["state"] == "diverged"
