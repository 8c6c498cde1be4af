"""`moewright sweep`: many runs, through interruptions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from moewright.commands.checking import as_list, command, writes
from moewright.complaints import check_integer
from moewright.errors import UserError, needs_the_lab
from moewright.outputs import OWN_FOLDER
from moewright.progress import shows_progress

if TYPE_CHECKING:
    from moewright.sweeps.foresight.dry_run import DryRun
    from moewright.sweeps.running.sweeping import SweepResult


@overload
def sweep(
    spec: str | Path | dict[str, Any],
    out: str | Path,
    *,
    jobs: int | None = None,
    executor: str = "local",
    trainer: str | None = None,
    write_only: bool = False,
    dry_run: Literal[False] = False,
    watch: bool = False,
    retry_failed: bool = False,
    add: bool = False,
) -> SweepResult: ...


@overload
def sweep(
    spec: str | Path | dict[str, Any],
    out: str | Path | None = None,
    *,
    jobs: int | None = None,
    executor: str = "local",
    trainer: str | None = None,
    dry_run: Literal[True],
    add: bool = False,
    forecast: str | Iterable[str] | None = None,
    noise: float | None = None,
) -> DryRun: ...


@command
@writes(out=OWN_FOLDER)
def sweep(
    spec: str | Path | dict[str, Any],
    out: str | Path | None = None,
    *,
    jobs: int | None = None,
    executor: str = "local",
    trainer: str | None = None,
    write_only: bool = False,
    dry_run: bool = False,
    watch: bool = False,
    retry_failed: bool = False,
    add: bool = False,
    forecast: str | Iterable[str] | None = None,
    noise: float | None = None,
) -> SweepResult | DryRun:
    """And at many settings? Plan, price and run a sweep; again with the same folder goes on where it was.

    Runs are processes of their own, so a script that calls this needs no `__main__` guard. On the command line
    progress goes to standard error: a live table on a terminal, elsewhere a line for each event.

    Args:
        spec: Sweep: a YAML or JSON file with a recipe and the axes that vary.
        out: Folder of the sweep: a new one, or one to go on in.
        jobs: Runs at a time. [default: one per core; on Slurm no limit]
        executor: Where runs go: local or slurm.
        trainer: lab, hf, olmo-core, torchtitan, megatron or command. [default: the specification's, else lab]
        write_only: Write each run's folder with its launch script, for people to start; run nothing.
        dry_run: Say the runs, what they will take and what they can tell; run nothing.
        watch: Look on at a sweep under way until nothing of it is; run nothing.
        retry_failed: Give runs that failed too often another round.
        add: Run beside the runs of another sweep in the folder.
        forecast: Dry run: a law's name or file, instead of the specification's forecast; repeatable.
        noise: Dry run: standard deviation of log loss between seeds, for the forecast.

    Raises:
        UserError: For bad input, and for a folder where another submitter is at work.
        RunStopped: When the disk is full.
    """
    forecasts = as_list(forecast)
    _check_together(out, jobs, executor, write_only, dry_run, watch, retry_failed, add, forecasts, noise)
    try:
        from moewright.report import sweep_tables
        from moewright.sweeps.foresight import dry_run as foresight
        from moewright.sweeps.running import sweeping
    except ModuleNotFoundError as error:
        raise needs_the_lab(error) from None
    if dry_run:
        return foresight.dry_run(
            spec, out, jobs=jobs, executor=executor, trainer=trainer, add=add, forecast=forecasts or None, noise=noise
        )
    assert out is not None, "checked above"
    if watch:
        return sweep_tables.watch_sweep(spec, out, trainer)
    run = sweep_tables.run_sweep if shows_progress() else sweeping.sweep
    return run(
        spec,
        out,
        jobs=jobs,
        executor=executor,
        trainer=trainer,
        write_only=write_only,
        retry_failed=retry_failed,
        add=add,
    )


def _check_together(
    out: str | Path | None,
    jobs: int | None,
    executor: str,
    write_only: bool,
    dry_run: bool,
    watch: bool,
    retry_failed: bool,
    add: bool,
    forecast: Iterable[str] | None,
    noise: float | None,
) -> None:
    """UserError for options that have no use together."""
    if dry_run and watch:
        raise UserError("watch: has no use in a dry run")
    for name, given in (("retry-failed", retry_failed), ("write-only", write_only), ("add", add and not dry_run)):
        if (dry_run or watch) and given:
            raise UserError(f"{name}: nothing is run; leave it out")
    if add and out is None:
        raise UserError("add: is about the folder of another sweep; name it with --out DIR")
    for name, given in (("jobs", jobs is not None), ("retry-failed", retry_failed)):
        if write_only and given:
            raise UserError(f"{name}: has no use with --write-only, which starts nothing; leave it out")
    for name, given in (("jobs", jobs is not None), ("executor", executor != "local")):
        if watch and given:
            raise UserError(f"{name}: nothing is run; leave it out")
    if jobs is not None:
        check_integer(jobs, "jobs")
    for name, given in (("forecast", bool(forecast)), ("noise", noise is not None)):
        if given and not dry_run:
            raise UserError(f"{name}: has a use only in a dry run; add --dry-run")
    if out is None and not dry_run:
        raise UserError("out: name the sweep's folder with --out DIR")
