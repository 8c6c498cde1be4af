"""`moewright sweep --dry-run`: the runs of a sweep, what they will take, and what they can tell; nothing is run."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moewright.complaints import check_number
from moewright.display import ShownTable
from moewright.errors import UserError
from moewright.experiment.schedule import peak_learning_rate
from moewright.experiment.states import State
from moewright.experiment.sweep_folder import run_path
from moewright.experiment.trainer_folder import reached_step
from moewright.progress import progress_task
from moewright.quantities import LEAST_NOISE
from moewright.sweeps.foresight.calibration import Calibration, calibrate, calibration_of_finished
from moewright.sweeps.foresight.makespan import RemainingRun, further_tuning, makespan, tasks_of
from moewright.sweeps.foresight.preflight import Checked, check_planned_runs, disk_use, drifts
from moewright.sweeps.foresight.run_forecasts import forecasts
from moewright.sweeps.planner import PlannedRun, SweepPlan
from moewright.sweeps.running.executor import MeasuringExecutor, missing_lab
from moewright.sweeps.running.submitting import check_folder, runs_beside
from moewright.sweeps.running.sweep_state import SweepState
from moewright.sweeps.running.sweeping import load_sweep, make_executor, planner_in
from moewright.sweeps.sweep_answers import (
    DiskUse,
    Drift,
    DryRunAnswer,
    DuplicateCell,
    InvalidCell,
    SweepTotals,
)
from moewright.sweeps.sweep_spec import ForecastSettings

if TYPE_CHECKING:
    from moewright.laws import Forecast


@dataclass(frozen=True, repr=False)
class DryRun(ShownTable):
    """What a sweep comes to."""

    out: Path | None
    executor: str
    jobs: int
    """Runs at a time; on Slurm the most that are handed over."""
    keep: str
    """What stays of checkpoints; see `Execution.keep`."""
    plan: SweepPlan
    runs: tuple[RemainingRun, ...]
    more_tuning: int
    """Tuning runs that come on top at most, where best rates turn out at ends of their lists."""
    calibration: Calibration | None
    """None on Slurm, or where nothing is left to do."""
    seconds: float | None
    """Until all runs that are left are done, without further tuning runs."""
    most_seconds: float | None
    """With all of them."""
    disk: DiskUse
    drifts: tuple[Drift, ...]
    problems: tuple[tuple[PlannedRun, str], ...]
    """Runs that would fail at once, and why."""
    warnings: Mapping[str, int]
    """Of recipes, by how many cells have them."""
    forecasts: "tuple[Forecast, ...]"

    @property
    def left(self) -> tuple[RemainingRun, ...]:
        """The runs that are still to be carried out."""
        return tuple(each for each in self.runs if each.is_left)

    @property
    def states(self) -> dict[str, int]:
        """How many runs are in each state."""
        return dict(Counter(each.state for each in self.runs))

    @property
    def stages(self) -> dict[str, int]:
        """How many runs are in each stage."""
        return dict(Counter(each.run.stage for each in self.runs))

    def _facts(self) -> Mapping[str, Any]:
        return {
            "runs": len(self.runs),
            "left": len(self.left),
            "executor": self.executor,
            "jobs": self.jobs,
            "seconds": self.seconds,
            "problems": len(self.problems),
        }

    def _rows(self) -> list[dict[str, Any]]:
        rows = [each.answer(self.keep).to_dict() for each in self.runs]
        return [{**row.pop("settings"), **row} for row in rows]

    def answer(self) -> DryRunAnswer:
        """For JSON."""
        return DryRunAnswer(
            out=None if self.out is None else str(self.out),
            executor=self.executor,
            jobs=self.jobs,
            totals=SweepTotals(
                runs=len(self.runs),
                stages=self.stages,
                states=self.states,
                more_tuning=self.more_tuning,
                left=len(self.left),
                train_flops=sum(each.run.sizes["train_flops"] for each in self.left),
                train_tokens=int(sum(each.run.sizes["train_tokens"] for each in self.left)),
                seconds=self.seconds,
                most_seconds=self.most_seconds,
            ),
            disk_bytes=self.disk,
            calibration=None if self.calibration is None else self.calibration.answer(),
            runs=tuple(each.answer(self.keep) for each in self.runs),
            invalid=tuple(InvalidCell(settings=cell.settings, problem=str(cell.problem)) for cell in self.plan.invalid),
            problems=tuple(InvalidCell(settings=run.settings, problem=problem) for run, problem in self.problems),
            merged=self.plan.merged,
            duplicates=tuple(
                DuplicateCell(settings=cell.settings, same_as=other.settings) for cell, other in self.plan.duplicates
            ),
            drifts=self.drifts,
            warnings=dict(self.warnings),
            forecasts=self.forecasts,
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields of `moewright sweep --dry-run --json`."""
        return self.answer().to_dict()


def dry_run(
    spec: "str | Path | dict[str, Any]",
    out: str | Path | None = None,
    *,
    jobs: int | None = None,
    executor: str = "local",
    trainer: str | None = None,
    add: bool = False,
    forecast: Sequence[str] | None = None,
    noise: float | None = None,
) -> DryRun:
    """Plan a sweep, check every run, measure how fast this machine is, and forecast what the runs can tell.

    With `out`, runs that are done there cost nothing, and if there are enough of them their speeds are used instead of
    measuring. `forecast` (laws) and `noise` replace those of the specification. `out` stays as it is. Raises
    UserError for bad input, and for what the sweep itself refuses of a folder: another sweep's needs `add`.

    Without torch nothing is measured: the times are unknown then, and a warning says so. So are those of another
    trainer than the lab.
    """
    loaded = load_sweep(spec, trainer)
    folder = None if out is None else Path(out).absolute()
    if folder is not None:
        check_folder(folder)
    settings = _forecast_settings(loaded.spec.forecast, forecast, noise)
    runner = make_executor(executor, loaded.spec.execution, jobs)
    planner = planner_in(folder, loaded)
    if folder is not None:
        runs_beside(folder, planner, add)
    sweep_state = SweepState(folder or Path(), planner)
    plan = sweep_state.plan
    checked = check_planned_runs(planner, plan.runs)
    found: tuple[Forecast, ...] = ()
    if settings is not None:
        main = [run for run in plan.runs if run.stage != "tune"]
        found = forecasts(planner, main, settings, loaded.folder if forecast is None else Path())
    states: dict[str, State] = {run.id: "pending" for run in plan.runs}
    if folder is not None:
        states |= {run.id: sweep_state.observed[run.id].state for run in plan.known}
    left = [run for run in plan.runs if states[run.id] not in ("done", "diverged") and run.id not in checked.problems]
    if folder is not None:
        left = [run for run in left if run.awaits_rate or not sweep_state.has_failed(run.id)]
    measuring = runner.measuring if planner.trainer is None else None
    calibration = _calibrate(measuring, plan, left, sweep_state if folder is not None else None)
    warnings = dict(checked.warnings)
    execution = loaded.spec.execution
    if executor == "local" and execution.gpus_per_run and not execution.gpus and left:
        unnamed = "execution.gpus does not say which GPUs are here: until it does, the sweep does not start"
        warnings[unnamed] = len(planner.cells)
    if planner.trainer is not None:
        warnings |= planner.trainer_notes
        if left:
            warnings[f"times are unknown: only the lab's steps are measured, not {planner.trainer.name}'s"] = len(
                planner.cells
            )
    elif calibration is None and left and measuring is not None:
        warnings[f"times are unknown: {missing_lab()}"] = len(planner.cells)
    is_left = {run.id for run in left}
    runs = tuple(
        RemainingRun(
            run,
            states[run.id],
            None if run.awaits_rate else peak_learning_rate(run.recipe),
            run.id in is_left,
            _seconds(run, run.id in is_left, states[run.id], folder, calibration, checked),
        )
        for run in plan.runs
    )
    tasks, more = tasks_of(planner, runs), further_tuning(planner, plan, runs)
    return DryRun(
        out=folder,
        executor=executor,
        jobs=runner.slots,
        keep=planner.spec.execution.keep,
        plan=plan,
        runs=runs,
        more_tuning=len(more),
        calibration=calibration,
        seconds=makespan(tasks, runner.slots) if calibration is not None else None,
        most_seconds=makespan([*tasks, *more], runner.slots) if calibration is not None else None,
        disk=disk_use(left, planner.spec.execution.keep, runner.slots, folder or Path()),
        drifts=drifts(planner),
        problems=tuple((run, checked.problems[run.id]) for run in plan.runs if run.id in checked.problems),
        warnings=warnings,
        forecasts=found,
    )


def _forecast_settings(
    stated: ForecastSettings | None, laws: Sequence[str] | None, noise: float | None
) -> ForecastSettings | None:
    """Those of the specification, with what was asked for instead."""
    if noise is not None:
        check_number(noise, "noise", at_least=LEAST_NOISE, below=1)
    if stated is not None:
        changes = {name: value for name, value in (("law", tuple(laws or ())), ("noise", noise)) if value}
        return stated.model_copy(update=changes)
    if laws and noise is None:
        raise UserError("noise: a forecast needs the standard deviation of log loss between seeds; give --noise 0.01")
    if noise is not None and not laws:
        raise UserError("noise: has no use without a forecast; name a law with --forecast")
    return ForecastSettings(law=tuple(laws), noise=noise) if laws and noise is not None else None


def _calibrate(
    executor: MeasuringExecutor | None,
    plan: SweepPlan,
    left: Sequence[PlannedRun],
    sweep_state: SweepState | None,
) -> Calibration | None:
    if executor is None or not left:
        return None
    if sweep_state is not None:
        known = calibration_of_finished(sweep_state.out, plan.runs, sweep_state.observed, executor.threads)
        if known is not None:
            return known
    if missing_lab() is not None:
        return None
    with progress_task("measuring this machine", unit="kinds of step") as task:
        return calibrate([run.recipe for run in left], executor, task.reach)


def _seconds(
    run: PlannedRun,
    is_left: bool,
    state: State,
    folder: Path | None,
    calibration: Calibration | None,
    checked: Checked,
) -> float | None:
    if run.id in checked.problems:
        return None
    if not is_left:
        return 0.0
    if calibration is None:
        return None
    begun = reached_step(run_path(folder, run.id)) if folder is not None and state != "pending" else 0
    return calibration.run_seconds(run.recipe, checked.validation_tokens[run.id], begun)
