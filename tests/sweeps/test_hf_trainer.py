"""transformers' Trainer below a sweep: the lab's data, schedule and weights in its folder, and the same losses."""

import json
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from moewright.data.batches import Batches, permutation
from moewright.data.dataset import open_files
from moewright.errors import UserError
from moewright.experiment.collecting.collection import collect
from moewright.experiment.recipe import Recipe, Schedule
from moewright.experiment.schedule import schedule_share
from moewright.experiment.trainer_folder import EXIT_CODE, OUTPUT
from moewright.lab.hf_weights import write_hf_checkpoint
from moewright.lab.model import Transformer
from moewright.lab.optimization import initialize
from moewright.lab.training import train
from moewright.sweeps.running.sweeping import sweep
from tests.lab.tiny import architecture, metrics, recipe, write_tokens

recipe_data: Any = import_module("moewright.sweeps.trainers.templates.recipe_data")
needs_accelerate = pytest.mark.skipif(
    find_spec("accelerate") is None, reason="the Trainer needs accelerate, which is not among the dev packages"
)


def qwen(folder: Path, steps: int = 50, **changes: Any) -> dict[str, Any]:
    """A recipe whose model qwen3_moe expresses, with transformers' own balance loss."""
    model = architecture()
    (layer,) = model["layers"][0]["layers"]
    layer["mixer"]["qk_norm"] = "per_head"
    layer["feed_forward"] = {**layer["feed_forward"], "router": {"normalize": True}, "shared": None}
    losses = [{"weight": 0.01, "layers": "pooled", "balanced_value": "top_k"}]
    balancing = {"losses": losses, "z_loss": 0.001}
    schedule = {"kind": "cosine", "warmup_tokens": 1280}
    made = recipe(write_tokens(folder, 20_000), steps, architecture=model, balancing=balancing, schedule=schedule)
    return {**made, "micro_batch_sequences": 4, **changes}


def spec(values: dict[str, Any], **trainer: Any) -> dict[str, Any]:
    return {"recipe": values, "trainer": {"kind": "hf", "python": sys.executable, **trainer}}


def test_its_data_are_the_labs_in_the_labs_order(tmp_path: Path) -> None:
    """Shards of unlike length, over two epochs; by the lab's own reader."""
    data = write_tokens(tmp_path)
    files = []
    tokens = np.fromfile(data["train"][0], "<u2")
    for number, part in enumerate(np.split(tokens, [17, 333, 334])):
        files.append(str(tmp_path / f"part-{number}.bin"))
        part.tofile(files[-1])
    dataset = open_files(files, data["validation"], 64, "uint16")
    lab = Batches(dataset.train, 16, seed=3)
    theirs = recipe_data.Sequences(files, "uint16", 16, 2 * lab.num_sequences, 3)
    assert theirs.own == lab.num_sequences
    for place in range(0, 2 * lab.num_sequences, 7):
        inputs, targets = lab.take(place, 1)
        got = theirs[place]
        assert got["input_ids"].tolist() == inputs[0].tolist()
        assert got["labels"].tolist() == targets[0].tolist()
    assert recipe_data.order(50, 2**40, 5).tolist() == permutation(50, 2**40, 5).tolist()


@pytest.mark.parametrize(
    "schedule",
    [
        {"kind": "cosine", "warmup_tokens": 500, "final_share": 0.2},
        {"kind": "wsd", "warmup_tokens": 500, "decay_share": 0.3},
        {"kind": "constant", "warmup_tokens": 130},
    ],
)
def test_its_schedule_is_the_labs(schedule: dict[str, Any]) -> None:
    values = Schedule.from_dict(schedule).to_dict()
    kept = {name: value for name, value in values.items() if name not in Schedule.from_dict(schedule).unused}
    told = {"schedule": kept, "batch_tokens": 128, "train_tokens": 5000}
    for step in range(40):
        assert recipe_data.share(told, step) == pytest.approx(
            schedule_share(Schedule.from_dict(schedule), (step + 1) * 128, 5000), rel=1e-12
        )


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"optimizer": {"kind": "muon"}}, "hf has no optimizer.kind muon"),
        ({"initialization": {"rule": "mup"}}, "hf has no initialization.rule mup"),
        ({"dispatch": {"capacity": {"factor": 1.0}}}, "hf has no dispatch: its experts take all tokens"),
        ({"balancing": {"losses": [{"weight": 0.01, "scope": "sequence"}]}}, "hf balances micro-batches"),
        ({"balancing": {"losses": [{"weight": 0.01, "size_penalty": True}]}}, "hf has one balance loss"),
        ({"parallel": "shard"}, "hf has no parallel shard"),
        ({"architecture": architecture(norm={"kind": "layer"})}, "cannot"),
    ],
)
def test_what_it_cannot_do_is_refused(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError) as error:
        sweep(spec(qwen(tmp_path, **changes)), tmp_path / "out", write_only=True)
    assert complaint in str(error.value)


def test_arguments_of_the_recipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trainer.arguments: max_steps is the recipe's own; set it there"):
        sweep(spec(qwen(tmp_path), arguments={"max_steps": 3}), tmp_path / "out", write_only=True)


def test_the_folder_has_model_script_and_settings(tmp_path: Path) -> None:
    values = spec(qwen(tmp_path), arguments={"dataloader_num_workers": 1})
    values["execution"] = {"gpus_per_run": 2}
    (script,) = sweep(values, tmp_path / "out", write_only=True).written
    run = Path(script).parent
    config = json.loads((run / "model/config.json").read_text())
    assert (config["model_type"], config["router_aux_loss_coef"]) == ("qwen3_moe", 0.01)
    told = json.loads((run / "settings.json").read_text())
    assert (told["steps"], told["processes"], told["arguments"]) == (50, 2, {"dataloader_num_workers": 1})
    assert "-m torch.distributed.run --nproc-per-node 2 --standalone train.py" in Path(script).read_text()
    subprocess.run(["bash", "-n", script], check=True)
    values["trainer"]["launch"] = "srun"
    (again,) = sweep(values, tmp_path / "out", write_only=True).written
    assert again == script, "how it is started does not change what it is"
    assert "srun --ntasks-per-node 1" in Path(script).read_text()


@needs_accelerate
def test_the_same_cell_in_lab_and_trainer_has_the_same_losses(tmp_path: Path) -> None:
    """From the same weights, 50 steps; the losses differ by the order of sums in fp32."""
    values = qwen(tmp_path)
    made = Recipe.from_dict(values)
    model = Transformer(made.architecture)
    initialize(model, made.initialization, 0)
    write_hf_checkpoint(model, made.architecture, tmp_path / "begin")
    values |= {"initial_weights": str(tmp_path / "begin"), "checkpoints": {"every_tokens": 2560, "keep": 2}}
    (script,) = sweep(spec(values), tmp_path / "out", write_only=True).written
    run = Path(script).parent
    assert subprocess.run(["bash", script], check=False).returncode == 0, (run / "printed.log").read_text()
    train(Recipe.from_dict(values), tmp_path / "lab", show=False)
    history = json.loads((run / "output/trainer_state.json").read_text())["log_history"]
    theirs = {each["step"]: each["loss"] for each in history if "loss" in each}
    lab = {line["step"]: line["loss"] for line in metrics(tmp_path / "lab", "train")}
    assert theirs.keys() == lab.keys() == set(range(1, 51))
    assert max(abs(theirs[step] - lab[step]) for step in lab) < 3e-6
    (row,) = collect(tmp_path / "out").table.to_dict("records")
    (own,) = collect(tmp_path / "lab").table.to_dict("records")
    assert row["loss"] == pytest.approx(own["loss"], abs=3e-6)
    for count in ("total_params", "active_params", "train_tokens", "train_flops", "learning_rate"):
        assert row[count] == own[count]
    assert f"{int(row['total_params']):,} parameters" in (run / "printed.log").read_text()
    # What a kill -9 after the checkpoint of step 40 would leave goes on to the same bits, experts included.
    (run / EXIT_CODE).unlink()
    for name in ("checkpoint-50", "trainer_state.json"):
        place = run / OUTPUT / name
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    assert subprocess.run(["bash", script], check=False).returncode == 0, (run / "printed.log").read_text()
    again = json.loads((run / "output/trainer_state.json").read_text())["log_history"]
    assert {each["step"]: each["loss"] for each in again if "loss" in each} == theirs
    assert "from step 40" in (run / "printed.log").read_text()
