"""moewright laws, predict and fit as a user meets them, and predict's reading of models."""

import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest

import moewright
from moewright import Architecture, UserError, laws
from moewright.architecture import counts
from moewright.hf import from_config
from moewright.laws.prediction import LawPrediction
from tests.laws.tables import synthetic_dense, synthetic_zhao
from tests.test_cli import CONFIGS, run

DEEPSEEK = Path("examples/configs/deepseek-v3.json")


def moe_layers(*feed_forwards: dict[str, object]) -> Architecture:
    """A small decoder with one layer for each feed-forward."""
    mixer = {"kind": "attention", "num_heads": 8, "num_kv_heads": 8, "head_dim": 64}
    return Architecture.from_dict(
        {
            "format": "moewright-architecture/1",
            "vocab_size": 50_000,
            "hidden_size": 512,
            "layers": [{"mixer": mixer, "feed_forward": feed_forward} for feed_forward in feed_forwards],
        }
    )


def experts(count: int, size: int, top_k: int, **more: object) -> dict[str, object]:
    return {"kind": "moe", "groups": [{"count": count, "expert_size": size, "top_k": top_k}], **more}


def by_law(model: object, **settings: object) -> dict[str, LawPrediction]:
    found = moewright.predict(model, 2e10, **settings)  # type: ignore[call-overload]
    return {answer.law: answer for answer in found.laws}


def test_variables_of_deepseek_v3() -> None:
    # 256 experts of width 2048, 8 active, 1 shared of the same width, d = 7168; 671B parameters in the report.
    architecture = from_config(DEEPSEEK)
    total, active = counts.total_params(architecture), counts.active_params(architecture)
    vocabulary = 2 * 129_280 * 7168
    expected = {
        "zhao2025": {
            "total_params": total,
            "active_params": active,
            "train_tokens": 2e10,
            "active_experts": 9,
            "shared_ratio": 1 / 9,
        },
        "ludziejewski2025": {"active_params": active, "train_tokens": 2e10, "num_experts": 32},
        "krajewski2024": {"total_params": total - vocabulary, "train_tokens": 2e10, "granularity": 4 * 7168 / 2048},
        "abnar2025": {"total_params": total, "train_tokens": 2e10, "sparsity": 248 / 256},
        "ling2025": {
            "activation_ratio": 9 / 257,
            "granularity": 2 * 7168 / 2048,
            "train_flops": 6 * (active - vocabulary) * 2e10,
        },
    }
    for name, variables in expected.items():
        assert laws.get(name).variables(architecture, train_tokens=2e10) == pytest.approx(variables), name
    assert total == pytest.approx(671e9, rel=1e-3)


def test_dense_models() -> None:
    answers = by_law(moe_layers({"kind": "dense", "size": 2048}))
    assert "the model is dense" in (answers["zhao2025"].reason or "")
    assert answers["hoffmann2022"].loss is not None
    # Both laws of dense and MoE models see one expert.
    assert answers["ludziejewski2025"].variables["num_experts"] == 1
    assert answers["abnar2025"].variables["sparsity"] == 0


def test_a_law_of_dense_models_does_not_answer_for_experts() -> None:
    reason = by_law(moe_layers(experts(8, 1024, 2)))["hoffmann2022"].reason
    assert reason == "it is a law of dense models, without a variable for sparsity; the model has routed experts"


def test_unlike_layers_and_experts() -> None:
    unlike = by_law(moe_layers(experts(8, 1024, 2), experts(16, 512, 2)))["zhao2025"]
    assert "MoE layers are unlike each other" in (unlike.reason or "")
    groups = [{"count": 4, "expert_size": 1024, "top_k": 1}, {"count": 4, "expert_size": 512, "top_k": 1}]
    mixed = by_law(moe_layers({"kind": "moe", "groups": groups}))["zhao2025"]
    assert "unlike size share a layer" in (mixed.reason or "")
    partly = moewright.predict(moe_layers({"kind": "dense", "size": 2048}, experts(8, 1024, 2)), 2e10)
    assert any("1 of 2 layers are not MoE" in warning for warning in partly.warnings)
    assert any(answer.law == "zhao2025" and answer.loss is not None for answer in partly.laws)


def test_what_lies_outside_is_named_with_its_factor() -> None:
    answers = by_law(DEEPSEEK)
    outside = {status.variable: status for status in answers["zhao2025"].outside}
    assert outside["total_params"].factor == pytest.approx(671.026e9 / 3.4e9, rel=1e-3)
    assert "train_tokens" not in outside
    # Expansion is no variable of krajewski2024, but its runs all had 64.
    expansion = {status.variable: status for status in answers["krajewski2024"].outside}["expansion"]
    assert (expansion.status, expansion.factor) == ("below", 2)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_predict_on_published_configs(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    code, out, err = run(capsys, "predict", str(config), "--train-tokens", "2T")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert "never compare" in out
    code, out, _ = run(capsys, "predict", str(config), "--train-tokens", "2T", "--json")
    found = json.loads(out)
    assert code == 0
    for law in found["laws"]:
        assert law["applies"] == (law["reason"] is None)
        assert law["applies"] == bool(law["quantities"] or law["loss"])


def test_laws_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "laws")
    assert code == 0
    assert all(name in out for name in laws.names())
    assert max(map(len, out.splitlines())) <= 80
    for name in laws.names():
        code, out, err = run(capsys, "laws", name)
        assert (code, err) == (0, "")
        assert max(map(len, out.splitlines())) <= 80
        code, out, _ = run(capsys, "laws", name, "--json")
        assert json.loads(out)["name"] == name


def test_fit_command_feeds_predict(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = pd.DataFrame(synthetic_zhao(0, rows=120))
    table.to_csv(tmp_path / "runs.csv", index=False)
    saved, plots = tmp_path / "law.json", tmp_path / "plots"
    arguments = ("fit", str(tmp_path / "runs.csv"), "--law", "zhao2025", "--bootstrap", "100", "--fix", "k=0.0013")
    code, out, err = run(capsys, *arguments, "--out", str(saved), "--plots", str(plots), "--holdout", "largest:0.1")
    assert (code, err) == (0, "")
    assert max(map(len, out.replace(str(tmp_path), "").splitlines())) <= 80
    assert {path.name for path in plots.iterdir()} == {"predicted.png", "residuals.png", "marginal.png", "fit.html"}
    code, out, _ = run(capsys, *arguments, "--json")
    found = json.loads(out)
    assert found["status"] in ("converged", "bound_hit")
    assert found["coefficients"]["k"] == 0.0013
    low, high = found["optimum"]["active_experts"]["interval_90"]
    assert low < found["optimum"]["active_experts"]["value"] < high
    code, out, _ = run(capsys, "predict", str(DEEPSEEK), "--train-tokens", "2T", "--law", str(saved), "--json")
    (answer,) = json.loads(out)["laws"]
    assert answer["loss_interval_90"] is None, "200 times more than any of the runs"
    assert "add runs up to" in answer["interval_withheld"]
    assert "no interval" in run(capsys, "predict", str(DEEPSEEK), "--train-tokens", "2T", "--law", str(saved))[1]
    code, out, _ = run(capsys, "predict", "olmoe-1b-7b", "--train-tokens", "50B", "--law", str(saved), "--json")
    (answer,) = json.loads(out)["laws"]
    assert answer["loss_interval_90"][0] < answer["loss"] < answer["loss_interval_90"][1]
    code, out, _ = run(capsys, "laws", str(saved))
    assert code == 0
    assert "108 runs" in out


def test_python_functions_take_the_same(tmp_path: Path) -> None:
    table = pd.DataFrame(synthetic_dense(0, rows=40)).assign(kind=["a", "b"] * 20)
    table.to_parquet(tmp_path / "runs.parquet")
    from_file = moewright.fit(tmp_path / "runs.parquet", "hoffmann2022", bootstrap=20, where={"kind": ["a"]})
    from_frame = moewright.fit(table[table["kind"] == "a"], laws.get("hoffmann2022"), bootstrap=20)
    assert dict(from_file.law.coefficients) == dict(from_frame.law.coefficients)
    assert from_file.law.record.num_rows == 20


def test_columns_go_by_other_names(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The same rows under a paper's letters, one count as text, and a column of the law's name that means another."""
    table = pd.DataFrame(synthetic_dense(0, rows=30))
    plain = moewright.fit(table, "hoffmann2022", bootstrap=0, holdout="train_tokens:0.2")
    letters = table.rename(columns={"total_params": "N", "train_tokens": "D", "loss": "val"}).assign(loss=1.0, note="a")
    letters["N"] = [f"{value!r}" for value in letters["N"]]
    letters.to_csv(tmp_path / "runs.csv", index=False)
    names = {"total_params": "N", "train_tokens": "D", "loss": "val"}
    for runs in (letters, tmp_path / "runs.csv"):
        other = moewright.fit(runs, "hoffmann2022", bootstrap=0, holdout="train_tokens:0.2", column=names)
        assert other.law.record.data_sha256 == plain.law.record.data_sha256
        assert dict(other.law.coefficients) == dict(plain.law.coefficients)
    typed = [word for name, theirs in names.items() for word in ("--column", f"{name}={theirs}")]
    words = ("fit", str(tmp_path / "runs.csv"), "--law", "hoffmann2022", "--bootstrap", "0", "--json")
    code, out, _ = run(capsys, *words, "--holdout", "train_tokens:0.2", *typed)
    assert (code, json.loads(out)["coefficients"]) == (0, dict(plain.law.coefficients))
    assert json.loads(out)["settings"]["column"] == names
    code, _, err = run(capsys, *words)
    assert (code, "give --column total_params=N" in err) == (2, True)
    with pytest.raises(UserError, match=r"column: is for `moewright\.fit`"):
        laws.fit_law("hoffmann2022", letters, column=names)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("laws", "zhao"), "did you mean zhao2025"),
        (("predict", str(DEEPSEEK), "--train-tokens", "2X"), "unknown unit"),
        (("predict", str(DEEPSEEK), "--train-tokens", "0"), "positive"),
        (("predict", str(DEEPSEEK)), "train-tokens"),
        (("predict", str(DEEPSEEK), "--train-tokens", "2T", "--law", "nothing.json"), "nothing.json"),
        (("fit", "nothing.csv", "--law", "zhao2025"), "nothing.csv"),
        (("fit", "pyproject.toml", "--law", "zhao2025"), "pyproject.toml"),
        (("fit", "nothing.csv", "--law", "zhao2025", "--fix", "k"), "expected NAME=VALUE"),
    ],
)
def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1


def test_fitted_laws_refuse_what_they_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "law.json").write_text('{"format": "something"}')
    with pytest.raises(UserError, match="not a fitted law"):
        laws.load(tmp_path / "law.json")


def test_learning_rates_that_lie_apart_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """OLMoE: 11 times between two laws, by their formulas on its counts; it was trained at 4e-4 (arXiv 2409.02060)."""
    steps = 1.79 * 6_713_163_776**-0.713 * 5e12**0.307
    joint = math.exp(8.39 - 0.81 * math.log(1_075_972_096) - 0.25 * math.log(8))
    code, out, _ = run(capsys, "predict", "olmoe-1b-7b", "--train-tokens", "5T")
    assert code == 0
    found = re.search(r"learning rates (\S+) times apart, (\S+) .* to (\S+)", " ".join(out.split()))
    assert found is not None
    assert [float(number) for number in found.groups()] == pytest.approx([steps / joint, joint, steps], rel=0.05)
    code, out, _ = run(capsys, "predict", "olmoe-1b-7b", "--train-tokens", "5T", "--law", "steplaw")
    assert "times apart" not in out
