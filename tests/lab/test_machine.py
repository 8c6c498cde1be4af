"""The machine's speed is a number however slow the machine; threads are those of a run's beginning."""

import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from moewright.experiment import run_folder, threads
from moewright.experiment.metrics import AttemptLine, read_metrics
from moewright.experiment.recipe import Recipe
from moewright.experiment.threads import STATED
from moewright.lab import machine, training
from moewright.processors import Processors
from tests.lab import tiny


def test_every_product_is_timed_when_one_call_takes_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves a second with every look: far more than the time for measuring."""
    clock = count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(machine, "_SIZES", (8, 16))
    assert machine.matmul_peak(torch.device("cpu"), torch.float32) == 2 * 8**3


@pytest.mark.usefixtures("quick")
def test_a_run_goes_on_with_the_threads_that_it_began_with(
    tmp_path: Path, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is busy now; torch's own number is left as it was. What the user says is done, and said."""
    for name in STATED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "processors", lambda: Processors(3))
    numbers = [3]  # torch itself stays at one: more would wait for each other wherever the tests share processors
    with monkeypatch.context() as fake:
        fake.setattr(torch, "get_num_threads", lambda: numbers[-1])
        fake.setattr(torch, "set_num_threads", numbers.append)
        attempts: list[tuple[int, str | None]] = [(2, None), (1, None), (3, None), (3, "3")]  # idle; what the user says
        for steps, (idle, stated) in enumerate(attempts, start=1):
            monkeypatch.setattr(threads, "idle_processors", lambda *_, idle=idle: idle)
            if stated is not None:
                monkeypatch.setenv("OMP_NUM_THREADS", stated)
            with monkeypatch.context() as patch:
                if steps < len(attempts):
                    tiny.interrupt_after(patch, steps)
                training.train(Recipe.from_dict(tiny.recipe(data, len(attempts))), tmp_path / "run", show=False)
            assert numbers[-1] == 3
    machine_of_run = run_folder.read_run(tmp_path / "run").provenance.machine
    assert machine_of_run.threads == 2
    assert machine_of_run.thread_choice is not None
    assert (machine_of_run.thread_choice.because, machine_of_run.thread_choice.idle) == ("load", 2)
    lines = [line for line in read_metrics(tmp_path / "run") if isinstance(line, AttemptLine)]
    chosen = [(line.threads.threads, line.threads.because) for line in lines if line.threads is not None]
    assert chosen == [(2, "load"), (2, "begun"), (2, "begun"), (3, "stated")]
    said = capsys.readouterr().err
    assert said.count("warning:") == 3
    assert "OMP_NUM_THREADS=2 keeps them" in said
