"""Runs that other trainers make: their folders, what comes home from them, and attempts that are killed."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

from moewright.errors import UserError
from moewright.experiment.attempts import AttemptEnd, begins, read_attempts
from moewright.experiment.collecting.collection import collect
from moewright.experiment.locks import holding
from moewright.experiment.recipe import Recipe
from moewright.experiment.states import observe
from moewright.experiment.sweep_folder import attempts_file, attempts_lock, run_path
from moewright.experiment.trainer_folder import (
    EXIT_CODE,
    LAUNCH,
    OUTPUT,
    PRINTED,
    LossPlace,
    TrainerRecord,
    reached_step,
)
from moewright.experiment.trainer_outcome import read_outcome
from moewright.lab.training import train
from moewright.sweeps.running import sweeping
from moewright.sweeps.running.sweeping import load_sweep, planner_in, sweep, sweep_status
from moewright.sweeps.running.worker import work
from moewright.sweeps.sweep_spec import Execution
from moewright.sweeps.trainers.command import CommandTrainer
from moewright.sweeps.trainers.placeholders import Template
from moewright.sweeps.trainers.trainer_choice import trainer_of
from tests.lab.tiny import recipe, write_tokens
from tests.sweeps.test_scheduler import FakeExecutor

SCRIPT = Path(__file__).parents[2] / "examples/own_trainer/train.py"
ARGUMENTS = "{output} {train_files} {validation_files} {vocab_size} {steps} {batch_tokens} {learning_rate} {seed}"
HOSTILE = 'a "sweep" it\'s\n$(touch broken) `touch broken`; {x} \\'


def bigrams(folder: Path, steps: int = 20, **changes: Any) -> dict[str, Any]:
    """A sweep of the bigram script's: two learning rates."""
    data = write_tokens(folder, 20_000)
    base = recipe({**data, "validation": {"near": data["validation"]["near"]}}, steps=steps)
    command = f"{sys.executable} {SCRIPT} {ARGUMENTS}"
    trainer = {"kind": "command", "run": command, "loss": "val_loss", "resumes": True}
    return {
        "format": "moewright-sweep/1",
        "recipe": base,
        "axes": [{"grid": {"learning_rate": [0.1, 0.3]}}],
        "trainer": {**trainer, "checkpoints": r"step-(\d+)\.npy", **changes.pop("trainer", {})},
        "execution": {"cores_per_run": 1},
        **changes,
    }


def launch(script: str | Path) -> int:
    """As people would."""
    return subprocess.run(["bash", str(script)], check=False, stdout=subprocess.DEVNULL).returncode


def bigram_loss(folder: Path, rate: float, steps: int, batch: int) -> float:
    """What the script's model comes to, by counts of pairs instead of rows of logits."""
    tokens, held_out = (np.fromfile(folder / f"{name}.bin", "<u2").astype(int) for name in ("train", "near"))
    logits = np.zeros((64, 64))
    for step in range(1, steps + 1):
        places = np.random.default_rng([0, step]).integers(0, len(tokens) - 1, batch)
        counts = np.zeros((64, 64))
        for place in places:
            counts[tokens[place], tokens[place + 1]] += 1
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        logits += rate * (counts - counts.sum(1, keepdims=True) * shares)
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return -float(np.mean([logs[a, b] for a, b in pairwise(held_out)]))


# Templates


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20), max_size=3))
def test_values_reach_the_command_as_they_are(texts: list[str]) -> None:
    """Quotes, line ends, `$`, braces and what looks like options, by bash's own reading."""
    known = {f"v{number}": "" for number in range(len(texts))}
    template = Template.read("printf '%s\\0' x " + " ".join(f"{{{name}}}" for name in known), known, "run")
    line = template.fill(dict(zip(known, texts, strict=True)))
    said = subprocess.run(["bash", "-c", line], check=True, capture_output=True).stdout.split(b"\0")
    assert said[1:-1] == [text.encode() for text in texts]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("train {learning_rat}", "unknown placeholder {learning_rat}; did you mean learning_rate?"),
        ("train '{seed}'", "{seed} stands within '; leave the quotes out"),
        ('train "--out={output}"', '{output} stands within "; leave the quotes out'),
        ("train `echo {seed}`", "{seed} stands within `"),
        (r"train $'a\' {seed}'", "{seed} stands within $'"),
        ('train "$(echo "{output}")"', '{output} stands within "'),
        ('train "${{HOME:-"{output}"}}"', '{output} stands within "'),
        ("train {output}#it's {seed}'", "{seed} stands within '"),
        (r"train \ #it's {seed}'", "{seed} stands within '"),
        ("train a\\\n#it's {seed}'", "{seed} stands within '"),
        ("cat <<'EOF' >a\nlr: {seed}\nEOF", "{seed} stands within the here-document until EOF"),
        ("awk {print}", "unknown placeholder {print}"),
        ("echo ${HOME}/{seed", "unknown placeholder {HOME}; known: "),
        ("train {seed:.3f}", "{seed} has no format; write it alone"),
        ("train {a b:.3f}", "is no placeholder; write {{ and }}"),
        ("  ", "is empty"),
        ("train {seed}\0", "a NUL byte is in no command"),
    ],
)
def test_a_template_that_cannot_be_is_one_line(text: str, complaint: str) -> None:
    with pytest.raises(UserError) as error:
        trainer_of({"kind": "command", "run": text, "loss": "x"})
    assert complaint in str(error.value)


@pytest.mark.parametrize("name", ["y; touch z", "$(touch z)", "a\nb", "--x", "", "é", 'a"b', "a b"])
def test_names_of_options_are_words_of_no_shell(name: str) -> None:
    """They stand in scripts as they are: of trainers, of sbatch, of sbatch's additional ones."""
    for kind in ("hf", "megatron", "olmo-core"):
        with pytest.raises(UserError, match=r"^trainer: arguments"):
            trainer_of({"kind": kind, "arguments": {name: 1}})
    for slurm in ({name: 1}, {"additional_parameters": {name: 1}}):
        with pytest.raises(UserError, match="slurm"):
            Execution.from_dict({"slurm": slurm})


@pytest.mark.parametrize("file", ["../log.txt", "/etc/passwd", "a/../../b"])
def test_a_loss_is_looked_for_in_the_trainers_own_folder(file: str) -> None:
    loss = {"pattern": "(?P<loss>.*)", "file": file}
    with pytest.raises(UserError, match=r"leads out of output/"):
        trainer_of({"kind": "command", "run": "train {seed}", "loss": loss})


@pytest.mark.parametrize("written", [b"\xff\xfe", b"", b"zero", b"\0"])
def test_an_exit_code_that_is_none_is_not_there(written: bytes, tmp_path: Path) -> None:
    record = TrainerRecord(
        id="a", trainer="command", steps=1, batch_tokens=1, counts_steps=False, loss=LossPlace(metric="x"), resumes=True
    )
    record.write(tmp_path / "trainer.json")
    (tmp_path / EXIT_CODE).write_bytes(written)
    assert read_outcome(tmp_path).status is None


def test_quotes_of_the_template_itself_stay() -> None:
    known = {"seed": ""}
    template = Template.read("# don't\necho 'it''s' \"a\" {seed} \\' {seed} '{{x}}'", known, "run")
    assert template.fill({"seed": 3}) == "# don't\necho 'it''s' \"a\" 3 \\' 3 '{x}'"


@pytest.mark.parametrize(
    "text",
    [
        "train $(basename {seed}) ${{HOME#x}} $# {seed} # it's {seed}",
        "true;# don't\ntrain {seed}",
        'cat >a <<EOF\nit\'s\nEOF\ntrain {seed} $((1 << 2)) <<<x\ntrain {seed} "a << b"\ntrain {seed}',
        r"train $'it\'s' {seed}",
    ],
)
def test_placeholders_outside_of_quotes_are_taken(text: str) -> None:
    assert "{seed}" not in Template.read(text, {"seed": ""}, "run").fill({"seed": 3})


@pytest.mark.parametrize(
    ("stated", "named", "complaint"),
    [
        ("commnd", None, "trainer: unknown 'commnd'; did you mean command?"),
        (None, "labb", "trainer: unknown 'labb'; did you mean lab?"),
        ({"kind": "command", "run": "echo {seed", "loss": "y"}, None, "write {{ and }} for braces of the shell's own"),
        ("command", None, "trainer: run: Field required"),
        ({"run": "x", "loss": "y"}, None, "trainer: kind is missing"),
        (
            {"kind": "command", "run": "x", "loss": "y"},
            "lab",
            "has settings of 'command'; leave --trainer out, or them",
        ),
        ({"kind": "lab", "run": "x"}, None, "the lab has no settings here"),
        ({"kind": "command", "run": "x", "loss": {"pattern": "loss ("}}, None, "no regular expression"),
        ({"kind": "command", "run": "x", "loss": {"pattern": "loss"}}, None, "(?P<loss>"),
        ({"kind": "command", "run": "x {model}", "loss": "y"}, None, "{model} needs `model:`"),
        ({"kind": "command", "run": "x", "loss": "y", "resumes": True, "checkpoints": "step-("}, None, "no regular"),
        ({"kind": "command", "run": "x", "loss": "y", "resumes": True, "checkpoints": r"a-\d+"}, None, r"step-(\d+)"),
    ],
)
def test_a_trainer_that_cannot_be_is_one_line(stated: Any, named: str | None, complaint: str) -> None:
    with pytest.raises(UserError) as error:
        trainer_of(stated, named)
    assert complaint in str(error.value)


def test_cells_that_come_to_the_same_command_are_refused(tmp_path: Path) -> None:
    values = bigrams(tmp_path, trainer={"run": "train {output} {seed}"})
    with pytest.raises(UserError, match=r"two cells come to the same command; add \{learning_rate\}, or \{settings\}"):
        sweep(values, tmp_path / "out", write_only=True)
    values["trainer"]["run"] += " {settings}"
    assert len(sweep(values, tmp_path / "out", write_only=True).written) == 2


def test_cells_that_differ_in_their_tokens_are_told_apart_by_them(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    values = bigrams(tmp_path, trainer={"run": "train {output} {train_files}"})
    one = values["recipe"]["data"]
    other = {**one, "train": write_tokens(tmp_path / "more", 30_000)["train"]}
    values["axes"] = [{"grid": {"data": [one, other]}}]
    assert len(planner_in(None, load_sweep(values)).plan({}).known) == 2
    values["trainer"]["run"] = "train {output} {seed}"
    with pytest.raises(UserError, match="two cells come to the same command"):
        planner_in(None, load_sweep(values))


# Folders that people start


def test_folders_are_written_started_by_hand_and_brought_home(tmp_path: Path) -> None:
    """In a folder whose name no shell likes; the loss by another reckoning."""
    out = tmp_path / HOSTILE
    values = bigrams(tmp_path, axes=[{"grid": {"learning_rate": [0.1]}}])
    (script,) = sweep(values, out, write_only=True).written
    assert sweep_status(values, out).counts == {"pending": 1}
    assert launch(script) == 0
    assert sweep_status(values, out).counts == {"done": 1}
    (row,) = collect(out).table.to_dict("records")
    assert row["loss"] == pytest.approx(bigram_loss(tmp_path, 0.1, 20, 128), rel=1e-12)
    assert (row["trainer"], row["train_tokens"], row["learning_rate"]) == ("command", 20 * 128, 0.1)
    assert row["final_rule"] == "last evaluation: val_loss"
    assert not sweep(values, out, write_only=True).written
    assert not list(tmp_path.rglob("broken"))
    lines = (Path(script).parent / OUTPUT / "log.jsonl").read_text()
    assert launch(script) == 0
    assert (Path(script).parent / OUTPUT / "log.jsonl").read_text() == lines, "done is done"


def test_one_process_at_a_run(tmp_path: Path) -> None:
    values = bigrams(tmp_path, axes=[], trainer={"run": f"sleep 30 # {ARGUMENTS}"})
    (script,) = sweep(values, tmp_path / "out", write_only=True).written
    process = subprocess.Popen(["bash", str(script)], start_new_session=True)
    try:
        deadline = time.monotonic() + 10
        while not (Path(script).parent / PRINTED).exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert sweep_status(values, tmp_path / "out").counts == {"running": 1}
        assert launch(script) == 75
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
    assert not (Path(script).parent / EXIT_CODE).exists()
    assert sweep_status(values, tmp_path / "out").counts == {"interrupted": 1}


def test_without_flock_the_script_says_that_nothing_keeps_starts_apart(tmp_path: Path) -> None:
    """On a PATH that has what the script needs but for flock."""
    values = bigrams(tmp_path, axes=[], trainer={"run": f"true # {ARGUMENTS}"})
    (script,) = sweep(values, tmp_path / "out", write_only=True).written
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("cat", "mkdir", "mv", "rm"):
        (tools / name).symlink_to(str(shutil.which(name)))
    bash = str(shutil.which("bash"))
    said = subprocess.run([bash, script], env={"PATH": str(tools)}, check=True, capture_output=True, text=True).stderr
    assert said.startswith("warning: flock is not here, so nothing keeps a second start of run")
    assert subprocess.run([bash, script], check=True, capture_output=True, text=True).stderr == ""


def test_a_reading_that_is_no_number_is_told(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = 'printf "s 1 loss 2.5\\ns 2 loss n/a\\ns x loss 2.3\\ns 4 loss 2.25\\n"'
    place = {"pattern": r"s (?P<step>\S+) loss (?P<loss>\S+)"}
    values = bigrams(tmp_path, axes=[], trainer={"run": f"{command} # {ARGUMENTS}", "loss": place})
    (script,) = sweep(values, out, write_only=True).written
    assert launch(script) == 0
    found = collect(out)
    assert found.table["loss"].tolist() == [2.25]
    (told,) = [each.detail for each in found.findings if "left out" in each.detail]
    assert told == "lines like the pattern are left out: printed.log:2: 'n/a' is no number, and 1 lines more"
    values["trainer"]["loss"] = {"pattern": r"s (?P<loss>x)"}
    sweep(values, out, write_only=True)
    status = read_outcome(Path(script).parent).status
    assert status is not None
    assert "has a number where the pattern says: printed.log:3: 'x' is no number" in str(status.reason)


@pytest.mark.parametrize("damage", ["{", "", '{"format": "moewright-trainer-run/1"}', "[1]"])
def test_a_damaged_trainer_json_is_written_anew(tmp_path: Path, damage: str) -> None:
    out, values = tmp_path / "out", bigrams(tmp_path, axes=[])
    (script,) = sweep(values, out, write_only=True).written
    path = Path(script).parent / "trainer.json"
    whole = path.read_text()
    path.write_text(damage)
    assert sweep(values, out, write_only=True).written == (script,)
    assert path.read_text() == whole
    assert launch(script) == 0
    path.write_text(damage)
    assert sweep(values, out, write_only=True).counts == {"done": 1}


def test_a_newer_trainer_json_is_left_alone(tmp_path: Path) -> None:
    """With all that lies beside it: another version may mean something else by the same files."""
    out, values = tmp_path / "out", bigrams(tmp_path, axes=[])
    (script,) = sweep(values, out, write_only=True).written
    path = Path(script).parent / "trainer.json"
    newer = path.read_text().replace("moewright-trainer-run/1", "moewright-trainer-run/2")
    path.write_text(newer)
    script.write_text("another")
    with pytest.raises(UserError, match=r"trainer\.json: written by a newer moewright: .*-run/2, this one reads 1"):
        sweep(values, out, write_only=True)
    assert (path.read_text(), script.read_text()) == (newer, "another")


def test_sbatch_is_told_the_same_by_scripts_and_jobs(tmp_path: Path) -> None:
    """Names as in a job's file, minutes rounded up, memory in sbatch's unit, options that have no name here."""
    slurm = {
        "mem_gb": 1.5,
        "mail_user": "me",
        "comment": "a b",
        "setup": ["export BEGUN=1"],
        "additional_parameters": {"requeue": True},
    }
    run = f'test "${{{{BEGUN:-}}}}" = 1 # {ARGUMENTS}'
    values = bigrams(tmp_path, axes=[], trainer={"run": run})
    values["execution"] = {"cores_per_run": 3, "time_limit": "150s", "slurm": slurm}
    (script,) = sweep(values, tmp_path / "out", write_only=True).written
    text = Path(script).read_text()
    told = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", text, flags=re.MULTILINE))
    name = told.pop("job-name")
    assert name == f"moewright-{Path(script).parent.name}"
    shared = {"cpus-per-task": "3", "ntasks-per-node": "1", "time": "3", "mem": "1536M", "requeue": ""}
    assert told == {**shared, "mail-user": "me", "comment": "'a b'"}
    assert launch(script) == 1
    done = subprocess.run(["bash", str(script)], env={**os.environ, "SLURM_JOB_ID": "7"}, check=False)
    assert done.returncode == 0, "setup is done in jobs"
    values["execution"]["slurm"] = {"partitoin": "long"}
    with pytest.raises(UserError, match="partitoin is not known; did you mean partition"):
        sweep(values, tmp_path / "other", write_only=True)


def test_the_loss_is_where_the_line_says(tmp_path: Path) -> None:
    """A metric of another name names the nearest; the right rule finds the loss without training again."""
    out, values = tmp_path / "out", bigrams(tmp_path, axes=[], trainer={"loss": "val_los"})
    (script,) = sweep(values, out, write_only=True).written
    assert launch(script) == 0
    run = Path(script).parent
    seen = observe(out, run.name)
    assert seen.state == "failed"
    assert seen.status is not None
    assert "has no metric 'val_los'; did you mean 'val_loss'?" in str(seen.status.reason)
    values["trainer"]["loss"] = {"pattern": r"^final (?P<loss>\S+)"}
    assert sweep(values, out, write_only=True).counts == {"done": 1}
    by_pattern = read_outcome(run).status
    values["trainer"]["loss"] = {"pattern": r'"step": (?P<step>\d+), "val_loss": (?P<loss>[^}]+)', "file": "log.jsonl"}
    assert sweep(values, out, write_only=True).counts == {"done": 1}
    assert by_pattern is not None
    assert read_outcome(run).status == by_pattern.model_copy(update={"step": 20, "tokens": 20 * 128})
    assert len((run / OUTPUT / "log.jsonl").read_text().splitlines()) == 21


@pytest.mark.parametrize(
    ("command", "state", "reason"),
    [
        ('echo \'{{"step": 3, "train_loss": NaN}}\' >{output}/log.jsonl', "diverged", "loss not finite from step 3"),
        ('echo \'{{"step": 3, "val_loss": 2.5}}\' >{output}/log.jsonl; exit 3', "failed", "exit code 3"),
        ('echo \'{{"step": 3, "val_loss": -2.5}}\' >{output}/log.jsonl', "failed", "its loss -2.5 is none"),
        ('echo \'{{"step": 3, "val_loss": 0}}\' >{output}/log.jsonl', "failed", "its loss 0 is none"),
        ("echo no memory; exit 1", "failed", "exit code 1: no memory"),
        ("true", "failed", "is a log that is read"),
    ],
)
def test_how_it_ended_is_told(tmp_path: Path, command: str, state: str, reason: str) -> None:
    values = bigrams(tmp_path, axes=[], trainer={"run": command})
    (script,) = sweep(values, tmp_path / "out", write_only=True).written
    launch(script)
    seen = observe(tmp_path / "out", Path(script).parent.name)
    assert seen.state == state
    assert seen.status is not None
    assert reason in str(seen.status.reason)


def test_a_checkpoint_whose_name_has_no_step_counts_for_nothing(tmp_path: Path) -> None:
    values = bigrams(tmp_path, axes=[], trainer={"checkpoints": r"step-(\w+)(?:\.npy)?"})
    (script,) = sweep(values, tmp_path / "out", write_only=True).written
    output = Path(script).parent / OUTPUT
    for name in ("step-last.npy", "step-12.npy"):
        (output / name).mkdir(parents=True)
    assert reached_step(output.parent) == 12


# Workers


def attempt(out: Path, run: str) -> Any:
    """A worker's attempt in this process. Returns how it ended."""
    folder = out / "jobs" / run / str(time.monotonic_ns())
    folder.mkdir(parents=True)
    told: dict[str, Any] = {"threads": 1, "cores": [], "keep": "model", "job": "test", "job_folder": str(folder)}
    return work(str(out), run, {}, **told)


def test_a_worker_starts_what_people_would(tmp_path: Path) -> None:
    """A command that cannot go on begins in an empty folder; what was there is put aside."""
    command = "echo begun >>{output}/begun; test -e {settings}.go && echo loss 1.5 || exit 1"
    place = {"pattern": r"^loss (?P<loss>\S+)"}
    values = bigrams(tmp_path, trainer={"run": command, "loss": place, "resumes": False, "checkpoints": None}, axes=[])
    out = tmp_path / "out"
    (script,) = sweep(values, out, write_only=True).written
    run = Path(script).parent
    assert attempt(out, run.name) == "failed"
    (run / "settings.json.go").touch()
    assert attempt(out, run.name) == "finished"
    assert attempt(out, run.name) == "over"
    assert (run / OUTPUT / "begun").read_text() == "begun\n"
    assert (run / "earlier-1" / OUTPUT / "begun").exists()
    ends = [each.end for each in read_attempts(attempts_file(out, run.name)) if isinstance(each, AttemptEnd)]
    assert ends == ["failed", "finished"]


@pytest.mark.parametrize("gone", [OUTPUT, PRINTED])
def test_nothing_of_an_earlier_start_is_read_for_this_one(tmp_path: Path, gone: str) -> None:
    """Killed while it put things aside, or half of them deleted: what it printed then is no loss of this start."""
    command, place = "test -e {output}/old && echo loss 9; echo begun", {"pattern": r"^loss (?P<loss>\S+)"}
    values = bigrams(tmp_path, trainer={"run": command, "loss": place, "resumes": False, "checkpoints": None}, axes=[])
    (script,) = sweep(values, tmp_path / "out", write_only=True).written
    run = Path(script).parent
    if gone == PRINTED:
        (run / OUTPUT).mkdir()
        (run / OUTPUT / "old").touch()
    else:
        (run / PRINTED).write_text("loss 1.5\n")
    assert launch(script) == 0
    assert (run / PRINTED).read_text() == "begun\n"
    assert observe(tmp_path / "out", run.name).state == "failed"


def test_a_run_that_cannot_be_put_aside_is_not_begun(tmp_path: Path) -> None:
    command = "test -e {output}/begun && echo loss 9; touch {output}/begun"
    place = {"pattern": r"^loss (?P<loss>\S+)"}
    values = bigrams(tmp_path, trainer={"run": command, "loss": place, "resumes": False, "checkpoints": None}, axes=[])
    (script,) = sweep(values, tmp_path / "out", write_only=True).written
    run = Path(script).parent
    assert launch(script) == 0
    (run / EXIT_CODE).unlink()
    (run / "earlier-1").symlink_to("nowhere")
    assert launch(script) == 1
    assert read_outcome(run).status is not None
    assert not (run / EXIT_CODE).exists()


def test_a_trainer_that_ended_well_before_its_last_step_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that hears of a time limit before its launch script: by a worker, and by people."""
    told = CommandTrainer.cell
    monkeypatch.setattr(CommandTrainer, "cell", lambda self, run: replace(told(self, run), counts_steps=True))
    values, out = bigrams(tmp_path, axes=[]), tmp_path / "out"
    (script,) = sweep(values, out, write_only=True).written
    run = Path(script).parent

    def cut_short() -> None:
        (run / OUTPUT).mkdir(exist_ok=True)
        (run / PRINTED).touch()
        (run / OUTPUT / "log.jsonl").write_text('{"step": 3, "val_loss": 2.5}\n')
        for path in (run / OUTPUT).glob("*.npy"):
            path.unlink()
        (run / EXIT_CODE).write_text("0\n")

    cut_short()
    assert observe(out, run.name).state == "interrupted"
    assert attempt(out, run.name) == "finished"
    check_done_once(run, 20)
    cut_short()
    assert sweep(values, out, write_only=True).written == (script,)
    assert launch(script) == 0
    check_done_once(run, 20)


def kill_at_random(out: Path, run: str, moment: float) -> Any:
    """A worker in a process of its own that is killed, then attempts here until the run is over. Returns how it is."""
    told = "threads=1, cores=[], keep='model', job='test', job_folder=sys.argv[1]"
    code = f"import sys; from moewright.sweeps.running.worker import work; work(*sys.argv[1:], {{}}, {told})"
    process = subprocess.Popen([sys.executable, "-c", code, str(out), run], start_new_session=True)
    deadline = time.monotonic() + 60
    while not begins(read_attempts(attempts_file(out, run))) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while time.monotonic() < deadline:
        end = attempt(out, run)
        if end not in ("busy", "failed", "interrupted"):
            return end
    raise AssertionError(f"{run} is not over")


def check_done_once(folder: Path, steps: int) -> None:
    """Each step counts once, the loss is the undisturbed run's."""
    outcome = read_outcome(folder)
    assert outcome.status is not None
    assert (outcome.status.state, outcome.status.step) == ("finished", steps)
    lines = [json.loads(line) for line in (folder / OUTPUT / "log.jsonl").read_text().splitlines() if line]
    by_step: dict[int, set[float]] = {}
    for line in lines:
        if "train_loss" in line:
            by_step.setdefault(line["step"], set()).add(line["train_loss"])
    assert {step: len(losses) for step, losses in by_step.items()} == dict.fromkeys(range(1, steps + 1), 1)


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[pytest.mark.slow] if seed > 1 else []) for seed in range(20)]
)
def test_a_worker_that_is_killed_leaves_one_trainer_and_one_result(tmp_path: Path, seed: int) -> None:
    """kill -9 of the worker: its trainer lives on and holds the run until it ends, and nothing is done twice."""
    steps = 100
    values = bigrams(tmp_path, steps=steps, axes=[])
    out = tmp_path / "out"
    (script,) = sweep(values, out, write_only=True).written
    run = Path(script).parent
    assert kill_at_random(out, run.name, random.Random(seed).uniform(0, 0.6)) in ("finished", "over")
    check_done_once(run, steps)
    assert sweep_status(values, out).counts == {"done": 1}
    (row,) = collect(out).table.to_dict("records")
    assert row["loss"] == pytest.approx(bigram_loss(tmp_path, 0.01, steps, 128), rel=1e-9)


def test_the_submitter_tunes_their_rates_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuning = {"multipliers": [0.5, 1, 2], "extend": 0, "promote": "best"}
    values = bigrams(tmp_path, axes=[], tuning={**tuning, "per": ["num_experts"]})
    monkeypatch.setitem(sweeping.EXECUTORS, "local", lambda *_: FakeExecutor(attempt))
    result = sweep(values, tmp_path / "out")
    assert result.counts == {"done": 3}
    table = collect(tmp_path / "out").table
    best = table.sort_values("loss").iloc[0]
    assert best["learning_rate"] == pytest.approx(0.02)


# What a run is


def test_another_trainer_or_command_is_another_run(tmp_path: Path) -> None:
    values = bigrams(tmp_path, axes=[])

    def id_of(**changes: Any) -> str:
        (run,) = planner_in(None, load_sweep({**values, "trainer": {**values["trainer"], **changes}})).plan({}).known
        return run.id

    lab = {name: value for name, value in values.items() if name != "trainer"}
    (of_lab,) = planner_in(None, load_sweep(lab)).plan({}).known
    (named,) = planner_in(None, load_sweep(lab, "lab")).plan({}).known
    assert of_lab.id == named.id
    assert id_of() not in (of_lab.id, id_of(run=values["trainer"]["run"] + " --more"))
    assert id_of() == id_of(loss="other") == id_of(checkpoints=r"other-(\d+)")


def test_what_the_lab_alone_has_is_said(tmp_path: Path) -> None:
    values = bigrams(tmp_path, execution={"keep": "all"})
    (note,) = planner_in(None, load_sweep(values)).trainer_notes
    assert note.startswith("execution.keep is of the lab's checkpoints")


def test_runs_of_the_lab_are_written_started_by_hand_and_brought_home(tmp_path: Path) -> None:
    """In a folder whose name no shell likes; the sweep then has nothing left to train, and the recipe is the cell's."""
    out = tmp_path / HOSTILE
    values = {
        "recipe": recipe(write_tokens(tmp_path), steps=3),
        "axes": [{"grid": {"learning_rate": [0.01, 0.02]}}],
        "execution": {"cores_per_run": 1},
    }
    first, second = sweep(values, out, write_only=True).written
    assert sweep_status(values, out).counts == {"pending": 2}
    assert collect(out).table["state"].tolist() == ["pending", "pending"]
    with holding(attempts_lock(out, first.parent.name)) as is_mine:
        assert is_mine
        assert launch(first) == 75
    assert launch(first) == 0
    assert sweep_status(values, out).counts == {"done": 1, "pending": 1}
    assert sweep(values, out, write_only=True).written == (second,)
    assert launch(second) == 0
    table = collect(out).table
    assert table["state"].tolist() == ["done", "done"]
    assert sorted(table["learning_rate"]) == [0.01, 0.02]
    alone = train(Recipe.load(first.with_name("recipe.json")), tmp_path / "alone")
    assert alone.loss in table["loss"].tolist()
    assert sweep(values, out).counts == {"done": 2}
    assert not list((out / "jobs").rglob("*.pkl")), "nothing was trained again"
    assert not list(tmp_path.rglob("broken"))


def test_the_record_says_what_is_looked_for(tmp_path: Path) -> None:
    values = bigrams(tmp_path, axes=[])
    (script,) = sweep(values, tmp_path / "out", write_only=True).written
    run = Path(script).parent
    record = TrainerRecord.read(run / "trainer.json")
    assert (record.id, record.steps, record.batch_tokens, record.resumes) == (run.name, 20, 128, True)
    told = json.loads((run / "settings.json").read_text())
    assert told["recipe"]["train_tokens"] == told["train_tokens"] == 20 * 128
    assert run_path(tmp_path / "out", run.name) == run
    assert attempts_lock(tmp_path / "out", run.name).parent.is_dir()
    assert os.access(run / LAUNCH, os.X_OK)
