"""Files that are not what was written: every file of a run and of its dataset, changed in every way of a list.

Whatever is changed, going on with the run, its row and curves, and the export of its weights either give what they give
of the untouched folder, bit for bit, or are refused in one line that names the file. And what can do harm is refused.
"""

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from moewright.data.preparation import prepare  # noqa: E402
from moewright.errors import UserError  # noqa: E402
from moewright.experiment.collecting.collection import collect  # noqa: E402
from moewright.experiment.collecting.learning_curves import read_curves  # noqa: E402
from moewright.experiment.early_digests import of_newest_checkpoint  # noqa: E402
from moewright.experiment.recipe import Recipe  # noqa: E402
from moewright.experiment.run_folder import checkpoints  # noqa: E402
from moewright.experiment.sweep_folder import CellRecord, read_cells  # noqa: E402
from moewright.exporters.exported import export_to  # noqa: E402
from moewright.lab.hf_weights import export_run  # noqa: E402
from moewright.lab.session import Session  # noqa: E402
from moewright.lab.training import train  # noqa: E402
from tests.lab import tiny  # noqa: E402
from tests.lab_fixtures import quickly  # noqa: E402
from tests.sealing import reseal  # noqa: E402

STEPS, VOCAB = 6, 300
FLIPS = 3
"""Of each file, at places drawn at random."""
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"


@dataclass(frozen=True)
class Case:
    """A run that is half done or done, the same of another seed, and what the run was trained on; copies."""

    run: Path
    other: Path
    data: Path

    def file(self, name: str, of_other: bool = False) -> Path:
        """A file of the run's folder, of its last checkpoint, or of the dataset."""
        run = self.other if of_other else self.run
        places = [run / name, checkpoints(run)[-1] / name, self.data / name]
        return next(place for place in places if place.is_file())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """half-0, half-1, done-0, done-1: runs of two seeds; and data."""
    place = tmp_path_factory.mktemp("bindings")
    draw = random.Random(0)
    stories = [" ".join(f"word{draw.randrange(99)}" for _ in range(50)) for _ in range(60)]
    (place / "text.txt").write_text("<|endoftext|>".join(stories))
    prepare([place / "text.txt"], place / "data", vocab_size=VOCAB, validation_share=0.1)
    with quickly():
        for seed in (0, 1):
            train(recipe(place / "data", seed), place / f"done-{seed}", show=False)
            with pytest.MonkeyPatch.context() as inner:
                tiny.interrupt_after(inner, 4)
                train(recipe(place / "data", seed), place / f"half-{seed}", show=False)
    return place


def recipe(data: Path, seed: int = 0) -> Recipe:
    values = tiny.recipe({}, STEPS, seed=seed, evaluation={"every_tokens": 2 * 128}, checkpoints={"keep": 1})
    model = tiny.architecture(vocab_size=VOCAB)
    for layer in model["layers"][0]["layers"]:  # as transformers' families have it
        layer["mixer"]["qk_norm"] = "per_head"
        layer["feed_forward"].pop("shared")
    return Recipe.from_dict({**values, "architecture": model, "data": str(data)})


@pytest.fixture
def case(made: Path, tmp_path: Path) -> Callable[[str], Case]:
    """Makes a case of "half" or "done"."""

    def make(kind: str) -> Case:
        for path in tmp_path.iterdir():
            shutil.rmtree(path)
        copies = {name: shutil.copytree(made / name, tmp_path / name) for name in (f"{kind}-0", f"{kind}-1", "data")}
        return Case(*(Path(copy) for copy in copies.values()))

    return make


VERBS = ("runs", "export", "megatron", "resume")


def carried_out(verb: str, case: Case) -> str:
    """What a verb gives, as text that differs where anything does; "refused: ..." with its line."""
    try:
        if verb == "runs":
            found = collect(case.run)
            return found.table.to_json() + read_curves([("a", case.run)]).to_json() + str(found.findings)
        if verb == "export":
            out = export_run(case.run, case.run.parent / "exported")
            return "".join(f"{path.name} {path.read_bytes()!r}" for path in sorted(out.iterdir()))
        if verb == "megatron":
            return str(dict(export_to("megatron", case.run, 0.01).files))
        result = train(recipe(case.data), case.run, show=False)
        # A run that is done is not trained on: what has become of its weights is for export to say.
        weights = b"" if case.run.name.startswith("done") else (checkpoints(case.run)[-1] / MODEL).read_bytes()
        return f"{result.state} {result.step} {result.loss} {weights!r}"
    except UserError as error:
        return f"refused: {error}"


@pytest.fixture(scope="module")
def sound(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], str]:
    """What each verb gives of what was not touched."""
    found = {}
    with quickly():
        for kind in ("half", "done"):
            place = tmp_path_factory.mktemp("sound")
            copies = (shutil.copytree(made / name, place / name) for name in (f"{kind}-0", f"{kind}-1", "data"))
            case = Case(*(Path(copy) for copy in copies))
            for verb in VERBS:
                found[kind, verb] = carried_out(verb, case)
                assert not found[kind, verb].startswith("refused"), found[kind, verb]
    return found


def flipped(path: Path, draw: random.Random) -> None:
    contents = bytearray(path.read_bytes())
    contents[draw.randrange(len(contents))] ^= 1 << draw.randrange(8)
    path.write_bytes(contents)


def cut(path: Path, draw: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])


def assert_refused_or_the_same(case: Case, kind: str, what: str, names: set[str], sound: dict[Any, str]) -> int:
    """How many verbs refused, each in one line that names one of the files."""
    refused = 0
    for verb in VERBS:
        found = carried_out(verb, case)
        if found.startswith("refused"):
            assert "\n" not in found, (what, verb, found)
            assert any(name in found for name in names), (what, verb, found)
            refused += 1
        else:
            assert found == sound[kind, verb], (what, verb)
    return refused


RUN_FILES = ("run.json", "status.json", "metrics.jsonl", "architecture.yaml", MODEL, OPTIMIZER, STATE)
DATA_FILES = ("dataset.json", "tokenizer.json", "train-00000.bin", "validation-000-text-00000.bin")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", [*RUN_FILES, *DATA_FILES])
def test_a_file_that_is_flipped_cut_or_another_runs(
    name: str, case: Callable[[str], Case], sound: dict[tuple[str, str], str]
) -> None:
    """A bit at 3 places, 1 cut, and where there is one the file of another seed; of a run half done and of one done."""
    draw = random.Random(name)
    tried: Counter[str] = Counter()
    for kind in ("half", "done"):
        ways: dict[str, Callable[[Path], None]] = {f"flip {n}": lambda path: flipped(path, draw) for n in range(FLIPS)}
        ways["cut"] = lambda path: cut(path, draw)
        for what, change in ways.items():
            changed = case(kind)
            change(changed.file(name))
            refused = assert_refused_or_the_same(changed, kind, f"{kind} {what}", {name}, sound)
            tried["refused"] += refused > 0
        if name in RUN_FILES and name != "architecture.yaml":  # which is that of all seeds
            changed = case(kind)
            shutil.copyfile(changed.file(name, of_other=True), changed.file(name))
            names = set(RUN_FILES) if name == "run.json" else {name}  # then the others are another run's
            names |= {str(changed.run)}  # the recipe is another then
            refused = assert_refused_or_the_same(changed, kind, f"{kind} swapped", names, sound)
            assert refused or (name == OPTIMIZER and kind == "done"), (kind, name)
    binary = name.endswith((".bin", ".safetensors", ".jsonl"))
    assert tried["refused"] >= (FLIPS + 1) * (1 if name == OPTIMIZER or name in DATA_FILES else 2) - (
        0 if binary else 4
    )


def set_value(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def whole_checkpoint(case: Case) -> None:
    shutil.rmtree(checkpoints(case.run)[-1])
    newest = checkpoints(case.other)[-1]
    shutil.copytree(newest, case.run / "checkpoints" / newest.name)


def later_checkpoint(case: Case) -> None:
    newest = checkpoints(case.run)[-1]
    newest.rename(newest.with_name("step-00000005"))


def reversed_tokens(case: Case) -> None:
    for path in case.data.glob("*.bin"):
        np.fromfile(path, "<u2")[::-1].tofile(path)


def longer_metrics(case: Case) -> None:
    path = case.file("metrics.jsonl")
    path.write_text(path.read_text() + path.read_text().splitlines()[-2] + "\n")


def without_digest(case: Case) -> None:
    """As if an older version had written it: a run's files are bound together or not at all."""
    old = {"state": "finished", "step": STEPS, "tokens": STEPS * 128, "loss": 1.0}
    (case.run / "status.json").write_text(json.dumps(old))


def old_checkpoint(case: Case) -> None:
    step = json.loads(case.file(STATE).read_text())["step"]
    old = {"step": step, "tokens": 128 * step, "next_sequence": 8 * step, "steps_worse_than_guessing": 0}
    case.file(STATE).write_text(json.dumps(old))


HARMFUL: dict[str, tuple[str, Callable[[Case], None], str]] = {
    "step raised": ("half", lambda case: set_value(case.file(STATE), step=5), STATE),
    "a checkpoint under another step": ("half", later_checkpoint, STATE),
    "a whole checkpoint of another seed": ("half", whole_checkpoint, STATE),
    "a checkpoint without digests": ("half", old_checkpoint, STATE),
    "a status set by hand": ("half", lambda case: set_value(case.file("status.json"), state="finished"), "status.json"),
    "a status without a digest": ("half", without_digest, "status.json"),
    "a loss set by hand": ("done", lambda case: set_value(case.file("status.json"), loss=1.0), "status.json"),
    "a step of a status": ("done", lambda case: set_value(case.file("status.json"), step=5), "status.json"),
    "a line more": ("done", longer_metrics, "metrics.jsonl"),
    "no metrics": ("done", lambda case: case.file("metrics.jsonl").unlink(), "metrics.jsonl"),
    "reversed tokens": ("half", reversed_tokens, ".bin"),
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", HARMFUL)
def test_what_would_do_harm_is_refused(
    name: str, case: Callable[[str], Case], sound: dict[tuple[str, str], str]
) -> None:
    kind, change, file = HARMFUL[name]
    changed = case(kind)
    change(changed)
    assert assert_refused_or_the_same(changed, kind, name, {file}, sound), name


@pytest.mark.usefixtures("quick")
def test_a_status_with_a_digest_of_its_own_still_has_to_fit_the_metrics(case: Callable[[str], Case]) -> None:
    """A hand-set end that somebody sealed: steps and last loss are those of run.json and metrics.jsonl, or refused."""
    by_hand: dict[str, dict[str, Any]] = {"half": {"state": "finished"}, "done": {"loss": 1.0}}
    for kind, changes in by_hand.items():
        changed = case(kind)
        set_value(changed.file("status.json"), **changes)
        reseal(changed.run)
        for verb in ("runs", "resume"):
            found = carried_out(verb, changed)
            assert found.startswith("refused"), (kind, verb)
            assert "status.json: says finished" in found


def test_cells_of_a_sweep_that_were_swapped_or_changed_are_nobodys(made: Path, tmp_path: Path) -> None:
    """Else a run's loss would count for the settings of another."""
    (tmp_path / "cells").mkdir()
    paths = [tmp_path / "cells" / f"{name}.json" for name in ("a", "b", "c")]
    for seed, path in enumerate(paths):
        CellRecord(
            id=path.stem,
            settings={"seed": seed},
            stage="main",
            group=None,
            recipe=recipe(made / "data", seed).to_dict(),
            data_fingerprint="tokens",
            training_version=1,
            code=None,
        ).write(path)
    assert set(read_cells(tmp_path)) == {"a", "b", "c"}
    texts = [path.read_text() for path in paths]
    for path, text in zip(paths, (texts[1], texts[0], texts[2].replace('"seed": 2', '"seed": 3')), strict=True):
        path.write_text(text)
    assert read_cells(tmp_path) == {}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", [MODEL, OPTIMIZER])
@pytest.mark.parametrize("when", ["after it was hashed", "while it is read", "while it is read, and back"])
def test_what_was_verified_is_what_is_used(
    name: str,
    when: str,
    case: Callable[[str], Case],
    sound: dict[tuple[str, str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Digests are begun before anything else of a start: a file that changes between that and its use is refused."""
    changed = case("half")
    path = changed.file(name)
    before, restore = changed.file("metrics.jsonl").read_bytes(), Session.restore

    def restored(*given: Any) -> None:
        restore(*given)
        flipped(path, random.Random(3))
        if when.endswith("back"):
            flipped(path, random.Random(3))

    with of_newest_checkpoint(changed.run) as digests, monkeypatch.context() as patch:
        assert digests.stamp(path).bytes == path.stat().st_size
        if when.startswith("while"):
            patch.setattr(Session, "restore", restored)
        else:
            flipped(path, random.Random(3))
        words = "was written to while it was read" if when.startswith("while") else "not the file that was written"
        with pytest.raises(UserError, match=f"{name}: {words}"):
            train(recipe(changed.data), changed.run, show=False, digests=digests)
    assert changed.file("metrics.jsonl").read_bytes() == before
    if not when.endswith("back"):
        flipped(path, random.Random(3))
    assert carried_out("resume", changed) == sound["half", "resume"]


@pytest.mark.usefixtures("quick")
def test_the_remedies_that_are_named_help(case: Callable[[str], Case], sound: dict[tuple[str, str], str]) -> None:
    """Deleting what is named, a run goes on and ends as if nothing had been."""
    changed = case("done")
    flipped(changed.file("metrics.jsonl"), random.Random(1))
    assert carried_out("resume", changed).startswith("refused")
    for name in ("metrics.jsonl", "status.json"):
        changed.file(name).unlink()
    assert carried_out("resume", changed) == sound["done", "resume"]
    changed = case("half")
    flipped(changed.file(MODEL), random.Random(1))
    assert f"{MODEL}: " in carried_out("resume", changed)
    shutil.rmtree(changed.file(MODEL).parent)
    assert carried_out("resume", changed) == sound["half", "resume"]
