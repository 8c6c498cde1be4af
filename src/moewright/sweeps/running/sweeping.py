"""`moewright sweep`: from a specification to finished runs, through interruptions."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moewright.complaints import one_of
from moewright.display import ShownTable
from moewright.errors import UserError
from moewright.experiment.attempts import last_end, read_attempts
from moewright.experiment.states import SEEN_STATES, sweep_time
from moewright.experiment.sweep_folder import SWEEP, attempts_file, names_in_folder, read_cells
from moewright.experiment.trainer_folder import LAUNCH
from moewright.sweeps.planner import Planner
from moewright.sweeps.running.executor import Executor, missing_lab
from moewright.sweeps.running.local_executor import LocalExecutor
from moewright.sweeps.running.scheduler import ProgressReporter, Scheduler
from moewright.sweeps.running.slurm_executor import SlurmExecutor
from moewright.sweeps.running.submitting import (
    check_folder,
    check_noted,
    note_run,
    note_specification,
    runs_beside,
    submitting,
    write_trainer_folder,
)
from moewright.sweeps.running.sweep_state import SweepState, SweepStatus
from moewright.sweeps.sbatch_options import sbatch_parameters
from moewright.sweeps.sweep_answers import InvalidCell, SweepAnswer, TunedAnswer
from moewright.sweeps.sweep_spec import Execution, LoadedSweep
from moewright.sweeps.trainers import LAB
from moewright.sweeps.trainers.cell_folders import write_lab_folder
from moewright.sweeps.trainers.trainer_choice import trainer_of


@dataclass(frozen=True, repr=False)
class SweepResult(ShownTable):
    """How a sweep stands when nothing more can be done in it."""

    status: SweepStatus
    written: tuple[Path, ...] = ()
    """Launch scripts of runs that wait for people to start them."""

    @property
    def counts(self) -> dict[str, int]:
        """Runs by state; "awaiting" are those whose learning rate could not be found."""
        counted = Counter(self.status.states.values())
        waiting = sum(run.awaits_rate for run in self.status.plan.runs)
        return {
            **{state: counted[state] for state in SEEN_STATES if counted[state]},
            **({"awaiting": waiting} if waiting else {}),
        }

    @property
    def is_under_way(self) -> bool:
        """Whether a worker is at a run."""
        return bool({"running", "stalled"} & self.counts.keys())

    def reason(self, run: str) -> str | None:
        """Why the last attempt at a run ended as it did, where it said so; or what is wrong with the run's files."""
        if run in self.status.problems:
            return self.status.problems[run]
        end = last_end(read_attempts(attempts_file(self.status.out, run)))
        return None if end is None else end.reason

    @property
    def is_complete(self) -> bool:
        """Whether every run is done, or diverged: a result too."""
        return set(self.counts) <= {"done", "diverged"}

    def _facts(self) -> dict[str, Any]:
        return {"out": str(self.status.out), **self.counts}

    def _rows(self) -> list[dict[str, Any]]:
        plan, states = self.status.plan, self.status.states
        return [{"id": run.id, **run.settings, "state": states.get(run.id)} for run in plan.runs if not run.awaits_rate]

    def answer(self) -> SweepAnswer:
        """For JSON."""
        plan = self.status.plan
        return SweepAnswer(
            out=str(self.status.out),
            states=dict(self.counts),
            runs=dict(self.status.states),
            invalid=tuple(InvalidCell(settings=cell.settings, problem=str(cell.problem)) for cell in plan.invalid),
            merged=plan.merged,
            written=tuple(map(str, self.written)),
            tuned={
                name: TunedAnswer(
                    multiplier=found.multiplier, points=found.points, optimum=found.optimum, predicted=found.predicted
                )
                for name, found in plan.tuned.items()
            },
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields of `moewright sweep --json`."""
        return self.answer().to_dict()


def sweep(
    spec: "str | Path | dict[str, Any]",
    out: str | Path,
    *,
    jobs: int | None = None,
    executor: str = "local",
    trainer: str | None = None,
    write_only: bool = False,
    retry_failed: bool = False,
    add: bool = False,
    reporter: ProgressReporter | None = None,
) -> SweepResult:
    """Carry out a sweep in a folder: what is done there stays, what was interrupted goes on, the rest is run.

    `jobs` run at a time (None: one per core here, no limit on Slurm). `trainer`: what trains them, instead of the
    specification's. `write_only`: the folders of the runs that can start are written, and nothing is started.
    `retry_failed`: runs that failed more often than `execution.retries` get another round. `add`: run beside the runs
    of another sweep in the folder. Raises UserError for bad input and a folder where another submitter is at work, and
    RunStopped when the disk is full.
    """
    loaded = load_sweep(spec, trainer)
    folder = Path(out).absolute()
    check_folder(folder)
    planner = planner_in(folder, loaded)
    _check_executor(executor)
    if write_only or planner.trainer is not None:
        sbatch_parameters(loaded.spec.execution)  # its launch scripts have them, wherever they are started
    missing = None if write_only else missing_lab(needs_torch=planner.trainer is None)
    if missing is not None:
        raise UserError(missing)
    runner = None if write_only else make_executor(executor, loaded.spec.execution, jobs)
    with submitting(folder):
        runs_beside(folder, planner, add)
        note_specification(folder, loaded.to_dict(), planner.code)
        told = reporter or _NoReports()
        for note in planner.trainer_notes:
            told.event(f"note: {note}")
        if write_only and planner.trainer is None and "keep" in loaded.spec.execution.model_fields_set:
            told.event("note: execution.keep is of the sweep's own jobs: what people start leaves its checkpoints")
        if runner is None:
            return _write_folders(folder, planner)
        warning = runner.warning()
        if warning is not None:
            told.event(f"warning: {warning}")
        scheduler = Scheduler(folder, planner, runner, told, retry_failed)
        return SweepResult(scheduler.run())


def _write_folders(folder: Path, planner: Planner) -> SweepResult:
    """The folders of all runs that can start and nobody began, for people to start."""
    state = SweepState(folder, planner)
    places: dict[str, Path] = {}
    for run in state.plan.known:
        note_run(folder, planner, run)
        if state.observed[run.id].state != "running":
            place = write_trainer_folder(folder, planner, run)
            places[run.id] = place or write_lab_folder(folder, run.id, run.recipe, planner.spec.execution)
    now, written = sweep_time(folder), []
    for name, place in places.items():
        state.look_at(name, now)
        if state.observed[name].state not in ("done", "diverged"):
            written.append(place / LAUNCH)
    return SweepResult(state.status(), tuple(written))


def sweep_status(spec: "str | Path | dict[str, Any]", out: str | Path, trainer: str | None = None) -> SweepResult:
    """How a sweep stands in its folder, from files only; beside a submitter too. UserError without this sweep."""
    return next(follow_sweep(spec, out, trainer))


def follow_sweep(
    spec: "str | Path | dict[str, Any]", out: str | Path, trainer: str | None = None
) -> Iterator[SweepResult]:
    """How a sweep stands, again and again: whoever looks for long sees which of its workers do not get on.

    Reads files only. UserError without this sweep.
    """
    folder = Path(out).absolute()
    if not (folder / SWEEP).is_file():
        raise UserError(f"out: {out} holds no sweep; start one with `moewright sweep SPEC --out {out}`")
    check_folder(folder)
    loaded = load_sweep(spec, trainer)
    planner = planner_in(folder, loaded)
    check_noted(folder, loaded.to_dict(), planner)
    runs_beside(folder, planner, False, "give the one that runs there, or look on with the code that does")
    state = SweepState(folder, planner)
    while True:
        under_way = [run for run, seen in state.observed.items() if seen.state == "running"]
        yield SweepResult(state.status(stalled=state.look_for_stalls(under_way)))
        now = sweep_time(folder)
        for run, seen in list(state.observed.items()):
            if seen.state not in ("done", "diverged"):
                state.look_at(run, now)
        state.replan()


def planner_in(folder: Path | None, loaded: LoadedSweep) -> Planner:
    """The planner of a sweep in its folder, whose runs keep the names that they were begun under."""
    return Planner(loaded, None if folder is None else names_in_folder(folder, read_cells(folder)))


EXECUTORS: dict[str, Callable[[Execution, int | None], Executor]] = {
    "local": LocalExecutor,
    "slurm": SlurmExecutor,
}
"""By the name that `--executor` takes."""


def make_executor(name: str, execution: Execution, jobs: int | None) -> Executor:
    """An executor for so many jobs at a time. UserError for an unknown name, and for what it cannot do."""
    _check_executor(name)
    return EXECUTORS[name](execution, jobs)


def _check_executor(name: str) -> None:
    one_of(name, "executor", EXECUTORS)


def load_sweep(spec: "str | Path | dict[str, Any]", trainer: str | None = None) -> LoadedSweep:
    """A specification from its file or its contents; paths in contents start at the working folder.

    `trainer`: what trains the runs, instead of the specification's. UserError for an unknown one.
    """
    loaded = LoadedSweep.from_dict(spec) if isinstance(spec, dict) else LoadedSweep.load(Path(spec))
    if trainer is None:
        return loaded
    chosen = trainer_of(loaded.spec.trainer, trainer)
    return loaded.with_trainer(LAB if chosen is None else {"kind": chosen.name, **chosen.to_dict(defaults=False)})


class _NoReports:
    """Tells nobody."""

    def event(self, text: str) -> None:
        pass

    def refresh(self, status: SweepStatus) -> None:
        pass
