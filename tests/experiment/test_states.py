"""The state of a run from its files: every combination against a table, damaged files, locks, other machines."""

import fcntl
import itertools
import json
import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from moewright.experiment import run_folder, states
from moewright.experiment.attempts import Attempt, AttemptBegin, AttemptEnd, read_attempts
from moewright.experiment.locks import is_locked, take_lock
from moewright.experiment.run_folder import RunStatus
from moewright.experiment.states import STATES, observe, observe_run, state_of, sweep_time
from moewright.experiment.sweep_folder import ATTEMPTS, RUNS, attempts_file, attempts_lock

RUN = "0123456789ab"
ENDS = ("finished", "interrupted", "timed-out", "diverged", "failed", None)


def begin(attempt: int, host: str | None = None) -> AttemptBegin:
    return AttemptBegin(attempt=attempt, time=1.0, host=host or platform.node(), pid=1)


def end(attempt: int, how: str) -> AttemptEnd:
    return AttemptEnd(attempt=attempt, time=2.0, end=how, reason="because")


def expected(said: str | None, ends: tuple[str | None, ...], locked: bool, alive: bool) -> str:
    """The rule in the order of its sentences, written apart from the code."""
    if said in ("finished", "diverged"):
        return {"finished": "done", "diverged": "diverged"}[said]
    if locked:
        return "running"
    if ends and ends[-1] is None:
        return "running" if alive else "interrupted"
    if ends:
        return ends[-1] if ends[-1] in ("failed", "timed-out", "diverged") else "interrupted"
    return {None: "pending", "failed": "failed"}.get(said, "interrupted")


def test_every_combination() -> None:
    """7 status files x 43 histories of up to two attempts x locked x alive elsewhere."""
    histories = [(), *((how,) for how in ENDS), *itertools.product(ENDS, ENDS)]
    seen = set()
    for said in (None, "", "running", "interrupted", "failed", "finished", "diverged"):
        status = RunStatus.from_dict({"state": said}) if said else None
        for ends, locked, alive in itertools.product(histories, (False, True), (False, True)):
            records: list[Attempt] = []
            for number, how in enumerate(ends, start=1):
                records += [begin(number), *([end(number, how)] if how else [])]
            found = state_of(status, records, has_folder=said is not None, locked=locked, alive_elsewhere=alive)
            assert found == expected(said, ends, locked, alive), (said, ends, locked, alive)
            seen.add(found)
    assert seen == set(STATES)


def test_an_end_of_an_earlier_attempt_that_is_noted_late_does_not_count() -> None:
    late: list[Attempt] = [begin(1), begin(2), end(1, "failed")]
    lost: list[Attempt] = [begin(2), end(2, "timed-out")]
    assert state_of(None, late, has_folder=True, locked=False) == "interrupted"
    assert state_of(None, lost, has_folder=True, locked=False) == "timed-out"  # the first lines were lost


def line(record: Attempt | dict[str, Any]) -> str:
    return json.dumps(record if isinstance(record, dict) else record.to_dict()) + "\n"


def write(out: Path, records: Sequence[Attempt | dict[str, Any]], status: str | None = None) -> None:
    (out / ATTEMPTS).mkdir(parents=True, exist_ok=True)
    attempts_file(out, RUN).write_text("".join(line(record) for record in records))
    if status is not None:
        (out / RUNS / RUN).mkdir(parents=True, exist_ok=True)
        (out / RUNS / RUN / "status.json").write_text(status)


def test_files_cut_anywhere_give_a_state(tmp_path: Path) -> None:
    """400 pairs of files cut at random places, or with random bytes in them."""
    draw = random.Random(6)
    records: list[Attempt] = [begin(1), end(1, "failed"), begin(2), end(2, "timed-out")]
    whole = "".join(map(line, records)).encode()
    status = json.dumps({"state": "running", "step": 3}, indent=2).encode()
    write(tmp_path, records, status.decode())
    assert observe(tmp_path, RUN).state == "timed-out"
    cuts = {len(part) for part in itertools.accumulate(whole.splitlines(keepends=True))}
    for _ in range(400):
        place = draw.randrange(len(whole) + 1)
        damaged = whole[:place] if draw.random() < 0.5 else whole[:place] + draw.randbytes(9) + whole[place + 9 :]
        attempts_file(tmp_path, RUN).write_bytes(damaged)
        shorter = draw.randrange(len(status) + 1)
        (tmp_path / RUNS / RUN / "status.json").write_bytes(status[:shorter])
        seen = observe(tmp_path, RUN)
        assert seen.state in ("failed", "interrupted", "timed-out")
        assert (seen.problem is None) == (shorter == len(status))
        assert all(record in records or len(damaged) == len(whole) for record in seen.attempts)
    for place, state in zip(sorted({0, *cuts}), ("interrupted", "interrupted", "failed", "interrupted"), strict=False):
        attempts_file(tmp_path, RUN).write_bytes(whole[:place])
        assert observe(tmp_path, RUN).state == state


def test_records_of_another_shape_are_left_out(tmp_path: Path) -> None:
    odd: list[dict[str, Any]] = [
        {"event": "pause", "attempt": 1},
        {"event": "begin"},
        {"event": "end", "attempt": "1"},
        {"event": "begin", "attempt": True},
    ]
    write(tmp_path, [*odd, begin(1)])
    assert read_attempts(attempts_file(tmp_path, RUN)) == [begin(1)]
    assert read_attempts(tmp_path / "none.jsonl") == []


def test_a_killed_worker_lets_go_of_its_lock(tmp_path: Path) -> None:
    write(tmp_path, [begin(1)], json.dumps({"state": "running"}))
    lock = attempts_lock(tmp_path, RUN)
    code = (
        "import sys, time; from pathlib import Path; from moewright.experiment.locks import take_lock;"
        "assert take_lock(Path(sys.argv[1])) is not None; print('held', flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert observe(tmp_path, RUN).state == "running"
        assert take_lock(lock) is None
    finally:
        holder.kill()
        holder.communicate()
    assert not is_locked(lock)
    assert observe(tmp_path, RUN).state == "interrupted"
    handle = take_lock(lock)
    assert handle is not None
    assert is_locked(lock)
    os.close(handle)


def test_whoever_looks_at_a_lock_does_not_keep_it_from_being_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    looking = os.open(lock, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr(time, "sleep", lambda _: fcntl.flock(looking, fcntl.LOCK_UN))
    handle = take_lock(lock)
    assert handle is not None
    os.close(handle)
    os.close(looking)


def test_a_run_outside_of_sweeps_is_running_while_its_folder_is_locked(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text('{"state": "running"}')
    handle = take_lock(tmp_path / run_folder.LOCK)
    assert handle is not None
    assert observe_run(tmp_path).state == "running"
    os.close(handle)
    assert observe_run(tmp_path).state == "interrupted"
    (tmp_path / "status.json").write_text('{"state": "failed", "reason": "disk full"}')
    assert observe_run(tmp_path).state == "failed"


def test_a_worker_that_ends_while_its_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds the lock at the first look and finishes before the second: the reading begins anew."""
    write(tmp_path, [begin(1)], json.dumps({"state": "running"}))
    answers = iter([True, False])

    def looked_at(path: Path) -> bool:
        held = next(answers, False)
        if not held:
            write(tmp_path, [begin(1), end(1, "finished")], json.dumps({"state": "finished"}))
        return held

    monkeypatch.setattr(states, "is_locked", looked_at)
    assert observe(tmp_path, RUN).state == "done"


def test_another_machine_is_judged_by_the_file_systems_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's clock is years off, and the verdict stays."""
    monkeypatch.setattr("time.time", lambda: 0.0)
    write(tmp_path, [begin(1, host="elsewhere")], json.dumps({"state": "running"}))
    now = sweep_time(tmp_path)
    assert now is not None
    assert observe(tmp_path, RUN, now).state == "running"
    assert observe(tmp_path, RUN).state == "interrupted"  # nothing may be written there: not known
    old = now - states.RECENT_SECONDS - 1
    for file in (attempts_file(tmp_path, RUN), tmp_path / RUNS / RUN / "status.json"):
        os.utime(file, (old, old))
    assert observe(tmp_path, RUN, now).state == "interrupted"
    (tmp_path / RUNS / RUN / "metrics.jsonl").write_text("{}\n")
    assert observe(tmp_path, RUN, sweep_time(tmp_path)).state == "running"
    write(tmp_path, [begin(1, host="elsewhere"), end(1, "failed")])
    assert observe(tmp_path, RUN, sweep_time(tmp_path)).state == "failed"
    assert sorted(path.name for path in (tmp_path / ATTEMPTS).iterdir()) == [f"{RUN}.jsonl"]
