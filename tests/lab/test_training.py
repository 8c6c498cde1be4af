"""Runs as a whole: interrupted at any moment, repeated, diverging, on full disks, and what they report."""

import json
import math
import os
import random
import re
import shutil
import signal
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from moewright.architecture.counts import training_flops_per_token
from moewright.data.dataset import open_files
from moewright.data.preparation import prepare
from moewright.errors import UserError
from moewright.experiment import run_folder
from moewright.experiment.planning import least_checkpoint_bytes
from moewright.experiment.recipe import Recipe
from moewright.files import AppendOnlyFile, read_objects
from moewright.lab import checkpoint_files, loop
from moewright.lab.model import Transformer
from moewright.lab.model.moe import RoutingMode
from moewright.lab.session import Session
from moewright.lab.sharding import World
from moewright.lab.training import train
from tests.lab import tiny
from tests.test_cli import run

pytestmark = pytest.mark.usefixtures("quick")

STEPS = 12
BIAS = {"selection_bias": {"step": 0.01}}
GLOBAL = {"losses": [{"weight": 0.05, "scope": "global_batch"}], **BIAS}
VARIANTS: dict[str, dict[str, Any]] = {
    "adamw, cosine, loss-free bias": {"balancing": BIAS},
    "muon, wsd, accumulation with the global batch's loads": {
        "balancing": GLOBAL,
        "micro_batch_sequences": 4,
        "optimizer": {"kind": "muon"},
        "schedule": {"kind": "wsd", "warmup_tokens": 400},
    },
    "mup, constant, bf16, capacity, documents": {
        "initialization": {"rule": "mup", "base_width": 16},
        "schedule": {"kind": "constant", "warmup_tokens": 400},
        "precision": "bf16",
        "dispatch": {"capacity": {"factor": 1.0}},
        "document_mask": True,
    },
}


def status_of(folder: Path) -> run_folder.RunStatus:
    """status.json; before the first checkpoint, a run at its beginning."""
    return run_folder.read_status(folder) or run_folder.RunStatus(state="running")


class Killed(BaseException):
    """What nothing catches."""


def assert_repeats_are_equal(folder: Path, at_most: int) -> None:
    """Steps that were trained twice gave the same twice, and they are no more than what a checkpoint had not kept."""
    seen: dict[int, dict[str, Any]] = {}
    repeated = 0
    for record in tiny.metrics(folder, "train"):
        repeated += record["step"] in seen
        assert seen.setdefault(record["step"], record) == record
    assert sorted(seen) == list(range(1, len(seen) + 1))
    assert repeated <= at_most


@pytest.mark.parametrize(
    ("variant", "by", "code"),
    [(0, signal.SIGTERM, 143), (1, signal.SIGKILL, -9), (2, signal.SIGINT, 130)],
    ids=("SIGTERM", "kill -9", "Ctrl-C"),
)
def test_command_killed_and_continued(
    tmp_path: Path, data: dict[str, Any], variant: int, by: signal.Signals, code: int
) -> None:
    """Bit for bit the uninterrupted run, wherever the signal falls; what was written before stays as it is."""
    every, steps = 4, 24
    data["end_of_document"] = 7
    changes = {**list(VARIANTS.values())[variant], "checkpoints": {"every_tokens": every * tiny.BATCH * tiny.LENGTH}}
    file = tiny.save(tiny.recipe(data, steps, **changes), tmp_path / "recipe.json")
    folder, last_step = tmp_path / "killed", random.randrange(2, 9)
    process = tiny.start("moewright", "train", file, "--quiet", "--out", str(folder))
    log = folder / run_folder.METRICS
    while not (log.exists() and f'"train", "step": {last_step},' in log.read_text()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.send_signal(by)
    out, err = process.communicate(timeout=60)
    before = log.read_bytes()
    assert process.returncode == code
    if by == signal.SIGKILL:
        written = status_of(folder).metrics  # as if it had been killed in the middle of a line after that
        before = before[: max(before.rindex(b'"loss"'), 0 if written is None else written.bytes)]
        log.write_bytes(before)
    else:
        said = [line for line in err.splitlines() if "fp32 is faster here" not in line]  # on some machines, of bf16
        assert (said, status_of(folder).state) == ([], "interrupted")
        assert "the same command continues it" in out
    assert status_of(folder).step < steps, "the signal came too late to test anything"

    assert train(file, folder, show=False).state == "finished"
    assert log.read_bytes().startswith(before)
    train(file, tmp_path / "whole", show=False)
    tiny.assert_same_end(folder, tmp_path / "whole")
    assert_repeats_are_equal(folder, every + 1 if by == signal.SIGKILL else 0)


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_killed_at_every_kind_of_moment(
    tmp_path: Path, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """Killed again and again, in steps and in every file that is written, a run still ends as if nothing had been.

    After each time, all checkpoints under their names are complete, and lines of metrics are as they were.
    """
    data["end_of_document"] = 7
    rare = {"every_tokens": 2 * tiny.BATCH * tiny.LENGTH, "keep": 1}
    recipe = Recipe.from_dict(tiny.recipe(data, STEPS, **changes, checkpoints=rare))
    train(recipe, tmp_path / "whole", show=False)
    left, dead, places = 0, False, set()

    def mortal(name: str, function: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal left, dead
            left -= 1
            if left == 0:
                dead = True
                places.add(name)
                if name == "tensors":  # half of the file is there
                    function(*arguments)
                    os.truncate(arguments[1], os.path.getsize(arguments[1]) // 2)
                raise Killed
            return function(*arguments, **named)

        return call

    removed = shutil.rmtree

    def rmtree(*arguments: Any, **named: Any) -> None:
        if not dead:
            removed(*arguments, **named)

    monkeypatch.setattr(Session, "next_step", mortal("step", Session.next_step))
    monkeypatch.setattr(checkpoint_files, "save_file", mortal("tensors", save_file))
    monkeypatch.setattr(run_folder.CheckpointState, "write", mortal("state", run_folder.CheckpointState.write))
    monkeypatch.setattr(shutil, "rmtree", rmtree)
    monkeypatch.setattr(checkpoint_files, "keep_newest", mortal("removal", checkpoint_files.keep_newest))
    monkeypatch.setattr(AppendOnlyFile, "write", mortal("metrics", AppendOnlyFile.write))
    folder, before = tmp_path / "killed", b""
    for moment in range(1, 60):
        left, dead = moment, False
        try:
            train(recipe, folder, show=False)
            break
        except Killed:
            log = folder / run_folder.METRICS
            now = log.read_bytes() if log.exists() else b""
            assert now.startswith(before)
            before = now
            for checkpoint in (folder / run_folder.CHECKPOINTS).glob("step-*"):
                assert checkpoint_files.load_tensors(checkpoint, run_folder.MODEL)
                assert checkpoint_files.load_tensors(checkpoint, run_folder.OPTIMIZER)
                assert json.loads((checkpoint / run_folder.STATE).read_text())["step"] > 0
    assert places == {"step", "tensors", "state", "removal", "metrics"}
    tiny.assert_same_end(folder, tmp_path / "whole")
    assert_repeats_are_equal(folder, 1000)
    assert [path.name for path in (folder / run_folder.CHECKPOINTS).iterdir()] == [f"step-{STEPS:08d}"]


def test_same_recipe_same_run(tmp_path: Path, data: dict[str, Any]) -> None:
    """Equal metrics but for times; another seed, other ones. A resolved recipe is the recipe."""
    recipe = Recipe.from_dict(tiny.recipe(data, 4))
    for name, each in (("a", recipe), ("b", recipe), ("c", recipe.model_copy(update={"seed": 1}))):
        train(each, tmp_path / name, show=False)
    a, b, c = (tiny.metrics(tmp_path / name) for name in "abc")
    assert a == b
    assert all(one["loss"] != other["loss"] for one, other in zip(a, c, strict=True) if one["kind"] == "train")
    train(Recipe.from_dict(run_folder.read_run(tmp_path / "a").recipe), tmp_path / "d", show=False)
    assert tiny.metrics(tmp_path / "d") == a


def test_finished_run_is_left_alone(tmp_path: Path, data: dict[str, Any]) -> None:
    recipe = Recipe.from_dict(tiny.recipe(data, 2))
    first = train(recipe, tmp_path / "run", show=False)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.name != ".lock"}
    again = train(recipe, tmp_path / "run", show=False)
    assert (again.state, again.loss, again.step) == ("finished", first.loss, 2)
    assert files == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.name != ".lock"}


@pytest.mark.parametrize("at", [0, 1], ids=["before the first step", "after it"])
def test_interrupted_at_once(tmp_path: Path, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """There is nothing to keep yet, and the run still continues; so does one that is interrupted without a step."""
    recipe = Recipe.from_dict(tiny.recipe(data, 3, checkpoints={"keep": 1}))
    opened = loop.TrainingLoop._open

    def interrupted_open(self: Any, stack: Any) -> None:
        opened(self, stack)
        os.kill(os.getpid(), signal.SIGTERM)

    if at:
        with pytest.MonkeyPatch.context() as patch:
            tiny.interrupt_after(patch, 1)
            train(recipe, tmp_path / "run", show=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.TrainingLoop, "_open", interrupted_open)
        for _ in range(2):
            result = train(recipe, tmp_path / "run", show=False)
            assert (result.state, result.step) == ("interrupted", at)
    train(recipe, tmp_path / "run", show=False)
    train(recipe, tmp_path / "whole", show=False)
    tiny.assert_same_end(tmp_path / "run", tmp_path / "whole")


# Divergence


def poison_after(monkeypatch: pytest.MonkeyPatch, step: int, value: float) -> None:
    """Spoil the weights of the head once so many steps are done."""
    take_step = Session.next_step

    def next_step(self: Session) -> Any:
        taken = take_step(self)
        if self.step == step:
            with torch.no_grad():
                assert self.model.lm_head is not None
                self.model.lm_head.mul_(value)
        return taken

    monkeypatch.setattr(Session, "next_step", next_step)


def assert_diverged(capsys: pytest.CaptureFixture[str], file: str, folder: Path, said: str, kept: int) -> None:
    code, out, err = run(capsys, "train", file, "--quiet", "--out", str(folder))
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert said in err
    assert err.endswith(f"the last good checkpoint is {folder}/checkpoints/step-{kept:08d}\n")
    assert status_of(folder).state == "diverged"
    weights = checkpoint_files.load_tensors(run_folder.checkpoints(folder)[-1], run_folder.MODEL)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights.values())
    code, _, err = run(capsys, "train", file, "--quiet", "--out", str(folder))
    assert (code, len(err.splitlines())) == (2, 1)
    assert "diverged" in err


def test_loss_that_is_not_finite_stops_the_run(
    tmp_path: Path, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seen at the next step, at a checkpoint, which is not written then, or at the last evaluation."""
    rare = {"every_tokens": 2 * tiny.BATCH * tiny.LENGTH}
    file = tiny.save(tiny.recipe(data, 9, checkpoints=rare), tmp_path / "recipe.json")
    with monkeypatch.context() as patch:
        poison_after(patch, 3, math.nan)
        assert_diverged(capsys, file, tmp_path / "step", "step 4: the cross-entropy", 2)
    with monkeypatch.context() as patch:
        poison_after(patch, 4, math.inf)
        assert_diverged(capsys, file, tmp_path / "save", "step 4: lm_head is not finite", 2)
    with monkeypatch.context() as patch:
        poison_after(patch, 9, math.nan)
        assert_diverged(capsys, file, tmp_path / "end", "step 9: the validation loss is not finite", 8)
    fast = tiny.save(tiny.recipe(data, 20, learning_rate=1e6, checkpoints=rare), tmp_path / "fast.json")
    code, _, err = run(capsys, "train", fast, "--quiet", "--out", str(tmp_path / "fast"))
    assert code == 1
    assert re.search(r"step \d+: the cross-entropy.* not finite", err)


def test_gradient_that_is_not_finite_is_named(
    tmp_path: Path, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = Session._clip

    def spoiled(self: Session) -> float:
        if self.step == 2:
            gradient = self.model.get_parameter("layers.1.mixer.o_proj").grad
            assert gradient is not None
            gradient[0, 0] = math.inf
        return clip(self)

    monkeypatch.setattr(Session, "_clip", spoiled)
    file = tiny.save(tiny.recipe(data, 9, checkpoints={"every_tokens": 128}), tmp_path / "recipe.json")
    assert_diverged(capsys, file, tmp_path / "run", "step 3: the gradient of layers.1.mixer.o_proj is not finite", 2)


def test_worse_than_guessing_stops_the_run(
    tmp_path: Path, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twenty steps above ln V, counted through an interruption; a learning rate of 10 is one way there."""
    recipe = tiny.recipe(data, 40, learning_rate=10.0, checkpoints={"every_tokens": 128 * 5})
    file = tiny.save(recipe, tmp_path / "recipe.json")
    with monkeypatch.context() as patch:
        tiny.interrupt_after(patch, 7)
        assert train(file, tmp_path / "run", show=False).state == "interrupted"
    records = tiny.metrics(tmp_path / "run", "train")
    good = next(index for index, record in enumerate(records) if record["loss"] > math.log(tiny.VOCAB))
    last = good + loop.PATIENCE
    assert_diverged(capsys, file, tmp_path / "run", f"step {last}: for 20 steps", (last - 1) // 5 * 5)


# Full disks


@pytest.mark.parametrize("what", ["checkpoint", "metrics", "begin"])
def test_full_disk(
    tmp_path: Path,
    data: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    what: str,
) -> None:
    """One line and exit code 1; the last checkpoint is kept, and with room again the run goes on from it."""
    recipe = tiny.recipe(data, 6, checkpoints={"every_tokens": 256})
    file, folder = tiny.save(recipe, tmp_path / "recipe.json"), tmp_path / "run"

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        calls = 0
        take_step, write = Session.next_step, os.write

        def half_a_line(file: int, line: bytes) -> int:
            return write(file, line[: len(line) // 2])

        def next_step(self: Session) -> Any:
            nonlocal calls
            calls += 1
            if calls == 4 and what == "checkpoint":
                patch.setattr(checkpoint_files, "save_file", full)
            if calls == 4 and what == "metrics":
                patch.setattr(os, "write", half_a_line)
            return take_step(self)

        patch.setattr(Session, "next_step", next_step)
        if what == "begin":
            patch.setattr(run_folder.RunRecord, "write", full)
        code, out, err = run(capsys, "train", file, "--quiet", "--out", str(folder))
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert f"{folder} cannot be written: No space left on device" in err
    if what != "begin":
        kept = run_folder.checkpoints(folder)[-1]
        assert err.endswith(f"the last good checkpoint is {kept}\n")
        assert status_of(folder).state == "failed"
    assert train(file, folder, show=False).state == "finished"
    train(file, tmp_path / "whole", show=False)
    tiny.assert_same_end(folder, tmp_path / "whole")
    assert_repeats_are_equal(folder, 2)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_no_room_for_a_checkpoint(
    tmp_path: Path,
    data: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    """Nothing is trained for a disk that is too small for one; what one is said to take is what the files have."""
    recipe = tiny.recipe(data, 2, optimizer={"kind": kind})
    file, folder = tiny.save(recipe, tmp_path / "recipe.json"), tmp_path / "run"
    least = least_checkpoint_bytes(Recipe.load(file))
    with monkeypatch.context() as patch:
        small = os.statvfs_result((1, 1, least, least, least - 1, 1, 1, 1, 0, 255))
        patch.setattr(os, "statvfs", lambda path: small)
        code, out, err = run(capsys, "train", file, "--quiet", "--out", str(folder))
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert f"No space left on device: out: {folder} needs {least:,} bytes, and {least - 1:,} are free there" in err
    assert not (folder / run_folder.METRICS).exists()
    assert train(file, folder, show=False).state == "finished"
    written = sum(path.stat().st_size for path in run_folder.checkpoints(folder)[-1].glob("*.safetensors"))
    assert least <= written
    assert kind != "adamw" or written < 1.1 * least + 20_000, "beside headers of the files"


# What runs report


def test_mirrors_get_the_numbers_of_the_file(
    tmp_path: Path, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """wandb and trackio by log, mlflow by log_metrics; one that fails is left out with a warning."""
    logged: dict[str, dict[tuple[int, str], dict[str, float]]] = {"wandb": {}, "mlflow": {}, "trackio": {}}

    class Tracker(ModuleType):
        def init(self, **settings: Any) -> "Tracker":
            assert settings["config"]["train_tokens"] == 5 * 128
            return self

        def log(self, values: dict[str, float], step: int) -> None:
            if self.__name__ == "trackio" and step == 3:
                raise RuntimeError("no network")
            logged[self.__name__][step, next(iter(values)).partition("/")[0]] = values

        def set_experiment(self, name: str) -> None:
            assert name == "moewright"

        def start_run(self, run_name: str) -> None:
            assert run_name == "run"

        def log_params(self, values: dict[str, str]) -> None:
            assert max(map(len, values.values())) <= 250

        def log_metrics(self, values: dict[str, float], step: int) -> None:
            self.log({name.replace(".", "/"): value for name, value in values.items()}, step)

    for name in logged:
        monkeypatch.setitem(sys.modules, name, Tracker(name))
    recipe = Recipe.from_dict(tiny.recipe(data, 5, mirrors=list(logged), balancing={**GLOBAL, "z_loss": 0.001}))
    with pytest.warns(UserWarning, match="trackio failed and gets no more metrics: no network"):
        assert train(recipe, tmp_path / "run", show=False).state == "finished"
    written = {
        (record["step"], record["kind"]): record
        for record in read_objects(tmp_path / "run" / run_folder.METRICS)
        if record["kind"] in ("train", "evaluation")
    }
    assert logged["wandb"].keys() == logged["mlflow"].keys() == written.keys()
    assert list(logged["trackio"]) == [(1, "train"), (2, "train")]
    for (step, kind), record in written.items():
        flat = logged["wandb"][step, kind]
        assert logged["mlflow"][step, kind] == flat
        assert flat[f"{kind}/loss"] == record["loss"]
        if kind == "train":
            assert flat["train/balance_loss/0/raw"] == record["balance_loss"][0]["raw"]
            assert flat["train/routing/max_violation/1"] == record["routing"]["max_violation"][1]
            assert flat["train/z_loss/scaled"] == record["z_loss"]["scaled"]
        else:
            assert flat["evaluation/by_set/near"] == record["by_set"]["near"]


def test_tracker_that_cannot_begin(tmp_path: Path, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = ModuleType("wandb")
    monkeypatch.setitem(sys.modules, "wandb", tracker)  # has no init
    with pytest.raises(UserError, match="mirrors: wandb could not begin"):
        train(Recipe.from_dict(tiny.recipe(data, 2, mirrors=["wandb"])), tmp_path / "run", show=False)
    assert train(Recipe.from_dict(tiny.recipe(data, 2)), tmp_path / "run", show=False).state == "finished"


def test_speed_is_flops_over_the_peak(tmp_path: Path, data: dict[str, Any]) -> None:
    recipe = Recipe.from_dict(tiny.recipe(data, 5))
    began = time.monotonic()
    result = train(recipe, tmp_path / "run", show=False)
    seconds = time.monotonic() - began
    records = list(read_objects(tmp_path / "run" / run_folder.METRICS))
    peak = records[0]["matmul_peak_flops"]
    flops = training_flops_per_token(recipe.architecture, tiny.LENGTH)
    trained = [record for record in records if record["kind"] == "train"]
    for record in [*trained, records[-1]]:
        assert record["matmul_utilization"] == pytest.approx(record["tokens_per_second"] * flops / peak, rel=1e-12)
    steps = sum(128 / record["tokens_per_second"] for record in trained)
    assert 5 * 128 / (result.summary.tokens_per_second or 0) == pytest.approx(steps, rel=1e-9)
    assert steps < seconds
    assert (result.summary.peak_memory_bytes or 0) > (result.summary.expected_memory_bytes or 0) > 0


# Evaluation


def test_validation_losses_against_whole_logits(tmp_path: Path, data: dict[str, Any]) -> None:
    """In float64, sequence by sequence without capacity, and in the evaluation's own batches with it."""
    changes = {
        "evaluation": {"sequences": 5},
        "micro_batch_sequences": 2,
        "dispatch": {"evaluation_capacity": {"factor": 0.75}},
    }
    recipe = Recipe.from_dict(tiny.recipe(data, 4, **changes, balancing=BIAS))
    result = train(recipe, tmp_path / "run", show=False)
    report = tiny.metrics(tmp_path / "run", "evaluation")[-1]
    _, weights, _ = tiny.last_state(tmp_path / "run")
    model = Transformer(recipe.architecture).to(torch.float64)
    model.load_state_dict(weights)
    capacity = recipe.dispatch.evaluation_capacity
    expected: dict[str, dict[str, float]] = {"by_set": {}, "capacity_by_set": {}}
    for name in ("near", "far"):
        tokens = torch.from_numpy(np.fromfile(tmp_path / f"{name}.bin", "<u2").astype(np.int64))
        sequences = [tokens[i * tiny.LENGTH : (i + 1) * tiny.LENGTH + 1] for i in range(5)]
        for key, size, limit in (("by_set", 1, None), ("capacity_by_set", 2, capacity)):
            total = 0.0
            for first in range(0, 5, size):
                rows = torch.stack(sequences[first : first + size])
                with torch.no_grad():
                    logits, _ = model(rows[:, :-1], mode=RoutingMode(limit))
                total -= float(logits.log_softmax(-1).gather(-1, rows[:, 1:, None]).sum())
            expected[key][name] = total / (5 * tiny.LENGTH)
    for key, losses in expected.items():
        assert report[key] == pytest.approx(losses, rel=1e-5)
    assert report["capacity_by_set"]["near"] != pytest.approx(report["by_set"]["near"], rel=1e-4)
    assert report["loss"] == result.loss == pytest.approx(sum(expected["by_set"].values()) / 2, rel=1e-5)
    assert report["tokens_by_set"] == {"near": 80, "far": 80}


def test_evaluation_changes_nothing(tmp_path: Path, data: dict[str, Any]) -> None:
    """Neither weights, biases nor gradients; a run that is evaluated after every step is the run that never is."""
    often = {"evaluation": {"every_tokens": 128}, "balancing": BIAS}
    session = Session(Recipe.from_dict(tiny.recipe(data, 4, **often)), *opened(data))
    session.next_step()
    before = {name: tensor.clone() for name, tensor in session.model.state_dict().items()}
    assert session.evaluate() == session.evaluate()
    assert all(torch.equal(before[name], tensor) for name, tensor in session.model.state_dict().items())
    assert all(p.grad is None for p in session.model.parameters())
    for name, changes in (("often", often), ("once", {"balancing": BIAS})):
        train(Recipe.from_dict(tiny.recipe(data, 4, **changes)), tmp_path / name, show=False)
    assert len(tiny.metrics(tmp_path / "often", "evaluation")) == 4
    assert tiny.metrics(tmp_path / "often", "train") == tiny.metrics(tmp_path / "once", "train")
    tiny.assert_same_end(tmp_path / "often", tmp_path / "once")


def opened(data: dict[str, Any]) -> tuple[Any, World]:
    """Dataset and processes for a session in this process."""
    dataset = open_files(data["train"], data["validation"], data["vocab_size"], data["dtype"])
    return dataset, World(0, 1, torch.device("cpu"))


def test_bits_per_byte(tmp_path: Path) -> None:
    """Nats over ln 2 and over the bytes of text that a token stands for, of a prepared folder."""
    r = random.Random(0)
    text = "<|endoftext|>".join(" ".join(f"word{r.randrange(99)}" for _ in range(50)) for _ in range(60))
    (tmp_path / "text.txt").write_text(text)
    prepared = prepare([tmp_path / "text.txt"], tmp_path / "data", vocab_size=300, validation_share=0.1)
    settings = {**tiny.recipe({}, 2), "architecture": tiny.architecture(vocab_size=300), "data": str(tmp_path / "data")}
    train(Recipe.from_dict(settings), tmp_path / "run", show=False)
    report = tiny.metrics(tmp_path / "run", "evaluation")[-1]
    assert prepared.record is not None
    for name, split in prepared.record.validation.items():
        nats_per_byte = report["by_set"][name] * split.amount.tokens / split.amount.bytes
        assert report["bits_per_byte"][name] == pytest.approx(nats_per_byte / math.log(2), rel=1e-12)
