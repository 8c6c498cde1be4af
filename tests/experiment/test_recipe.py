"""Recipes: what is refused and how, what is counted before anything is allocated, and what comes back from a file."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from moewright import laws
from moewright.architecture.counts import active_params, total_params, training_flops_per_token
from moewright.experiment import run_folder
from moewright.experiment.recipe import Recipe, Schedule
from moewright.experiment.schedule import peak_learning_rate, schedule_share
from moewright.lab import training
from moewright.lab.training import train
from tests.lab import tiny
from tests.test_cli import run

Values = dict[str, Any]

SHARDS: Values = {"train": ["train.bin"], "validation": {"near": ["near.bin"]}, "vocab_size": tiny.VOCAB}


def changed(**changes: Any) -> Callable[[Values], object]:
    return lambda values: values.update(changes)


def shards(**changes: Any) -> Callable[[Values], object]:
    return lambda values: values["data"].update(changes)


def dense(**changes: Any) -> Callable[[Values], object]:
    return changed(**{"architecture": tiny.architecture(dense=True), "balancing": {}, **changes})


def quantile(num_groups: int = 1, top_k: int = 2, **changes: Any) -> Callable[[Values], object]:
    plain = tiny.architecture(selection_bias="buffer")
    feed_forward = plain["layers"][0]["layers"][0]["feed_forward"]
    feed_forward["router"]["num_groups"] = num_groups
    feed_forward["groups"][0]["top_k"] = top_k
    return changed(architecture=plain, balancing={"selection_bias": {"update": "quantile"}}, **changes)


def write(name: str, content: bytes) -> Callable[[Values], object]:
    return lambda values: Path(values["data"]["train"][0]).with_name(name).write_bytes(content)


REFUSED: dict[str, tuple[Callable[[Values], object], str]] = {
    "unknown key": (changed(learning_rat=1), "learning_rat"),
    "unknown inner key": (changed(optimizer={"beta3": 0.5}), "optimizer.beta3"),
    "unknown key in a list": (changed(balancing={"losses": [{"weight": 1.0, "scop": 1}]}), "balancing.losses[0].scop"),
    "missing key": (lambda values: values.pop("train_tokens"), "train_tokens"),
    "wrong type": (changed(seed="one"), "seed"),
    "wrong choice": (changed(precision="fp8"), "precision"),
    "not a count": (changed(train_tokens="5 lots"), "train_tokens"),
    "negative rate": (changed(learning_rate=-0.1), " learning_rate: Input should be greater than 0"),
    "infinite rate": (changed(learning_rate=math.inf), "learning_rate"),
    "unknown law": (changed(learning_rate={"law": "mine"}), " learning_rate.law: Input should be 'steplaw'"),
    "uneven batch": (changed(batch_tokens=130), "multiple of sequence_length"),
    "uneven micro-batch": (changed(micro_batch_sequences=3), "must divide the 8 sequences"),
    "more steps than a record counts": (changed(train_tokens=128 * 10**8 + 1), "are 100,000,001 steps"),
    "less than a batch": (changed(train_tokens=100), "fewer than one batch"),
    "warm-up beyond the end": (changed(schedule={"warmup_tokens": "2K"}), "schedule.warmup_tokens (2,000)"),
    "warm-up into the decay": (changed(schedule={"kind": "wsd", "warmup_tokens": "1.2K"}), "overlap"),
    "longer than the context": (changed(architecture=tiny.architecture(max_context=8)), "max_context 8"),
    "decay_share in cosine": (changed(schedule={"decay_share": 0.3}), "schedule.decay_share has no use"),
    "decay_share, constant": (changed(schedule={"kind": "constant", "decay_share": 0.3}), "schedule.decay_share"),
    "final_share, constant": (changed(schedule={"kind": "constant", "final_share": 0.3}), "schedule.final_share"),
    "momentum in adamw": (changed(optimizer={"momentum": 0.9}), "optimizer.momentum has no use in adamw"),
    "base_width without mup": (changed(initialization={"base_width": 64}), "base_width has no use"),
    "deviation with mup": (changed(initialization={"rule": "mup", "deviation": 0.1}), "deviation has no use"),
    "two beginnings": (changed(initialization={}, initial_weights="x"), "initialization has no use"),
    "muon in shards": (changed(optimizer={"kind": "muon"}, parallel="shard"), "optimizer.kind muon"),
    "balancing a dense model": (dense(balancing={"z_loss": 0.1}), "balancing: the architecture has no experts"),
    "dispatch in a dense model": (dense(dispatch={"forced": "uniform"}), "dispatch: the architecture has no experts"),
    "no buffer for the bias": (changed(balancing={"selection_bias": {}}), "selection_bias: buffer"),
    "step of a quantile": (
        changed(balancing={"selection_bias": {"update": "quantile", "step": 0.1}}),
        "step has no use",
    ),
    "memory of a sign": (changed(balancing={"selection_bias": {"memory": 0.1}}), "memory has no use"),
    "quantile when forced": (quantile(dispatch={"forced": "uniform"}), "no use where dispatch.forced"),
    "quantile within groups": (quantile(num_groups=2), "needs router.num_groups 1"),
    "quantile of all experts": (quantile(top_k=4), "needs experts that are not chosen"),
    "capacity when forced": (
        changed(dispatch={"forced": "uniform", "capacity": {"factor": 1.0}}),
        "capacity has no use",
    ),
    "other vocabulary": (changed(architecture=tiny.architecture(vocab_size=63)), "does not fit the architecture's"),
    "tokens beyond the vocabulary": (shards(vocab_size=50), "has token 63"),
    "odd bytes": (write("train.bin", b"\1\0\2"), "3 bytes are not whole uint16 tokens"),
    "no tokens": (write("train.bin", b""), "empty"),
    "bare tokens": (shards(dtype=None), "give dtype"),
    "no such file": (shards(train=["nowhere.bin"]), "nowhere.bin: cannot be read"),
    "no validation": (shards(validation={}), "validation: no files"),
    "empty validation set": (
        shards(validation={"near": []}),
        " data.validation.near: Tuple should have",
    ),
    "validation of less than a sequence": (write("near.bin", b"\1\0" * 16), "fewer than one sequence"),
    "no such folder": (changed(data="nowhere"), "nowhere"),
    "documents of unknown end": (changed(document_mask=True), "document_mask"),
    "no such weights": (changed(initial_weights="nowhere"), "nowhere"),
    "tracker that is not installed": (changed(mirrors=["trackio"]), "mirrors: trackio is not installed"),
    "too much memory": (changed(architecture=tiny.architecture(hidden_size=10**7)), "memory: this run needs some"),
    "too long for memory": (changed(micro_batch_sequences=10**6, batch_tokens=16 * 10**6, train_tokens="1T"), "memory"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(
    tmp_path: Path, data: Values, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """One line that names the place, exit code 2, at once, and no run begun."""
    change, said = REFUSED[name]
    monkeypatch.setitem(sys.modules, "trackio", None)
    values = tiny.recipe(data)
    change(values)
    file = tiny.save(values, tmp_path / "recipe.json")
    code, out, err = run(capsys, "train", file, "--out", str(tmp_path / "run"))
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1, err
    assert said in err
    assert not (tmp_path / "run" / run_folder.METRICS).exists()


def test_commands_that_are_refused(tmp_path: Path, data: Values, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tiny.save(tiny.recipe(data, 2), tmp_path / "recipe.json")
    spec = tiny.save(tiny.architecture(), tmp_path / "architecture.json")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    (tmp_path / "file").write_text("")
    new = str(tmp_path / "new")
    for arguments, said in (
        ((recipe,), "--out"),
        ((recipe, "--dry-run", "--out", new), "--dry-run"),
        ((spec, "--out", new), "this is an architecture, not a recipe"),
        ((str(tmp_path), "--out", new), "is a folder"),
        ((str(tmp_path / "nowhere.yaml"), "--out", new), "cannot be read"),
        ((recipe, "--out", str(tmp_path / "full")), "is not empty and holds no run"),
        ((recipe, "--out", str(tmp_path / "file")), "cannot be used"),
    ):
        code, out, err = run(capsys, "train", *arguments)
        assert (code, out, len(err.splitlines())) == (2, "", 1), err
        assert said in err
    with training.lock(tmp_path / "locked"):
        code, _, err = run(capsys, "train", recipe, "--out", str(tmp_path / "locked"))
    assert (code, err) == (2, f"moewright: out: another process is training in {tmp_path / 'locked'}\n")
    assert (tmp_path / "full" / "letter.txt").read_text() == "mine"
    assert not Path(new).exists()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (changed(seed=1), "seed"),
        (changed(learning_rate=0.02), "learning_rate"),
        (changed(optimizer={"beta2": 0.9}), "optimizer.beta2"),
        (changed(schedule={"kind": "wsd"}), "schedule.kind"),
        (changed(evaluation={"sequences": 3}), "evaluation.sequences"),
        (changed(balancing={"losses": [{"weight": 0.02}]}), "balancing.losses"),
        (changed(architecture=tiny.architecture(tie_embeddings=True)), "architecture.tie_embeddings"),
        (write("train.bin", b"\1\0" * 500), "other tokens"),
        (changed(checkpoints={"keep": 3}, log_every_steps=2, mirrors=[]), ""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_going_on_with_another_recipe(
    tmp_path: Path,
    data: Values,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Values], object],
    named: str,
) -> None:
    """Refused with the first field that differs, unless it is one that touches no weight."""
    values = tiny.recipe(data, 4)
    with monkeypatch.context() as patch:
        tiny.interrupt_after(patch, 1)
        train(Recipe.from_dict(values), tmp_path / "run", show=False)
    before = (tmp_path / "run" / run_folder.METRICS).read_bytes()
    change(values)
    file = tiny.save(values, tmp_path / "recipe.json")
    code, _, err = run(capsys, "train", file, "--out", str(tmp_path / "run"))
    if not named:
        assert code == 0, err
        return
    assert (code, len(err.splitlines())) == (2, 1)
    assert f" {named}" in err
    assert (tmp_path / "run" / run_folder.METRICS).read_bytes() == before


def test_paths_are_relative_to_the_file(tmp_path: Path, data: Values) -> None:
    """YAML, counts with suffixes, an architecture's file; and everything that is resolved comes back from JSON."""
    tiny.save(tiny.architecture(), tmp_path / "model.json")
    files = {"train": ["train.bin"], "validation": {"near": ["near.bin"]}}
    values = {**tiny.recipe({**data, **files}), "architecture": "model.json", "train_tokens": "5K"}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    recipe = Recipe.load(tmp_path / "recipe.yaml")
    assert recipe.train_tokens == 5000
    assert recipe.total_steps == 40
    written = {**tiny.recipe({**data, "validation": {"near": data["validation"]["near"]}}), "train_tokens": 5e3}
    assert recipe == Recipe.from_dict(written)


@given(
    kind=st.sampled_from(["cosine", "wsd", "constant"]),
    optimizer=st.sampled_from(["adamw", "muon"]),
    rule=st.sampled_from(["standard", "mup", None]),
    factor=st.sampled_from([None, 1.5, math.inf]),
)
@settings(deadline=None, max_examples=20)
def test_a_resolved_recipe_is_a_recipe(kind: str, optimizer: str, rule: str | None, factor: float | None) -> None:
    """What run.json keeps can be trained again."""
    settings: Values = {"schedule": {"kind": kind}, "optimizer": {"kind": optimizer}}
    settings |= {"initial_weights": "/weights"} if rule is None else {"initialization": {"rule": rule}}
    settings |= {"dispatch": {"capacity": {"factor": factor}}} if factor else {}
    recipe = Recipe.from_dict(tiny.recipe({**SHARDS, "dtype": "uint16"}, **settings))
    resolved = json.loads(json.dumps(recipe.to_dict()))
    again = Recipe.from_dict(resolved)
    assert again == recipe
    assert again.to_dict() == resolved


def test_dry_run_counts_and_begins_nothing(tmp_path: Path, data: Values, capsys: pytest.CaptureFixture[str]) -> None:
    values = tiny.recipe(data, 60, balancing={})
    values["architecture"] = tiny.architecture(selection_bias="buffer", vocab_size=70)
    before = sorted(tmp_path.iterdir())
    file = tiny.save(values, tmp_path / "recipe.json")
    code, out, err = run(capsys, "train", file, "--dry-run", "--json")
    facts = json.loads(out)
    assert (code, err) == (0, "")
    recipe = Recipe.load(file)
    assert facts["total_params"] == total_params(recipe.architecture)
    assert facts["active_params"] == active_params(recipe.architecture)
    assert facts["train_flops"] == 60 * 128 * training_flops_per_token(recipe.architecture, tiny.LENGTH)
    assert (facts["steps"], facts["epochs"]) == (60, 60 * 128 / 6000)
    memory = facts["expected_memory_bytes"]
    assert memory["weights"] == 4 * total_params(recipe.architecture)
    assert memory["total"] == pytest.approx(sum(value for name, value in memory.items() if name != "total"))
    for said in ("it stays 0", "experts may die", "more than the data's 64 tokens", "1.28 times through"):
        assert any(said in warning for warning in facts["warnings"])
    code, out, _ = run(capsys, "train", file, "--dry-run")
    assert code == 0
    assert "peak learning rate" in out
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "recipe.json"])


# The learning rate


def test_schedules_at_their_corners() -> None:
    """Over 1000 tokens, 100 of them warm-up."""
    cosine = Schedule(warmup_tokens=100, final_share=0.2)
    assert [schedule_share(cosine, tokens, 1000) for tokens in (10, 50, 100)] == [0.1, 0.5, 1.0]
    assert schedule_share(cosine, 550, 1000) == pytest.approx(0.6)  # half-way down
    assert schedule_share(cosine, 325, 1000) == pytest.approx(0.2 + 0.8 * (2 + 2**0.5) / 4)  # a quarter of it
    assert [schedule_share(cosine, tokens, 1000) for tokens in (1000, 1100)] == [
        0.2,
        0.2,
    ]  # the last step may end later
    wsd = Schedule(kind="wsd", warmup_tokens=100, decay_share=0.5, final_share=0.0)
    assert [schedule_share(wsd, tokens, 1000) for tokens in (50, 100, 500)] == [0.5, 1.0, 1.0]
    assert [schedule_share(wsd, tokens, 1000) for tokens in (750, 900)] == pytest.approx([0.5, 0.2])
    assert [schedule_share(wsd, tokens, 1000) for tokens in (1000, 1100)] == [0.0, 0.0]
    constant = Schedule(kind="constant", warmup_tokens=100)
    assert [schedule_share(constant, tokens, 1000) for tokens in (50, 100, 1000)] == [0.5, 1.0, 1.0]
    assert schedule_share(Schedule(kind="constant"), 1, 1000) == 1.0


@given(
    kind=st.sampled_from(["cosine", "wsd", "constant"]),
    warmup=st.integers(0, 500),
    final=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    tokens=st.integers(1, 1100),
)
@settings(deadline=None)
def test_schedules_rise_then_fall(kind: Any, warmup: int, final: float, tokens: int) -> None:
    schedule = Schedule(kind=kind, warmup_tokens=warmup, final_share=final, decay_share=0.5)
    now, next_ = (schedule_share(schedule, at, 1000) for at in (tokens, tokens + 1))
    assert now <= next_ if tokens < warmup else now >= next_ - 1e-12
    assert 0 < now <= 1 or (final == 0 and tokens > 500)


def test_rates_in_the_metrics_are_the_schedules(tmp_path: Path, data: Values, quick: None) -> None:
    """The peak times the share at the end of each step, with a warm-up that ends inside of one."""
    values = tiny.recipe(
        data, 6, schedule={"kind": "wsd", "warmup_tokens": 200, "decay_share": 0.5, "final_share": 0.0}
    )
    train(Recipe.from_dict(values), tmp_path / "run", show=False)
    rates = [record["learning_rate"] for record in tiny.metrics(tmp_path / "run", "train")]
    assert rates == pytest.approx([0.01 * share for share in (0.64, 1, 1, 2 / 3, 1 / 3, 0)])


@pytest.mark.parametrize("law", ["steplaw", "ludziejewski2025_lr"])
def test_peak_by_a_law(data: Values, law: str) -> None:
    """What `moewright laws` gives for this model and this many tokens, times the multiplier."""
    values = tiny.recipe(data, learning_rate={"law": law, "multiplier": 0.5}, train_tokens="1B")
    recipe = Recipe.from_dict(values)
    published = laws.get(law)
    variables = published.variables(recipe.architecture, train_tokens=10**9)
    assert peak_learning_rate(recipe) == 0.5 * float(published.learning_rate(**variables))
    if law == "steplaw":  # arXiv 2503.04715, equation 1, written out
        size = total_params(recipe.architecture) - 2 * tiny.VOCAB * 32  # without embeddings
        assert peak_learning_rate(recipe) == pytest.approx(0.5 * 1.79 * size**-0.713 * 1e9**0.307)
    assert peak_learning_rate(Recipe.from_dict(tiny.recipe(data, learning_rate=1))) == 1.0
