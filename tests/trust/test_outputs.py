"""Where results go, for every command and every bad place: one line before the work, and nothing is changed."""

import inspect
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import moewright
from moewright import UserError
from moewright.commands import COMMANDS
from moewright.commands.checking import OUTPUTS, is_list, names_of, places_of, written
from moewright.errors import RunStopped
from moewright.outputs import Destination, check_space, deliver
from tests.test_cli import run

FIT = ["fit", "{runs}", "--law", "hoffmann2022", "--bootstrap", "0"]
DESIGN = ["design", "--total-params", "3B", "--train-tokens", "2T"]
EXPORT = ["export", "{design}", "--format", "megatron"]
PREPARE = ["data", "prepare", "{text}", "--vocab-size", "300"]
RUNS = ["runs", "{loss}"]
NEXT = ["next", "{runs}", "--law", "hoffmann2022", "--spend", "1e23"]
REGISTER = [*FIT[:-1], "40", "--at", "total_params=3B", "--at", "train_tokens=20B"]
REPORT = ["report", "{design}"]
CALIBRATE = ["calibrate", "{steps}"]
FILES = {
    "calibrate --out": CALIBRATE,
    "fit --out": FIT,
    "fit --plots": FIT,
    "fit --preregister": REGISTER,
    "runs --out": RUNS,
    "runs --curves": RUNS,
    "next --out": NEXT,
    "report --out": REPORT,
}
"""What writes files; a new command is a line here or in the next."""
FOLDERS = {"design --out": DESIGN, "export --out": EXPORT, "data prepare --out": PREPARE}
OWN_FOLDERS = {"train --out", "sweep --out"}
"""Those go on in what is there, and look for themselves whether it is theirs."""
ENDINGS = {
    "calibrate --out": ".yaml",
    "fit --out": ".json",
    "fit --plots": "",
    "fit --preregister": ".json",
    "runs --out": ".csv",
    "runs --curves": ".csv.gz",
    "next --out": ".csv",
    "report --out": ".html",
}
READ = {
    "runs",
    "candidates",
    "name",
    "law",
    "config",
    "space",
    "like",
    "baseline",
    "hardware",
    "train_hardware",
    "experts_on",
    "measurements",
    "own",
    "coefficients",
    "design",
    "path",
    "spec",
    "tokenizer",
    "sources",
    "map_",
    "score",
}
"""Arguments that are read and may be paths; the others that may be are `OUTPUTS`."""


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with one input of each kind."""
    sizes = [{"total_params": 1e9 * (1 + i), "train_tokens": 1e10 * (1 + j)} for i in range(6) for j in range(4)]
    table = pd.DataFrame(sizes)
    table["loss"] = 1.7 + 400 / table.total_params**0.34 + 410 / table.train_tokens**0.28
    table.to_csv(tmp_path / "runs.csv", index=False)
    shutil.copy("examples/configs/qwen3-30b-a3b.json", tmp_path / "design.json")
    shutil.copy("examples/measured_steps.csv", tmp_path / "steps.csv")
    (tmp_path / "text.txt").write_text("".join(f"document {i} of some words<|endoftext|>" for i in range(200)))
    with tarfile.open("tests/experiment/old_folders/34ba6fa.tar.xz") as archive:
        members = [each for each in archive.getmembers() if each.name.startswith("./finished")]
        archive.extractall(tmp_path / "loss", members, filter="data")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for path in tmp_path.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)


def arguments_of(line: list[str], room: Path) -> list[str]:
    names = {"steps": "steps.csv", "runs": "runs.csv", "design": "design.json", "text": "text.txt", "loss": "loss"}
    return [each.format(**{name: room / file for name, file in names.items()}) for each in line]


def contents(folder: Path) -> dict[str, bytes | str]:
    """Every file, and every link, in a folder."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_every_place_of_every_command_is_in_the_tables() -> None:
    places = {f"{path} --{written(name)}" for path, each in COMMANDS.items() for name in places_of(function(each))}
    assert places == {*FILES} | {*FOLDERS} | OWN_FOLDERS


@pytest.mark.parametrize("path", COMMANDS)
def test_no_argument_that_is_a_path_is_forgotten(path: str) -> None:
    """A path is read or written; what is written is said with `writes`, and every name of such is known."""
    called = function(COMMANDS[path])
    for name, parameter in inspect.signature(called).parameters.items():
        if "Path" in names_of(parameter) and not is_list(parameter):
            assert (name in READ) != (name in OUTPUTS), f"{path}: say whether {name} is read or written"
            assert (name in places_of(called)) == (name in OUTPUTS), name


def function(name: str) -> Callable[..., Any]:
    return getattr(moewright, name)  # type: ignore[no-any-return]


def refused(capsys: pytest.CaptureFixture[str], room: Path, line: list[str], *more: str) -> str:
    """The one line about a place that is refused, which leaves everything as it is."""
    before = contents(room)
    code, out, err = run(capsys, *arguments_of(line, room), *more)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert contents(room) == before
    assert not [path for path in room.rglob(".*") if path.name.count(".") > 1], "rubbish"
    return err


def bad_places(room: Path, ending: str) -> dict[str, str]:
    """Places for a file where none can be, by the words of the complaint."""
    (room / f"pipe{ending}").unlink(missing_ok=True)
    os.mkfifo(room / f"pipe{ending}")
    (room / f"folder{ending}").mkdir()
    (room / f"loop{ending}").symlink_to(f"loop{ending}")
    (room / f"mine{ending}").write_text("mine")
    (room / f"link{ending}").symlink_to(f"mine{ending}")
    return {
        f"pipe{ending}": "is no plain file",
        f"folder{ending}": "is a folder",
        f"loop{ending}": "symbolic links",
        f"mine{ending}": "exists and nothing in it says",
        f"link{ending}": "exists and nothing in it says",
        f"text.txt/x{ending}": "Not a directory",
        f"/proc/nowhere/x{ending}": "cannot be written",
        f"{'x' * 256}{ending}": "expected",
        "": "expected",
    }


@pytest.mark.parametrize("name", FILES)
def test_bad_places_for_files(name: str, room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    option = f"--{name.rpartition('--')[2]}"
    ending = ENDINGS[name]
    if option == "--plots":
        places = {"text.txt": "Not a directory", "text.txt/x": "Not a directory", "/proc/nowhere": "cannot be written"}
        (room / "plots").mkdir()
        (room / "plots" / "residuals.png").write_text("mine")
        places["plots"] = "exists and nothing in it says"
    else:
        places = bad_places(room, ending)
    for place, words in places.items():
        assert words in refused(capsys, room, FILES[name], option, place), place


@pytest.mark.parametrize("name", FOLDERS)
def test_bad_places_for_folders(name: str, room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (room / "full").mkdir()
    (room / "full" / "letter").write_text("mine")
    (room / "link").symlink_to("full")
    for place, words in {
        "full": "exists and is not an empty folder",
        "link": "exists and is not an empty folder",
        "text.txt": "exists and is not an empty folder",
        "text.txt/x": "cannot be made",
        "/proc/nowhere/x": "cannot be made",
        "/dev/null": "exists and is not an empty folder",
        ".": "exists and is not an empty folder",
        "x" * 256: "expected",
    }.items():
        assert words in refused(capsys, room, FOLDERS[name], "--out", place), place


def test_outputs_are_never_inputs(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By any name: as it is, through a link, a hard link, or inside a folder that is read; not with --force either."""
    (room / "link.csv").symlink_to("runs.csv")
    os.link("runs.csv", "hard.csv")
    metrics = next((room / "loss").rglob("metrics.jsonl"))
    for force in ([], ["--force"]):
        for place in ("runs.csv", "./runs.csv", "link.csv", "hard.csv"):
            assert "is what runs reads" in refused(capsys, room, FIT, "--out", place, *force)
        for option in ("--out", "--curves")[:1]:
            for place in (str(metrics), str(metrics.relative_to(room))):
                assert "exists in the folder that path reads" in refused(capsys, room, RUNS, option, place, *force)


def test_no_two_outputs_at_one_place(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (room / "link.parquet").symlink_to("a.parquet")
    for place in ("a.parquet", "./a.parquet", "link.parquet"):
        err = refused(capsys, room, RUNS, "--out", "a.parquet", "--curves", place)
        assert err.startswith("moewright: curves: ")
        assert "is in the place of out" in err
    assert "in the place of out" in refused(capsys, room, FIT, "--out", "x", "--plots", "x")


def test_earlier_results_are_replaced_and_links_stay(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Laws, figures and Parquet say what they are; text tables do not, and need --force."""
    (room / "link.json").symlink_to("law.json")
    for turn in range(2):
        line = [*FIT, "--seed", str(turn), "--out", "link.json", "--plots", "plots"]
        assert run(capsys, *arguments_of(line, room))[0] == 0
        assert f'"seed": {turn}' in (room / "law.json").read_text()
    assert (room / "link.json").is_symlink()
    for _ in range(2):
        line = [*RUNS, "--out", "loss/runs.parquet", "--curves", "curves.parquet"]
        assert run(capsys, *arguments_of(line, room))[0] == 0
    assert "exists and nothing" in refused(capsys, room, RUNS, "--out", "curves.parquet")
    pd.read_parquet("curves.parquet").to_parquet("curves.parquet")  # somebody changed it, perhaps
    assert "exists and nothing" in refused(capsys, room, RUNS, "--curves", "curves.parquet")
    for force in ([], ["--force"]):
        assert run(capsys, *arguments_of([*RUNS, "--out", "table.csv", *force], room))[0] == 0
    assert "exists and nothing" in refused(capsys, room, RUNS, "--out", "table.csv")


def test_python_says_the_same(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError) as found:
        moewright.fit("runs.csv", "hoffmann2022", out="runs.csv")
    line = refused(capsys, room, ["fit", "runs.csv", "--law", "hoffmann2022"], "--out", "runs.csv")
    assert line == f"moewright: {found.value}\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("name", [*FILES, *FOLDERS])
def test_places_without_rights(name: str, room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (room / "locked").mkdir(0o555)
    line = (FILES | FOLDERS)[name]
    place = f"locked/x{ENDINGS.get(name, '')}"
    assert "Permission denied" in refused(capsys, room, line, f"--{name.rpartition('--')[2]}", place)


LOST: dict[str, Callable[[Path], object]] = {
    "folder": lambda place: place.mkdir(),
    "file": lambda place: place.write_text("somebody else's"),
}


@pytest.fixture
def elsewhere(room: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder, where results go that lose their place."""
    folder = room / "elsewhere"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.mark.parametrize("taken_by", LOST)
def test_results_outlive_their_place(
    taken_by: str, room: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody takes the place during the work: theirs stays, and the result is elsewhere, which is said."""
    from moewright.laws.fitting import fit_result

    real = fit_result.fit_runs

    def fit_runs(*given: Any) -> Any:
        LOST[taken_by](room / "law.json")
        return real(*given)

    monkeypatch.setattr(fit_result, "fit_runs", fit_runs)
    code, _, err = run(capsys, *arguments_of([*FIT, "--out", "law.json", "--plots", "plots"], room))
    assert (code, err.count("\n")) == (1, 1), err
    kept = Path(err.rpartition("it is in ")[2].strip())
    assert kept.is_relative_to(elsewhere)
    assert moewright.laws.load(kept).name
    assert (room / "law.json").is_dir() if taken_by == "folder" else "else's" in (room / "law.json").read_text()
    assert (room / "plots" / "fit.html").is_file(), "the other result has its place"


@pytest.mark.parametrize("name", ["design --out", "export --out"])
def test_folders_outlive_their_place(
    name: str, room: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = os.replace

    def replace(source: Any, target: Any) -> None:
        if Path(target) == room / "new":  # another was quicker
            (room / "new").mkdir()
            (room / "new" / "theirs").write_text("theirs")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    code, _, err = run(capsys, *arguments_of([*FOLDERS[name], "--out", "new"], room))
    assert (code, err.count("\n")) == (1, 1), err
    assert [path.name for path in (room / "new").iterdir()] == ["theirs"]
    assert any(Path(err.rpartition("it is in ")[2].strip()).iterdir())
    assert not [path.name for path in room.glob(".*")]


def test_what_cannot_be_kept_anywhere_is_said(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(room / "nowhere"))
    place = places_of(moewright.fit)["out"]

    def write(path: Path) -> None:
        raise OSError(28, os.strerror(28))

    with pytest.raises(RunStopped, match=r"out: law\.json cannot be written: No space left on device; nor could"):
        deliver((Destination("out", "law.json", place), write))


def test_room_on_the_disk(room: Path) -> None:
    check_space(room / "new" / "one", 1, "out")
    with pytest.raises(UserError, match="name another disk"):
        check_space(room / "new" / "one", 10**18, "out")
