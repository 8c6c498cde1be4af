"""One real training, written by many loggers, comes home as the same rows; and files that are torn or foreign."""

import csv
import gzip
import json
import math
import shutil
from pathlib import Path

import pandas as pd
import pytest

import moewright
from moewright.errors import UserError
from moewright.runs.readers.discovery import _united
from moewright.runs.readers.run_log import RunLog
from moewright.runs.readers.wire_format import masked_crc32c
from tests.runs.public_data import FOLDER

LOGGERS = FOLDER / "loggers"
STATUS = {
    "finished": {"finished"},
    "restarted": {"finished"},
    "diverged": {"diverged"},
    "crashed": {"failed", "unfinished"},
}
SPARSE = {"llmc", "nanogpt", "megatron", "torchtitan", "olmo_core", "lightning", "tensorboard/tensorboardX"}
"""Formats that leave a killed run's last steps out, or settings and tokens."""
FORMATS = (
    *("csv", "jsonl", "lightning", "llmc", "nanogpt", "megatron", "mlflow_file", "mlflow_sqlite", "trackio"),
    *("olmo_core", "torchtitan", "tensorboard/torch", "tensorboard/tensorboardX", "wandb_offline"),
    *("wandb_offline_0.16", "wandb_exports", "hf_trainer"),
)


def truth(folder: Path) -> dict[str, dict[str, str]]:
    own = folder / "truth.csv"
    with (own if own.exists() else LOGGERS / "truth.csv").open(encoding="utf-8") as file:
        return {row["run"]: row for row in csv.DictReader(file)}


def given(name: str) -> Path:
    if not (LOGGERS / name).exists():
        pytest.skip(f"the logs of {name} are not at {LOGGERS / name}")
    return LOGGERS / name


@pytest.mark.parametrize("name", FORMATS)
def test_every_logger_gives_the_same_rows(name: str) -> None:
    folder = given(name)
    wanted = truth(folder)
    table = moewright.collect_runs(folder).table.set_index("run_id")
    assert set(table.index) == (set(wanted) if "0.16" not in name else set(table.index) & set(wanted))
    for run, row in table.iterrows():
        known = wanted[str(run)]
        assert row["status"] in STATUS[known["status"]], run
        final = float(known["final_eval_loss"])
        assert math.isnan(row["loss"]) if math.isnan(final) else abs(row["loss"] - final) < 1e-4, run
        if known["status"] != "crashed":
            assert row["steps"] == float(known["steps"]), run
            if name not in SPARSE:
                assert row["train_tokens"] == float(known["tokens"]), run
                assert row["num_experts"] == float(known["num_experts"]), run
        if known["status"] == "restarted" and name not in ("wandb_exports", "hf_trainer"):
            assert row["restarts"] == 1, run


def test_torn_and_foreign_files_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "good.csv").write_text("step,train_loss,val_loss\n1,4.5,\n2,4.0,4.2\n", encoding="utf-8")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "torn.db").write_bytes(b"SQLite format 3\0" + b"\1" * 90)
    (tmp_path / "notes.txt").write_text("nothing that is a log", encoding="utf-8")
    with gzip.open(tmp_path / "more.jsonl.gz", "wt") as file:
        file.write('{"step": 1, "loss": 4.5}\n{"step": 2, "loss": "NaN"}\n{"step": 3, "lo')
    found = moewright.collect_runs(tmp_path)
    assert dict(zip(found.table["run_id"], found.table["status"], strict=True)) == {
        "good": "finished",
        "more": "diverged",
    }
    assert {each.problem for each in found.findings} >= {"unreadable", "log"}
    assert any("torn.parquet" in each.detail for each in found.findings)


def test_a_torn_event_file_loses_its_tail_only(tmp_path: Path) -> None:
    folder = given("tensorboard/torch")
    shutil.copytree(folder / "moe-l-seed1", tmp_path / "run")
    event = next((tmp_path / "run").glob("*.tfevents.*"))
    event.write_bytes(event.read_bytes()[: event.stat().st_size // 2])
    found = moewright.collect_runs(tmp_path)
    assert found.table.loc[0, "status"] == "unfinished"
    assert any("ends inside a record" in each.detail for each in found.findings)


def test_a_map_names_columns_and_a_wrong_name_the_nearest(tmp_path: Path) -> None:
    log = "iteration,nll_train,nll_dev\n1,4.5,4.6\n2,4.0,4.2\n"
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "a.csv").write_text(log, encoding="utf-8")
    names = tmp_path / "map.yaml"
    names.write_text("loss: nll_dev\nactive_params: 2000000\ntrain_tokens: {from: nll_train, times: 10}\n", "utf-8")
    row = moewright.collect_runs(tmp_path / "runs", map_=names).table.iloc[0]
    assert (row["loss"], row["active_params"], row["train_tokens"]) == (4.2, 2e6, 40.0)
    names.write_text("loss: nll_devv\n", encoding="utf-8")
    with pytest.raises(UserError, match="did you mean 'nll_dev'"):
        moewright.collect_runs(tmp_path / "runs", map_=names)
    with pytest.raises(UserError, match="no format that is read; did you mean wandb"):
        moewright.collect_runs(tmp_path / "runs", from_="wanddb")


def test_a_restart_replaces_what_it_repeats(tmp_path: Path) -> None:
    steps = [*range(1, 31), *range(21, 41)]
    lines = [f"{step},{5 - place / 100}" for place, step in enumerate(steps)]
    (tmp_path / "a.csv").write_text("step,loss\n" + "\n".join(lines), encoding="utf-8")
    row = moewright.collect_runs(tmp_path, final_tokens=None).table.iloc[0]
    assert (row["steps"], row["restarts"], row["repeated_steps"]) == (40, 1, 10)
    assert row["train_loss"] == pytest.approx(sum(5 - place / 100 for place in range(40, 50)) / 10)


@pytest.mark.parametrize("places", [("a.csv", "b.csv"), ("a.jsonl", "b.csv"), ("x/log.csv", "y/log.csv")])
def test_two_runs_of_one_name_are_two(places: tuple[str, str], tmp_path: Path) -> None:
    """In one folder or two, whatever the format; a file with the same losses in fewer digits is a copy."""

    def write(place: str, above: float, digits: int) -> Path:
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        rows = [{"run": "one", "step": step, "loss": round(4 - step / 90 + above, digits)} for step in range(1, 20)]
        text = pd.DataFrame(rows)
        if place.endswith("csv"):
            text.to_csv(path, index=False)
        else:
            text.to_json(path, orient="records", lines=True)
        return path

    given = [write(places[0], 0.0, 9), write(places[1], 0.1, 9)]
    found = moewright.collect_runs(given)
    assert sorted(found.table["loss"] - found.table["loss"].min()) == pytest.approx([0, 0.1])
    assert found.table["run_id"].is_unique
    assert sorted(found.table["source"]) == sorted(path.as_posix() for path in given)
    is_beside = given[0].parent == given[1].parent
    assert any("other losses than the run of the same name" in each.detail for each in found.findings) == is_beside
    write(places[1], 0.0, 4)
    found = moewright.collect_runs(given)
    assert len(found.table) == 2 - is_beside


def test_a_run_that_diverged_is_no_copy_of_one_that_did_not(tmp_path: Path) -> None:
    """Whichever is read first; two that diverged alike are copies."""

    def write(place: str, ok_until: int) -> None:
        rows = [{"run": "one", "step": n, "loss": 4 - n / 90 if n < ok_until else float("nan")} for n in range(1, 20)]
        (tmp_path / place).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")

    for first, second, runs in ((99, 5, 2), (5, 99, 2), (5, 5, 1)):
        write("a.jsonl", first)
        write("b.jsonl", second)
        assert len(moewright.collect_runs(tmp_path).table) == runs


def test_a_restart_with_another_model_is_another_run(tmp_path: Path) -> None:
    """In one file, and where a logger calls two sessions one run."""
    lines: list[dict[str, object]] = []
    for size in (256, 512, 512):
        lines.append({"type": "config", "config": {"model": {"hidden_size": size, "num_layers": 4}, "max_steps": 9}})
        lines += [{"step": step, "loss": 4 - step / size} for step in range(1, 10)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    found = moewright.collect_runs(tmp_path)
    assert found.table.sort_values("hidden_size")["hidden_size"].tolist() == [256, 512]
    assert found.table.sort_values("hidden_size")["restarts"].tolist() == [0, 1]
    assert any("another model under the same name: hidden_size 512, not 256" in each.detail for each in found.findings)
    logs = [RunLog("one", "mlflow", tmp_path / str(size), {"n_embd": size}, key="one") for size in (256, 512, 256)]
    for log in logs:
        log.add(1, [("loss", float(log.config["n_embd"]))])
    assert [(log.config["n_embd"], log.sessions) for log in _united(logs)] == [(256, 2), (512, 1)]


def test_curves_are_the_last_branch_of_both_losses(tmp_path: Path) -> None:
    log = "step,tokens,train_loss,lr,val_loss\n1,10,5,.1,\n2,20,4,.2,4.5\n3,30,3,.3,\n2,20,4.1,.2,4.4\n3,30,nan,.3,\n"
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "a.csv").write_text(log, encoding="utf-8")
    moewright.collect_runs(tmp_path / "runs", curves=tmp_path / "curves.parquet")
    curves = pd.read_parquet(tmp_path / "curves.parquet")
    assert curves.fillna(-1).to_numpy().tolist() == [
        ["a", "train", 1, 10, 5, 0.1],
        ["a", "train", 2, 20, 4.1, 0.2],
        ["a", "train", 3, 30, -1, 0.3],
        ["a", "evaluation", 2, 20, 4.4, -1],
    ]


def test_every_logger_gives_the_same_curves(tmp_path: Path) -> None:
    """What the trainer wrote itself, against formats whose numbers have as many digits."""
    found = {}
    for name in ("jsonl", "csv", "mlflow_file", "trackio"):
        moewright.collect_runs(given(name), curves=tmp_path / f"{name}.parquet")
        curves = pd.read_parquet(tmp_path / f"{name}.parquet")
        curves = curves[curves["run_id"].isin(("moe-s-seed1", "moe-l-seed2")) & curves["loss"].notna()]
        found[name] = curves.set_index(["run_id", "kind", "step"])["loss"].sort_index()
    assert len(found["jsonl"]) > 100
    for name, losses in found.items():
        shared = losses.index.intersection(found["jsonl"].index)
        assert len(shared) == len(losses), name
        assert (losses[shared] - found["jsonl"][shared]).abs().max() < 1e-4, name


def test_others_use_our_file_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text('{"project": "mine"}', encoding="utf-8")
        lines = [json.dumps({"step": step, "loss": 5 / step}) for step in range(1, 4)]
        (tmp_path / name / "metrics.jsonl").write_text("\n".join(lines), encoding="utf-8")
        (tmp_path / name / "status.json").write_text('{"state": "COMPLETED"}', encoding="utf-8")
    assert moewright.collect_runs(tmp_path).table["run_id"].tolist() == ["a", "b"]
    assert moewright.collect_runs(tmp_path / "a").table["steps"].tolist() == [3]


def test_own_runs_among_others_are_refused_by_the_first_of_these(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/run.json").write_text('{"format": "moewright-run/1"}')
    (tmp_path / "notes.csv").write_text("step,loss\n1,2\n")  # a table may be anything
    with pytest.raises(UserError) as caught:
        moewright.collect_runs(tmp_path)
    assert "of other loggers" not in str(caught.value)
    line = " iteration       10/      10 | consumed samples:          160 | lm loss: 2.5E+00 | grad norm: 1.0 |\n"
    (tmp_path / "their.log").write_text(line)
    with pytest.raises(UserError, match=r"own and 1 of other loggers \(.*their.log is the first\); read the ones with"):
        moewright.collect_runs(tmp_path)
    assert moewright.collect_runs(tmp_path, from_="megatron").table["run_id"].tolist() == ["their"]
    with pytest.raises(UserError, match="has runs of moewright's own; give it alone"):
        moewright.collect_runs([tmp_path / "own", tmp_path / "their.log"])
    with pytest.raises(UserError, match=r"is a folder; `moewright runs` reads its runs"):
        moewright.runs.load(tmp_path)


def test_the_checksum_of_tfrecord() -> None:
    """The check value of CRC-32C, E3069283 (RFC 3720), masked as TFRecord does."""
    crc = 0xE3069283
    assert masked_crc32c(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


DEEP = "[" * 100_000 + "]" * 100_000


def test_json_that_is_nested_too_deeply_is_passed_over(tmp_path: Path) -> None:
    """Python's reader has no complaint for it but RecursionError."""
    from moewright.runs.readers import json_lines, tensorboard_events, trackio_base, wandb_offline

    nested = f'{{"step": {DEEP}}}'
    assert not json_lines.claims(tmp_path / "log.jsonl", f"{nested}\n".encode())
    whole = tmp_path / "log.json"
    whole.write_text(DEEP)
    assert [*json_lines._records(whole)] == [None]
    assert trackio_base._mapping(nested) == {}
    assert tensorboard_events._settings(nested) == {}
    value = nested.encode()
    size = len(value)
    length = bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14 & 127])
    item = b"\x0a\x01k" + b"\x82\x01" + length + value
    whole_item = len(item)
    assert (
        wandb_offline._items(
            b"\x0a" + bytes([whole_item & 127 | 128, whole_item >> 7 & 127 | 128, whole_item >> 14 & 127]) + item, 1
        )
        == {}
    )
