"""What is wrong with runs as files, beyond what a table of numbers shows. No torch."""

from collections.abc import Iterator, Sequence

import pandas as pd

from moewright.architecture.spec import Architecture
from moewright.experiment.attempts import Attempt
from moewright.experiment.binding import not_bound
from moewright.experiment.collecting.learning_curves import Tail
from moewright.experiment.identity import RunIdentity
from moewright.experiment.routing_health import REMEDY, collapsed
from moewright.experiment.run_folder import RunRecord, RunStatus
from moewright.experiment.states import State
from moewright.experiment.sweep_folder import CellRecord
from moewright.quantities import counted
from moewright.records import Record
from moewright.runs.schema import FINISHED


class RunFinding(Record):
    """What is wrong with a run, or with all of them."""

    row: int | None
    """Of the table, from 1; null for a run that is not in it, and for all."""
    run_id: str
    problem: str
    column: str
    detail: str


CLOCK_SLACK = 5.0
"""Seconds by which clocks of one cluster may differ, or be set back, without a word."""

ONE_VALUE = {
    "training_version": "training versions",
    "code": "training code",
    "commit": "commits",
    "moewright_version": "versions of moewright",
    "torch_version": "versions of torch",
    "data_fingerprint": "data",
    "processor": "processors",
    "gpus": "kinds of GPU",
    "device": "kinds of device",
    "precision": "precisions",
}
"""Columns that should hold one value over all finished runs, whose losses otherwise differ for that reason too."""


def finding(run_id: str, problem: str, column: str, detail: str, row: int | None = None) -> RunFinding:
    """One finding in the form of those of `runs.diagnose`."""
    return RunFinding(row=row, run_id=run_id, problem=problem, column=column, detail=detail)


def about_run(
    run_id: str,
    run: RunRecord | None,
    cell: CellRecord | None,
    state: State,
    status: RunStatus | None,
    tail: Tail,
    architecture: Architecture,
) -> Iterator[RunFinding]:
    """What does not fit together within one run, and whether its routing has collapsed."""
    if run is not None and cell is not None:
        # Without peak rates, which cells do not record.
        planned = RunIdentity.recorded(
            cell.recipe, None, cell.data_fingerprint, cell.training_version, cell.initial_weights
        )
        begun = RunIdentity.recorded(run.recipe, None, run.data.fingerprint, run.training_version, run.initial_weights)
        changed = planned.difference(begun)
        if changed is not None:
            column = {"data": "data_fingerprint", "training_version": changed}.get(changed, f"recipe.{changed}")
            yield finding(run_id, "changed", column, "run.json and the sweep's cell differ")
    old = not_bound(run, status)
    if old is not None:
        yield finding(run_id, "not bound", "", old)
    if tail.steps_back > CLOCK_SLACK:
        yield finding(
            run_id, "clock", "time", f"metrics.jsonl: a record is {tail.steps_back:.0f} s older than the last"
        )
    evaluated = tail.evaluation
    if evaluated is not None and evaluated.routing is not None:
        for each in collapsed(evaluated.routing, architecture, sum(evaluated.tokens_by_set.values())):
            yield finding(run_id, "collapsed", each.measure, f"step {evaluated.step}: {each}; {REMEDY}")
    if state != "done" or status is None:
        return
    final = tail.evaluation
    if final is None or final.step != status.step:
        yield finding(run_id, "incomplete", "metrics.jsonl", "the last evaluation is not there; only `loss` is known")


def about_attempts(run_id: str, attempts: Sequence[Attempt], now: float | None) -> Iterator[RunFinding]:
    """Times that cannot be; `now` is the file system's."""
    begun: dict[int, float] = {}
    for record in attempts:
        if record.time is None:
            continue
        which = f"attempt {record.attempt}"
        if now is not None and record.time > now + CLOCK_SLACK:
            what = f"{which}: its {record.event} lies {record.time - now:.0f} s in the future of the file system"
            yield finding(run_id, "clock", "time", what)
        if record.event == "begin":
            begun[record.attempt] = record.time
        elif record.time < begun.get(record.attempt, record.time) - CLOCK_SLACK:
            yield finding(run_id, "clock", "time", f"{which} ended before it began")


def about_mixtures(table: pd.DataFrame) -> Iterator[RunFinding]:
    """Finished runs that were not made alike."""
    finished = table[table["status"] == FINISHED]
    for column, what in ONE_VALUE.items():
        if column not in finished:
            continue
        counts = finished[column].value_counts()
        if len(counts) > 1:
            shown = ", ".join(f"{str(value)[:40]} ({counted(count, 'run')})" for value, count in counts.items())
            yield finding("", "mixed", column, f"{len(counts)} {what} among finished runs: {shown}")
