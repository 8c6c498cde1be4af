"""How far long work is: silent unless asked, bars on a terminal that leave nothing behind, lines elsewhere."""

import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import moewright
from moewright.progress import hiding_progress, progress_task, showing_progress, shows_progress, track
from tests.test_cli import run

WORK = """
import sys, time
from moewright.progress import showing_progress, track
with showing_progress():
    for item in track("counting", range(20), 20, "stones"):
        time.sleep(0.1)
        if item == 15:
            print("warning: a stone", file=sys.stderr)
print("the answer")
"""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that `time.monotonic` says; a test moves them."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_silent_unless_asked(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    assert not shows_progress()
    for _ in track("reading", range(3)):
        clock[0] += 1000
    with showing_progress():
        assert shows_progress()
        with hiding_progress():
            assert not shows_progress()
            for _ in track("reading", range(3)):
                clock[0] += 1000
    assert not shows_progress()
    assert capsys.readouterr() == ("", "")


def test_lines_come_now_and_then(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with showing_progress(), progress_task("fitting", 1000, "draws") as task:
        for _ in range(100):
            clock[0] += 2
            task.advance(10, "note")
    lines = [line.partition(" ")[2] for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "fitting: 30 of 1,000 draws, note, 3 min left",
        "fitting: 150 of 1,000 draws, note, 3 min left",
        "fitting: 450 of 1,000 draws, note, 2 min left",
        "fitting: 750 of 1,000 draws, note, 50 s left",
    ]


def test_work_with_an_opening_line_has_an_early_log(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with showing_progress(), progress_task("training", 100, done=50, opening="begins") as task:
        for _ in range(50):
            clock[0] += 4
            task.advance()
    lines = capsys.readouterr().err.splitlines()
    seconds = [int(re.findall(r"(\d+) of 100", line)[0]) * 4 - 200 for line in lines[1:]]
    assert re.fullmatch(r"\d\d:\d\d:\d\d training: begins", lines[0])
    assert seconds == [4, 12, 20, 32, 92, 152]
    assert lines[2].endswith("53 of 100, 3 min left")  # what was done before says nothing of the speed


def test_of_unlike_pieces_no_time_is_told(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    """Two quick ones of three say nothing of the third."""
    with showing_progress():
        for _ in track("making the page", range(3), 3, "parts", is_even=False):
            clock[0] += 6
    lines = [line.partition(" ")[2] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["making the page: 1 of 3 parts"]


def test_text_of_others_is_visible(capsys: pytest.CaptureFixture[str]) -> None:
    with showing_progress(), progress_task("training", opening="in \x1b[31mred\n"):
        pass
    assert "\x1b" not in capsys.readouterr().err


def test_bars_on_a_terminal() -> None:
    """Drawn on standard error with the time that is left, wiped in the end; results and warnings are what they were."""
    ours, theirs = pty.openpty()
    command, environment = [sys.executable, "-c", WORK], {**os.environ, "TERM": "xterm"}
    drawn = b""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment) as process:
        os.close(theirs)
        while True:
            try:
                drawn += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
        os.close(ours)
        assert process.stdout is not None
        assert process.stdout.read() == b"the answer\n"
    assert process.returncode == 0
    text = drawn.decode()
    assert re.search(r"counting .*1\d of 20 stones, (0|1) s left", text)
    assert "warning: a stone" in text
    assert text.index("warning: a stone") < text.rindex("\x1b[2K")  # erased: the last line that was drawn


def test_a_dumb_terminal_and_a_file_get_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    from moewright import progress

    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not progress._is_watched()
    monkeypatch.delenv("FORCE_COLOR")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    assert not progress._is_watched()
    monkeypatch.setenv("TERM", "xterm")
    assert progress._is_watched()


def test_training_says_how_it_goes(capsys: pytest.CaptureFixture[str], tmp_path: Path, request: Any) -> None:
    pytest.importorskip("torch")
    from tests.lab.tiny import recipe

    spec = tmp_path / "recipe.yaml"
    spec.write_text(json.dumps(recipe(request.getfixturevalue("data"), 3)), encoding="utf-8")
    code, out, err = run(capsys, "train", str(spec), "--out", str(tmp_path / "spoken"))
    first, step, *_ = [line for line in err.splitlines() if not line.startswith("warning")]
    assert code == 0
    assert re.search(r"training: begins in .*spoken: \d.* parameters, .* active; 3 steps of \d+ tokens on cpu$", first)
    assert re.search(r"training: .* of .* tokens, step 1, loss \d+\.\d+, .* tokens/s", step)
    code, out, err = run(capsys, "train", str(spec), "--out", str(tmp_path / "quiet"), "--quiet", "--json")
    assert (code, json.loads(out)["state"]) == (0, "finished")
    assert "training:" not in err
    moewright.train(spec, tmp_path / "library")
    assert "training:" not in capsys.readouterr().err
