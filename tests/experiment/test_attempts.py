"""Attempts as noted: which failures count, against a rule that reads the history forwards; a full disk."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from moewright.experiment.attempts import (
    Attempt,
    AttemptBegin,
    AttemptEnd,
    failures_in_a_row,
    next_attempt,
    note_begin,
    note_end,
    read_attempts,
)
from moewright.experiment.sweep_folder import ATTEMPTS, attempts_file
from moewright.outputs import NO_SPACE

RUN = "0123456789ab"
ENDS = st.sampled_from(["failed", "failed", "interrupted", "timed-out", "finished", None])
HISTORIES = st.lists(st.tuples(st.integers(0, 2), ENDS), max_size=12)


def records(history: list[tuple[int, str | None]]) -> list[Attempt]:
    found: list[Attempt] = []
    for attempt, (step, end) in enumerate(history, start=1):
        found.append(AttemptBegin(attempt=attempt, step=step))
        if end is not None:
            found.append(AttemptEnd(attempt=attempt, end=end))
    return found


@settings(max_examples=500)
@given(history=HISTORIES, step=st.integers(0, 2))
def test_failures_in_a_row_against_reading_forwards(history: list[tuple[int, str | None]], step: int) -> None:
    """500 histories: every new checkpoint and every time limit starts the count anew, unknown ends change nothing."""
    count, at = 0, None
    for began, end in history:
        if began != at or end == "timed-out":
            count, at = 0, began
        count += end == "failed"
    assert failures_in_a_row(records(history), step) == (count if at == step else 0)


def test_numbers_follow_whatever_is_noted() -> None:
    assert next_attempt([]) == 1
    assert next_attempt(records([(0, "failed"), (5, None)])) == 3
    assert next_attempt([AttemptEnd(attempt=7)]) == 8  # its beginning was lost


def test_numbers_that_no_attempt_has_are_left_out(tmp_path: Path) -> None:
    """Else the next one had a number below 1, or of hundreds of digits."""
    (tmp_path / ATTEMPTS).mkdir()
    lines = [f'{{"event": "begin", "attempt": {number}, "step": 0}}' for number in ("-1", "0", "1", "9" * 300)]
    attempts_file(tmp_path, RUN).write_text("\n".join(lines) + "\n")
    found = read_attempts(attempts_file(tmp_path, RUN))
    assert [each.attempt for each in found] == [1]
    assert next_attempt(found) == 2


def test_a_full_disk_is_not_the_runs_fault(tmp_path: Path) -> None:
    (tmp_path / ATTEMPTS).mkdir()
    note_begin(tmp_path, RUN, 1, step=0, threads=1)
    note_end(tmp_path, RUN, 1, "failed", f"step 3: {tmp_path} cannot be written: {NO_SPACE}")
    note_begin(tmp_path, RUN, 2, step=0, threads=1)
    note_end(tmp_path, RUN, 2, "failed", "broken")
    found = read_attempts(attempts_file(tmp_path, RUN))
    assert [getattr(record, "end", None) for record in found] == [None, "interrupted", None, "failed"]
    assert failures_in_a_row(found, 0) == 1


def test_an_end_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    note_end(tmp_path / "gone", RUN, 1, "failed", "broken")
