"""OLMo-core below a sweep. Running it needs ai2-olmo-core, and for experts a GPU: here a dense model is trained."""

import json
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch.nn.functional import cross_entropy

from moewright.data.batches import Batches
from moewright.data.dataset import open_files
from moewright.errors import UserError
from moewright.experiment.collecting.collection import collect
from moewright.experiment.recipe import Recipe
from moewright.experiment.schedule import schedule_share
from moewright.lab.model import Transformer
from moewright.lab.optimization import initialize
from moewright.lab.training import train
from moewright.sweeps.running.sweeping import sweep
from tests.lab.tiny import BATCH, LENGTH, VOCAB, architecture, metrics
from tests.sweeps.test_hf_trainer import qwen


def cell(folder: Path, **changes: Any) -> Path:
    """The folder of one run."""
    values = qwen(folder, **{"steps": 20, "balancing": {"losses": [{"weight": 0.01}]}, **changes})
    values["data"]["end_of_document"] = 0
    spec = {"recipe": values, "trainer": {"kind": "olmo-core", "python": sys.executable}}
    (script,) = sweep(spec, folder / "out", write_only=True).written
    return Path(script).parent


def test_the_folder_has_model_script_and_settings(tmp_path: Path) -> None:
    run = cell(tmp_path)
    config = json.loads((run / "model/olmo_core_config.json").read_text())
    assert (config["d_model"], config["n_layers"]) == (32, 2)
    told = json.loads((run / "settings.json").read_text())
    assert (told["steps"], told["warmup_steps"], told["end_of_document"], told["token_dtype"]) == (20, 10, 0, "uint16")
    assert "-m torch.distributed.run --nproc-per-node 1 --standalone train.py" in (run / "launch.sh").read_text()
    compile((run / "train.py").read_text(), "train.py", "exec")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"balancing": {"z_loss": 0.1}}, "olmo-core has no balancing.z_loss"),
        ({"recompute": True}, "olmo-core has no recompute"),
        ({"architecture": architecture()}, "olmo-core has this model in fused blocks only"),
    ],
)
def test_what_it_cannot_do_is_refused(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError) as error:
        cell(tmp_path, **changes)
    assert complaint in str(error.value)


@pytest.mark.skipif(find_spec("olmo_core") is None, reason="needs ai2-olmo-core, in an environment of its own")
def test_it_trains_a_dense_model_and_the_loss_comes_home(tmp_path: Path) -> None:
    run = cell(tmp_path, architecture=architecture(dense=True), balancing={})
    assert subprocess.run(["bash", str(run / "launch.sh")], check=False).returncode == 0
    (row,) = collect(tmp_path / "out").table.to_dict("records")
    metrics = json.loads((run / "output/metrics.json").read_text())
    assert (row["state"], row["train_tokens"]) == ("done", 20 * 128)
    assert row["loss"] == metrics["eval/lm/validation/CE loss"]
    assert f"{int(row['total_params']):,} parameters" in (run / "printed.log").read_text()


@pytest.mark.skipif(find_spec("olmo_core") is None, reason="needs ai2-olmo-core, in an environment of its own")
def test_the_same_weights_order_and_targets_give_the_labs_losses(tmp_path: Path) -> None:
    """What a dense cell's losses differ in is the draw of weights, the order and the last target: nothing else does.

    OLMo-core's module and optimizer as the script builds them, from the lab's weights and on its batches.
    """
    model = architecture(dense=True)
    model["layers"][0]["layers"][0]["mixer"]["qk_norm"] = "per_head"
    run = cell(tmp_path, architecture=model, balancing={}, steps=50)
    told = json.loads((run / "settings.json").read_text())
    made = Recipe.from_dict(told["recipe"])
    train(made, tmp_path / "lab", show=False)
    wanted = [line["loss"] for line in metrics(tmp_path / "lab", "train")]

    config = json.loads((run / "model/olmo_core_config.json").read_text())
    theirs = import_module("olmo_core.nn.transformer").TransformerConfig.from_dict(config).build(init_device="cpu")
    ours = Transformer(made.architecture)
    initialize(ours, made.initialization, made.seed)
    _copy_weights(ours, theirs)
    optim, optimizer = import_module("olmo_core.optim"), made.optimizer
    vectors = [name for name, each in theirs.named_parameters() if each.ndim == 1]
    adamw = optim.AdamWConfig(
        lr=told["learning_rate"],
        betas=(optimizer.beta1, optimizer.beta2),
        eps=optimizer.eps,
        weight_decay=optimizer.weight_decay,
        group_overrides=[optim.OptimGroupOverride(params=vectors, opts={"weight_decay": 0.0})],
    ).build(theirs)
    batches = Batches(open_files(told["train_files"], told["validation"], VOCAB, "uint16").train, LENGTH, made.seed)
    for step, expected in enumerate(wanted):
        inputs, targets = (torch.as_tensor(each) for each in batches.take(step * BATCH, BATCH))
        loss = cross_entropy(theirs(inputs).float().flatten(0, 1), targets.flatten())
        adamw.zero_grad()
        torch.autograd.backward(loss)
        assert optimizer.clip_norm is not None
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), optimizer.clip_norm)
        share = schedule_share(made.schedule, (step + 1) * made.batch_tokens, made.train_tokens)
        for group in adamw.param_groups:
            group["lr"] = told["learning_rate"] * share
        adamw.step()
        assert loss.item() == pytest.approx(expected, abs=5e-6), step


def _copy_weights(ours: Any, theirs: Any) -> None:
    """From the lab's module to OLMo-core's."""
    given, taken = dict(ours.named_parameters()), dict(theirs.named_parameters())
    names = {"embeddings": "embed_tokens", "lm_head.w_out": "lm_head", "lm_head.norm": "final_norm.weight"}
    for layer in range(len(theirs.blocks)):
        block, own = f"blocks.{layer}", f"layers.{layer}"
        names |= {
            f"{block}.attention.w_{a}": f"{own}.mixer.{b}_proj"
            for a, b in zip(("q", "k", "v", "out"), "qkvo", strict=True)
        }
        names |= {f"{block}.attention.{a}_norm": f"{own}.mixer.{a}_norm" for a in "qk"}
        names |= {f"{block}.feed_forward.w2": f"{own}.feed_forward.down_proj"}
        names |= {f"{block}.attention_norm": f"{own}.mixer_norm.weight"}
        names |= {f"{block}.feed_forward_norm": f"{own}.feed_forward_norm.weight"}
    with torch.no_grad():
        for name, own in names.items():
            taken.pop(f"{name}.weight").copy_(given[own])
        for layer in range(len(theirs.blocks)):
            gate, up = given[f"layers.{layer}.feed_forward.up_proj"].chunk(2)
            taken.pop(f"blocks.{layer}.feed_forward.w1.weight").copy_(gate)
            taken.pop(f"blocks.{layer}.feed_forward.w3.weight").copy_(up)
    assert not taken
