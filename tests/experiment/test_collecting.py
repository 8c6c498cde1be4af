"""The run table against the runs themselves: facts, states, curves, damaged files, other folders, and the fit of it."""

import json
import math
import random
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import moewright
from moewright import runs as run_tables
from moewright.architecture import counts
from moewright.errors import RunStopped, UserError
from moewright.experiment import run_folder
from moewright.experiment.collecting.collection import RunTable, collect
from moewright.experiment.collecting.learning_curves import TAIL, read_tail
from moewright.experiment.identity import TRAINING_VERSION
from moewright.experiment.recipe import Recipe
from moewright.experiment.sweep_folder import CellRecord, cell_path
from moewright.files import read_objects
from moewright.lab import loop
from moewright.lab.training import train
from tests.lab import tiny
from tests.sealing import reseal, sealed
from tests.test_cli import run as command

STEPS = 12
CAPACITY = {"dispatch": {"capacity": {"factor": 1.0}}, "schedule": {"kind": "constant", "warmup_tokens": 192}}
RECIPES: dict[str, dict[str, Any]] = {
    "a/mixture": {},
    "a/repeat": {"seed": 1, "log_every_steps": 5, "checkpoints": {"keep": 1}},
    "b/capacity": {**CAPACITY, "balancing": {"losses": [{"weight": 0.01}], "selection_bias": {"step": 0.02}}},
    "b/dense": {"architecture": tiny.architecture(dense=True), "balancing": None},
    "interrupted": {"checkpoints": {"every_tokens": 4 * 128}},
    "diverged": {"learning_rate": 1e9},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: four finished, one interrupted, one diverged; and folders that hold none."""
    place = tmp_path_factory.mktemp("runs")
    (place / "tokens").mkdir()
    data = tiny.write_tokens(place / "tokens")
    out = place / "out"
    for name, changes in RECIPES.items():
        recipe = {key: value for key, value in {**tiny.recipe(data, STEPS), **changes}.items() if value is not None}
        if "selection_bias" in (recipe.get("balancing") or {}):
            recipe["architecture"] = tiny.architecture(selection_bias="buffer")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "matmul_peak", lambda *_: 1e9)
            if name == "interrupted":
                tiny.interrupt_after(patch, 7)
            try:
                train(Recipe.from_dict(recipe), out / name, show=False)
            except RunStopped:
                assert name == "diverged"
    (out / "notes").mkdir()
    (out / "notes" / "readme.txt").write_text("none of moewright's")
    shutil.copytree(out / "a" / "mixture", out / ".hidden")
    return place


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(made / "out", tmp_path / "copy"))


def row_of(collected: RunTable, name: str) -> "pd.Series[Any]":
    row = collected.table.set_index("run_id").loc[name]
    assert isinstance(row, pd.Series)
    return row


def test_rows_are_the_facts_of_the_runs(made: Path) -> None:
    collected = collect(made / "out")
    table = collected.table
    assert sorted(table["run_id"]) == sorted(RECIPES)
    assert collected.states == {"done": 4, "diverged": 1, "interrupted": 1}
    for name in RECIPES:
        row, folder = row_of(collected, name), made / "out" / name
        record, status = run_folder.read_run(folder), run_folder.read_status(folder)
        recipe, facts = Recipe.from_dict(record.recipe), record.facts
        assert status is not None
        model = recipe.architecture
        assert row["source"] == name
        assert row["total_params"] == facts.total_params == counts.total_params(model)
        assert row["active_params"] == facts.active_params == counts.active_params(model)
        assert row["total_params_non_embedding"] == counts.total_params_non_embedding(model)
        assert row["active_params_non_embedding"] == counts.active_params_non_embedding(model)
        assert (row["num_layers"], row["hidden_size"], row["num_heads"]) == (2, 32, 4)
        assert row["learning_rate"] == facts.peak_learning_rate
        assert row["train_tokens"] == recipe.train_tokens == STEPS * recipe.batch_tokens
        assert row["train_flops"] == pytest.approx(facts.train_flops, rel=1e-12)
        assert row["batch_tokens"] == recipe.batch_tokens
        assert row["seed"] == recipe.seed
        assert row["data_fingerprint"] == record.data.fingerprint
        assert row["torch_version"] == record.provenance.versions["torch"]
        assert row["threads"] == record.provenance.machine.threads
        assert row["schedule_fraction"] == status.step / STEPS
        assert row["tokens_done"] == status.tokens
        records = list(read_objects(folder / run_folder.METRICS))
        assert (row["started"], row["ended"]) == (records[0]["time"], records[-1]["time"])
        train_losses = [record["loss"] for record in records if record["kind"] == "train"][-10:]
        assert row["train_loss"] == pytest.approx(np.mean(train_losses), rel=1e-12)
        if row["status"] != "finished":
            assert math.isnan(row["loss"])
            continue
        final = [record for record in records if record["kind"] == "evaluation"][-1]
        assert row["loss"] == final["loss"] == status.loss
        assert {name: row[f"loss_{name}"] for name in ("near", "far")} == final["by_set"]
        assert row["evaluation"] == "far+near: all sequences of 16"
        assert row["tokens_per_second"] == status.tokens_per_second
        assert row["peak_memory_bytes"] == status.peak_memory_bytes
        if final.get("routing"):
            assert row["max_violation"] == pytest.approx(np.mean(final["routing"]["max_violation"]))
            assert row["dead_experts"] == sum(final["routing"]["dead_experts"])


def test_settings_become_columns(made: Path) -> None:
    collected = collect(made / "out")
    mixture, capacity, dense = (row_of(collected, name) for name in ("a/mixture", "b/capacity", "b/dense"))
    assert (mixture["num_experts"], mixture["top_k"], mixture["expert_size"], mixture["shared_size"]) == (4, 2, 24, 16)
    assert (mixture["expert_groups"], mixture["router"]) == ("4x24k2", "softmax")
    assert (mixture["balance_weight"], mixture["bias_step"], mixture["schedule"]) == (0.01, 0, "cosine")
    assert math.isnan(mixture["capacity_factor"])
    assert (capacity["capacity_factor"], capacity["bias_step"], capacity["schedule"]) == (1.0, 0.02, "constant")
    assert capacity["warmup_steps"] == 1.5
    assert capacity["capacity_loss"] > 0
    assert capacity["drop_fraction"] > 0
    assert (dense["num_experts"], dense["top_k"], dense["expert_size"]) == (1, 1, 48)
    ids = collected.table.set_index("run_id")["config_id"]
    assert ids["a/mixture"] == ids["a/repeat"] == ids["interrupted"]  # the seed and what may change on the way apart
    assert ids.nunique() == 4


def test_bits_per_byte_of_all_sets_are_their_bits_over_their_bytes(folder: Path) -> None:
    metrics = folder / "a" / "mixture" / run_folder.METRICS
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    final = next(line for line in reversed(lines) if line["kind"] == "evaluation")
    bytes_per_token = {"near": 3.7, "far": 4.4}
    final["bits_per_byte"] = {n: final["by_set"][n] / math.log(2) / each for n, each in bytes_per_token.items()}
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    reseal(metrics.parent)
    bits = sum(final["by_set"][name] * final["tokens_by_set"][name] / math.log(2) for name in bytes_per_token)
    size = sum(each * final["tokens_by_set"][name] for name, each in bytes_per_token.items())
    assert row_of(collect(folder), "a/mixture")["bits_per_byte"] == pytest.approx(bits / size, rel=1e-12)


def test_findings_name_what_a_fit_should_not_trust(made: Path) -> None:
    collected = collect(made / "out")
    found = {(each.run_id, each.problem) for each in collected.findings if each.run_id}
    assert found >= {("interrupted", "unfinished"), ("diverged", "diverged"), ("b/capacity", "unlike")}
    assert not {("interrupted", "diverged"), ("diverged", "unreadable")} & found
    rows = collected.table["run_id"].tolist()
    assert all(each.row is None or rows[each.row - 1] == each.run_id for each in collected.findings)


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl"])
def test_the_written_table_is_the_table(made: Path, tmp_path: Path, ending: str) -> None:
    first = collect(made / "out", tmp_path / f"runs{ending}")
    loaded = run_tables.load(first.written[0])
    assert list(loaded.columns) == list(first.table.columns)
    for name in first.table.columns:
        ours, theirs = first.table[name], loaded[name]
        if ours.dtype.kind in "fi":
            np.testing.assert_allclose(theirs.to_numpy(dtype=float), ours.to_numpy(dtype=float), rtol=1e-14)
        else:
            assert ours.astype(object).fillna("").tolist() == theirs.astype(object).fillna("").tolist()
    again = tmp_path / f"again{ending}"
    collect(made / "out", again)
    assert again.read_bytes() == first.written[0].read_bytes()
    assert [path.name for path in sorted(tmp_path.iterdir())] == [again.name, first.written[0].name]


def test_a_step_that_was_trained_again_counts_once(folder: Path, tmp_path: Path) -> None:
    metrics = folder / "a" / "mixture" / run_folder.METRICS
    lines = metrics.read_text().splitlines(keepends=True)
    again = {"kind": "train", "step": 3, "tokens": 384, "loss": 1.25, "learning_rate": 0.5, "time": 9e9}
    metrics.write_text("".join([*lines[:8], '{"kind": "train", "st\n', json.dumps(again) + "\n", *lines[3:]]))
    reseal(metrics.parent)
    for name in ("curves.parquet", "curves.csv.gz"):
        collect(folder, curves=tmp_path / name)
    curves = pd.read_parquet(tmp_path / "curves.parquet")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "curves.csv.gz"), curves)
    mine = curves[curves["run_id"] == "a/mixture"]
    whole = {}  # the last one counts, by the words of the run folder
    for record in read_objects(folder / "a" / "mixture" / run_folder.METRICS):
        if record["kind"] in ("train", "evaluation"):
            whole[record["kind"], record["step"]] = (record["loss"], record.get("learning_rate", math.nan))
    assert len(mine) == len(whole) == STEPS + 1
    for kind, step, loss, rate in mine[["kind", "step", "loss", "learning_rate"]].itertuples(index=False):
        np.testing.assert_array_equal((loss, rate), whole[kind, step])
    assert mine["step"].tolist() == [*range(1, STEPS + 1), STEPS]
    assert set(curves["run_id"]) == set(RECIPES)


def test_the_tail_of_a_long_file_is_that_of_all_its_records(tmp_path: Path) -> None:
    """The last evaluation may lie far from the end, and lines may be cut: 30 files of up to 2 MB."""
    draw = random.Random(4)
    for _ in range(30):
        records: list[dict[str, Any]] = [{"kind": "start", "time": 1.0}]
        evaluated = draw.randrange(1, 2000)
        for step in range(1, 2001):
            padding = [draw.random()] * draw.choice((1, 40))
            records.append({"kind": "train", "step": step, "loss": draw.random(), "pad": padding, "time": 1.0 + step})
            if step == evaluated:
                records.append({"kind": "evaluation", "step": step, "loss": 2.0, "time": 1.5 + step})
        lines = [json.dumps(record) for record in records]
        lines[-1] += "\n" if draw.random() < 0.5 else "\n" + lines[5][: draw.randrange(1, 60)]
        (tmp_path / run_folder.METRICS).write_text("\n".join(lines))
        assert (tmp_path / run_folder.METRICS).stat().st_size > TAIL
        tail = read_tail(tmp_path)
        losses = [record["loss"] for record in records if record["kind"] == "train"][-10:]
        assert tail.train_loss == pytest.approx(np.mean(losses))
        assert tail.evaluation is not None
        assert (tail.evaluation.step, tail.step) == (evaluated, 2000)
        assert (tail.started, tail.ended, tail.steps_back) == (1.0, records[-1]["time"], 0.0)


# Damaged files


FILES = ("run.json", "status.json", "metrics.jsonl", "architecture.yaml")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_or_overwritten_anywhere_is_named(folder: Path, name: str) -> None:
    """24 places in each file (6 in the one that is not read): other runs stay; the damage is said or harmless."""
    draw = random.Random(name)
    victim = folder / "a" / "mixture" / name
    whole, sound = victim.read_bytes(), collect(folder)
    for turn in range(6 if name == "architecture.yaml" else 24):
        place = draw.randrange(len(whole))
        victim.write_bytes(whole[:place] if turn % 2 else whole[:place] + draw.randbytes(7) + whole[place + 7 :])
        collected = collect(folder)
        about = [each for each in collected.findings if each.run_id == "a/mixture"]
        others = collected.table[collected.table["run_id"] != "a/mixture"]
        assert len(others) == len(RECIPES) - 1
        if "a/mixture" not in set(collected.table["run_id"]):
            assert any(each.problem == "unreadable" and str(victim) in each.detail for each in about)
            continue
        row, before = row_of(collected, "a/mixture"), row_of(sound, "a/mixture")
        if name == "status.json" and row["state"] != "done":
            continue  # the letters of the state itself
        complete = not any(each.problem in ("incomplete", "changed") for each in about)
        if name == "metrics.jsonl":
            assert row["loss"] == before["loss"]
            assert not complete or row["loss_near"] == before["loss_near"] or turn % 2 == 0
        if name == "architecture.yaml":  # run.json has the model
            assert row.to_dict().keys() == before.to_dict().keys()
            assert row["total_params"] == before["total_params"]
    victim.write_bytes(whole)


def test_impossible_numbers_leave_a_run_out_by_name(folder: Path) -> None:
    for name, (file, place, value) in {
        "a/mixture": ("run.json", ("facts", "train_flops"), -1.0),
        "a/repeat": ("status.json", ("loss",), None),
        "b/dense": ("run.json", ("recipe", "architecture", "hidden_size"), 33.5),
        "b/capacity": ("run.json", ("recipe", "batch_tokens"), "many"),
    }.items():
        values = json.loads((folder / name / file).read_text())
        inner = values
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        (folder / name / file).write_text(json.dumps(values))
        reseal(folder / name)
    collected = collect(folder)
    assert set(collected.table["run_id"]) == {"interrupted", "diverged"}
    details = {each.run_id: each.detail for each in collected.findings if each.problem == "unreadable"}
    expected = {"a/mixture": "train_flops", "a/repeat": "loss", "b/dense": "hidden_size", "b/capacity": "batch_tokens"}
    assert details.keys() == expected.keys()
    for name, word in expected.items():
        assert word in details[name]


def test_one_run_folder_and_folders_without_runs(made: Path, tmp_path: Path) -> None:
    alone = collect(made / "out" / "b" / "dense")
    assert alone.table[["run_id", "source"]].iloc[0].tolist() == ["dense", "."]
    with pytest.raises(UserError, match="holds no runs"):
        collect(made / "tokens")
    with pytest.raises(UserError, match="no such folder"):
        collect(tmp_path / "none")
    (tmp_path / "lost").mkdir()
    (tmp_path / "lost" / "status.json").write_text("{}")
    with pytest.raises(UserError, match=r"none of its 1 runs can be read; .*no run\.json"):
        collect(tmp_path)


# Sweeps


@pytest.fixture
def sweep(folder: Path, tmp_path: Path) -> Path:
    """The same runs as a sweep would leave them, and one that was not begun."""
    out = tmp_path / "sweep"
    for name in ("cells", "attempts", "runs"):
        (out / name).mkdir(parents=True)
    (out / "sweep.json").write_text("{}")
    for number, name in enumerate(RECIPES):
        run = f"{number:012x}"
        shutil.move(folder / name, out / "runs" / run)
        record = run_folder.read_run(out / "runs" / run)
        end = {"interrupted": "timed-out", "diverged": "diverged"}.get(name, "finished")
        write_cell(out, run, record.recipe, record.data.fingerprint, {"axis": name, "dispatch": {"n": number}})
        attempts = [
            {"event": "begin", "attempt": 1, "time": 1e9},
            {"event": "end", "attempt": 1, "time": 1.1e9, "end": end},
        ]
        (out / "attempts" / f"{run}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in attempts))
    write_cell(out, "f" * 12, record.recipe, record.data.fingerprint, {"axis": None, "other": 3})
    return out


def write_cell(out: Path, run: str, recipe: dict[str, Any], fingerprint: str, settings: dict[str, Any]) -> None:
    cell = CellRecord(
        id=run,
        settings=settings,
        stage="main",
        group="7",
        recipe=recipe,
        data_fingerprint=fingerprint,
        training_version=TRAINING_VERSION,
        code="c1",
    )
    cell.write(cell_path(out, run))


def test_a_sweep_has_its_states_stages_and_axes(sweep: Path) -> None:
    collected = collect(sweep)
    assert collected.is_sweep
    assert collected.states == {"pending": 1, "done": 4, "diverged": 1, "timed-out": 1}
    table = collected.table.set_index("run_id")
    assert table["axis_axis"].tolist()[:2] == ["a/mixture", "a/repeat"]
    assert table["axis_dispatch"].iloc[1] == '{"n": 1}'
    assert table["axis_other"].iloc[-1] == 3
    assert table["attempts"].tolist() == [1] * 6 + [0]
    assert set(table["status"]) == {"finished", "unfinished", "diverged"}
    assert table.loc["f" * 12, "total_params"] == table["total_params"].iloc[0]  # of the cell
    assert {each.problem for each in collected.findings} <= {"diverged", "unfinished", "unlike"}
    assert not any(each.run_id == "f" * 12 for each in collected.findings)  # it has not begun: nothing to diagnose


def test_a_sweep_whose_files_do_not_fit_together(sweep: Path) -> None:
    runs = [f"{number:012x}" for number in range(5)]
    (sweep / "cells" / f"{runs[0]}.json").unlink()
    cell = json.loads((sweep / "cells" / f"{runs[1]}.json").read_text())
    cell["recipe"]["optimizer"]["beta2"] = 0.5
    cell["code"] = "c2"
    (sweep / "cells" / f"{runs[1]}.json").write_text(json.dumps(sealed(CellRecord, cell)))
    (sweep / "cells" / f"{runs[2]}.json").write_text('{"recipe": {"arch')
    attempts = [
        {"event": "begin", "attempt": 1, "time": 9e12},
        {"event": "end", "attempt": 1, "time": 1e9, "end": "failed"},
    ]
    (sweep / "attempts" / f"{runs[3]}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in attempts))
    metrics = sweep / "runs" / runs[4] / run_folder.METRICS
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    lines[3]["time"] -= 1000
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    reseal(metrics.parent)
    collected = collect(sweep)
    found = {(each.run_id, each.problem, each.column) for each in collected.findings}
    assert found >= {
        (runs[0], "no cell", ""),
        (runs[1], "changed", "recipe.optimizer.beta2"),
        (runs[2], "unreadable", ""),
        (runs[3], "clock", "time"),
        (runs[4], "clock", "time"),
        ("", "mixed", "code"),
    }
    assert row_of(collected, runs[3])["state"] == "done"  # no clock decides


# The fit, and the command line


def fittable(folder: Path, rows: int) -> None:
    """Copies of a run with other tokens, whose losses follow a law of them and of nothing else."""
    source = folder / "a" / "mixture"
    record, status = (json.loads((source / name).read_text()) for name in ("run.json", "status.json"))
    for number in range(rows):
        copy = folder / "c" / f"{number:02d}"
        copy.mkdir(parents=True)
        tokens = 12800 * 2**number
        record["recipe"]["train_tokens"] = record["facts"]["train_tokens"] = status["tokens"] = tokens
        (copy / "run.json").write_text(json.dumps(record))
        (copy / "status.json").write_text(json.dumps({**status, "loss": 1.5 + 40 / tokens**0.4}))
        reseal(copy)


def test_fit_takes_the_finished_rows(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fittable(folder, 9)
    out = str(tmp_path / "runs.parquet")
    assert command(capsys, "runs", str(folder / "c"), "--out", out)[0] == 0
    frame = pd.read_parquet(out)
    frame.to_csv(tmp_path / "runs.csv", index=False)
    frame.to_json(tmp_path / "runs.jsonl", orient="records", lines=True)
    for name in ("runs.parquet", "runs.csv", "runs.jsonl"):
        code, text, err = command(capsys, "runs", str(tmp_path / name))
        assert (code, text) == (2, ""), "a run table is no log of steps"
        assert "is a run table already" in err
    arguments = ("--law", "hoffmann2022", "--fix", "alpha=0.34", "--bootstrap", "0", "--json")
    code, text, err = command(capsys, "fit", out, *arguments)
    assert (code, err) == (0, "")
    assert json.loads(text)["coefficients"]["beta"] == pytest.approx(0.4, abs=0.02)
    shutil.copytree(folder / "interrupted", folder / "c" / "interrupted")
    command(capsys, "runs", str(folder / "c"), "--out", out)
    code, _, err = command(capsys, "fit", out, *arguments)
    assert code == 2
    assert "loss" in err
    code, text, err = command(capsys, "fit", out, *arguments, "--where", "status=finished")
    assert (code, err) == (0, "")
    assert json.loads(text)["rows"] == 9


def test_the_command_prints_80_columns_or_one_json_object(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = command(capsys, "runs", str(sweep), "--curves", str(tmp_path / "c.parquet"))
    assert (code, err) == (0, "")
    shown = out.splitlines()
    assert "7 runs: 1 pending, 4 done, 1 diverged, 1 timed-out" in shown[0]
    assert max(len(line) for line in shown if str(tmp_path) not in line) <= 80
    code, out, _ = command(capsys, "runs", str(sweep), "--json")
    found = json.loads(out)
    assert code == 0
    assert found["states"] == {"pending": 1, "done": 4, "diverged": 1, "timed-out": 1}
    assert len(found["runs"]) == 7
    assert moewright.collect_runs(sweep).to_dict() == found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "runs.xlsx"), "runs.xlsx: the name must end in .csv, .parquet, .jsonl"),
        (("--curves", "curves.csv"), "curves.csv: the name must end in .parquet, .csv.gz"),
        (("--out", "pyproject.toml/runs.csv"), "cannot be written"),
        (("--ouut", "runs.csv"), "--ouut"),
    ],
)
def test_mistakes_are_one_line(
    made: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = command(capsys, "runs", str(made / "out"), *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


HUGE = {"400 digits": "9" * 400, "5,000 digits": "9" * 5000, "1e309": "1e309", "NaN": "NaN", "less than nothing": "-1"}


@pytest.mark.parametrize("word", HUGE)
def test_a_number_at_the_edge_leaves_the_other_runs_alone(word: str, folder: Path) -> None:
    """In run.json, status.json or metrics.jsonl of one run, at every place with a number."""
    others = set(collect(folder).table["run_id"]) - {"a/mixture"}
    run = folder / "a" / "mixture"
    for name in (run_folder.RUN, run_folder.STATUS, run_folder.METRICS):
        text = (run / name).read_text()
        places = list(re.finditer(r"(?<=: )-?[0-9][0-9.e+-]*", text))
        for place in places[:: max(len(places) // 12, 1)]:
            (run / name).write_text(text[: place.start()] + HUGE[word] + text[place.end() :])
            collected = collect(folder)
            assert others <= set(collected.table["run_id"])
            assert "a/mixture" in set(collected.table["run_id"]) | {each.run_id for each in collected.findings}
        (run / name).write_text(text)
